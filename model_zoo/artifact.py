"""An artifact: one ``.onnx`` file with a graph, and the manifest in its metadata."""

from __future__ import annotations

from hashlib import sha256

from google.protobuf.message import DecodeError
from onnx import ModelProto

from model_zoo.manifest import MANIFEST_KEY, MAX_BYTES, Manifest
from model_zoo.reading import ManifestError, parse_manifest


class ArtifactError(ValueError):
    """The bytes are not an artifact: too large, not an ONNX model, or without a valid manifest."""


def graph_sha256(model: ModelProto) -> str:
    """SHA-256 of the model without its metadata, so that figures in the manifest do not change it."""
    bare = ModelProto()
    bare.CopyFrom(model)
    bare.ClearField("metadata_props")
    return sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def parse(data: bytes) -> tuple[ModelProto, Manifest]:
    """Read an artifact's model and manifest.

    Raises:
        ArtifactError: if the bytes exceed 64 MB, are not an ONNX model, or have no valid manifest.
    """
    model = parse_model(data)
    return model, manifest_of(model)


def parse_model(data: bytes) -> ModelProto:
    """Read only the ONNX model.

    Raises:
        ArtifactError: if the bytes exceed 64 MB or are not an ONNX model.
    """
    if len(data) > MAX_BYTES:
        raise ArtifactError(f"the file has {len(data):,} bytes, expected at most {MAX_BYTES:,}")
    try:
        model = ModelProto.FromString(data)
    except DecodeError as error:
        raise ArtifactError(f"the file's {len(data):,} bytes are not an ONNX model (truncated?): {error}") from error
    if not model.HasField("graph"):
        raise ArtifactError(f"the file's {len(data):,} bytes have no ONNX graph")
    return model


def manifest_of(model: ModelProto) -> Manifest:
    """Read the manifest from a model's metadata.

    Raises:
        ArtifactError: if the metadata is not exactly one valid manifest.
    """
    keys = [entry.key for entry in model.metadata_props]
    if keys != [MANIFEST_KEY]:
        raise ArtifactError(
            f"the metadata has the keys {keys[:8]}, expected only {MANIFEST_KEY!r}: write it with artifact.write"
        )
    try:
        return parse_manifest(model.metadata_props[0].value)
    except ManifestError as error:
        raise ArtifactError(str(error)) from error


def write(model: ModelProto, manifest: Manifest) -> bytes:
    """Serialize the model with the manifest as its only metadata; equal inputs give equal bytes.

    Raises:
        ArtifactError: if the manifest is for another graph or not valid, or the file would exceed 64 MB.
    """
    actual = graph_sha256(model)
    if manifest.graph_sha256 != actual:
        raise ArtifactError(f"the manifest names graph {manifest.graph_sha256}, but this graph is {actual}")
    whole = ModelProto()
    whole.CopyFrom(model)
    whole.ClearField("metadata_props")
    whole.metadata_props.add(key=MANIFEST_KEY, value=manifest.model_dump_json())
    manifest_of(whole)
    data = whole.SerializeToString(deterministic=True)
    if len(data) > MAX_BYTES:
        raise ArtifactError(f"the artifact would have {len(data):,} bytes, expected at most {MAX_BYTES:,}")
    return data
