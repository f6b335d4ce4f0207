"""Hostile and invalid uploads, each made from a real artifact, with the step that must refuse it."""

from __future__ import annotations

import gzip
import pickle
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from struct import pack

import onnx

from model_zoo.artifact import parse
from model_zoo.manifest import MAX_BYTES
from tests.conftest import shipped_artifact
from tests.model_zoo import changes
from tests.model_zoo.resealing import Change, first, resealed, stored_weights, with_manifest

EMPTY_MESSAGES = 20_000_000


@dataclass(frozen=True)
class Hostile:
    """An upload that must be refused.

    Attributes:
        make: gives its bytes, from an artifact's and an empty folder.
        step: the first step that fails.
        words: some of that step's detail.
    """

    make: Callable[[bytes, Path], bytes]
    step: str
    words: str = ""


def graph(change: Change, *, replay: bool = False) -> Callable[[bytes, Path], bytes]:
    """The artifact with its graph changed, sealed anew."""
    return lambda data, folder: resealed(data, change, replay=replay)


def manifest(**update: object) -> Callable[[bytes, Path], bytes]:
    """The artifact with fields of its manifest replaced."""
    return lambda data, folder: with_manifest(data, **update)


def plain(content: bytes) -> Callable[[bytes, Path], bytes]:
    """A file that is no artifact at all."""
    return lambda data, folder: content


def zip_archive() -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(print))
    return file.getvalue()


def field(number: int, content: bytes) -> bytes:
    """A protobuf field that holds bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def model_of(graph: bytes) -> bytes:
    """An ONNX model, IR version 9, of an encoded graph."""
    return b"\x08\x09" + field(7, graph)


def nested_graphs() -> bytes:
    """A graph in an attribute of a node of a graph, and so on: 3,000 deep."""
    graph = b""
    for _ in range(3_000):
        graph = field(1, field(5, field(6, graph)))
    return model_of(graph)


def nested_types() -> bytes:
    """An input that is a sequence of sequences, 3,000 deep."""
    kind = b""
    for _ in range(3_000):
        kind = field(4, field(1, kind))
    return model_of(field(11, field(2, kind)))


def bit_flipped(data: bytes, folder: Path) -> bytes:
    model, _ = parse(data)
    flipped = bytearray(data)
    flipped[data.index(stored_weights(model, first(model, "Conv")).raw_data) + 5] ^= 1
    return bytes(flipped)


def symlinked_external_data(data: bytes, folder: Path) -> bytes:
    link = folder / "weights.bin"
    link.symlink_to("/etc/passwd")
    return resealed(data, changes.external(str(link)), replay=False)


def deep_manifest(data: bytes, folder: Path) -> bytes:
    model, told = parse(data)
    marked = told.model_copy(update={"architecture": {"depth": "HERE"}}).model_dump_json()
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    model.metadata_props[0].value = marked.replace('"HERE"', deep)
    return model.SerializeToString()


def metadata_bomb(data: bytes, folder: Path) -> bytes:
    return data + field(14, b"") * 10_000_000


def wrong_golden_case(data: bytes, folder: Path) -> bytes:
    _, told = parse(data)
    cases = list(told.golden_cases)
    cases[3] = cases[3].model_copy(update={"logits": cases[2].logits})
    return with_manifest(data, golden_cases=cases)


def golden_png(change: Callable[[bytes], bytes]) -> Callable[[bytes, Path], bytes]:
    """The artifact with the file of its first golden case changed."""

    def make(data: bytes, folder: Path) -> bytes:
        cases = list(parse(data)[1].golden_cases)
        cases[0] = cases[0].model_copy(update={"png": change(cases[0].png)})
        return with_manifest(data, golden_cases=cases)

    return make


def png_of_many_pixels(png: bytes) -> bytes:
    return png[:8] + png_chunk(b"IHDR", pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0)) + png[33:]


def png_with_text_bomb(png: bytes) -> bytes:
    return png[:33] + png_chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(2**25))) + png[33:]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return pack(">I", len(content)) + kind + content + pack(">I", zlib.crc32(kind + content))


def foreign_model(data: bytes, folder: Path) -> bytes:
    """A model that is in order, but of another task, without a manifest."""
    model, _ = parse(data)
    model.ClearField("metadata_props")
    return model.SerializeToString()


def executable_metadata(data: bytes, folder: Path) -> bytes:
    model = onnx.ModelProto.FromString(data)
    model.metadata_props.add(key="ep_context", value="/usr/bin/id")
    return model.SerializeToString()


HOSTILE = {
    "empty file": Hostile(plain(b""), "size and magic", "empty"),
    "oversized": Hostile(plain(b"\x08\x09" + bytes(MAX_BYTES)), "size and magic", "expected at most 67,108,864"),
    "pickle": Hostile(plain(pickle.dumps(print)), "size and magic", "pickle"),
    "PyTorch archive": Hostile(plain(zip_archive()), "size and magic", "zip archive"),
    "gzip": Hostile(plain(gzip.compress(b"model")), "size and magic", "gzip"),
    ".ort": Hostile(plain(b"\x20\0\0\0ORTM" + bytes(64)), "size and magic", "onnxruntime's own format"),
    "program": Hostile(plain(b"\x7fELF\x02\x01\x01" + bytes(64)), "size and magic", "a program"),
    "HTML": Hostile(plain(b"\n<!doctype html><script>"), "size and magic", "HTML"),
    "bytes": Hostile(plain(b"\xff" * 1000), "size and magic", "begins with the bytes ff ff"),
    "header alone": Hostile(plain(b"\x08\x09"), "file", "no ONNX graph"),
    "truncated": Hostile(lambda data, folder: data[: len(data) // 2], "file", "not an ONNX model"),
    "nested graphs": Hostile(plain(nested_graphs()), "file", "not an ONNX model"),
    "nested types": Hostile(plain(nested_types()), "file", "not an ONNX model"),
    "empty nodes": Hostile(lambda data, folder: model_of(b"\x0a\x00" * EMPTY_MESSAGES), "file"),
    "empty initializers": Hostile(lambda data, folder: model_of(b"\x2a\x00" * EMPTY_MESSAGES), "file"),
    "empty names": Hostile(lambda data, folder: model_of(field(1, b"\x0a\x00" * EMPTY_MESSAGES)), "file"),
    "metadata bomb": Hostile(metadata_bomb, "dialect", "metadata entries are 10,000,001"),
    "ports bomb": Hostile(lambda data, folder: model_of(field(11, b"") * 5_000_000), "dialect", "inputs are 5,000,000"),
    "external data": Hostile(graph(changes.external("weights.bin")), "dialect", "external data"),
    "absolute external data": Hostile(graph(changes.external("/etc/passwd")), "dialect", "external data"),
    "climbing external data": Hostile(graph(changes.external("../../etc/passwd")), "dialect", "external data"),
    "symlinked external data": Hostile(symlinked_external_data, "dialect", "external data"),
    "sparse external data": Hostile(graph(changes.sparse_external_data), "dialect", "sparse_initializer"),
    "external data of a Constant": Hostile(graph(changes.constant_external_data), "dialect", "holds t"),
    "disguised external data": Hostile(graph(changes.disguised_external_data), "dialect", "holds t"),
    "external data of a branch": Hostile(graph(changes.branch_external_data), "dialect", "holds g"),
    "external data of a function": Hostile(graph(changes.function_external_data), "dialect", "functions"),
    "nested branches": Hostile(graph(changes.nested_branches), "dialect", "holds g"),
    "endless loop": Hostile(graph(changes.endless_loop), "dialect", "holds g"),
    "scan": Hostile(graph(changes.scanning), "dialect", "holds g"),
    "multiplying functions": Hostile(graph(changes.multiplying_functions), "dialect", "functions"),
    "training information": Hostile(graph(changes.training_information), "dialect", "training_info"),
    "unknown field": Hostile(graph(changes.unknown_field), "dialect", "no field of the ONNX format"),
    "custom operator": Hostile(graph(changes.foreign_node), "dialect", "com.microsoft"),
    "custom domain": Hostile(graph(changes.second_domain), "dialect", "com.microsoft"),
    "other opset": Hostile(graph(changes.other_opset), "dialect", "opsets"),
    "future format": Hostile(graph(changes.future_ir), "dialect", "IR version"),
    "namesakes": Hostile(graph(changes.namesakes), "dialect", "several tensors"),
    "gigantic tensor": Hostile(graph(changes.gigantic_tensor), "dialect", "declares the shape"),
    "wrapped tensor": Hostile(graph(changes.wrapped_tensor), "dialect", "declares the shape"),
    "gigantic type": Hostile(graph(changes.gigantic_type), "dialect", "value_info"),
    "huge integer": Hostile(graph(changes.huge_integer), "dialect", "beyond"),
    "too many nodes": Hostile(graph(changes.too_many_nodes), "dialect", "nodes are 100,"),
    "too many initializers": Hostile(graph(changes.too_many_initializers), "dialect", "initializers are 100,"),
    "too many inputs": Hostile(graph(changes.too_many_inputs), "dialect", "inputs of Conv"),
    "foreign model": Hostile(foreign_model, "manifest", "expected only 'rosette.manifest'"),
    "more metadata": Hostile(executable_metadata, "manifest", "expected only 'rosette.manifest'"),
    "other classes": Hostile(manifest(classes=("cat", "dog")), "manifest", "classes"),
    "wrong symmetry": Hostile(manifest(exact_subgroup="D4"), "manifest", "not the exact subgroup"),
    "unbounded latency": Hostile(manifest(latency_limit_ms=1e9), "manifest", "latency_limit_ms"),
    "deep manifest": Hostile(deep_manifest, "manifest", "manifest"),
    "float twin": Hostile(lambda data, folder: shipped_artifact("fp32").read_bytes(), "precision", "expected int8"),
    "foreign operator": Hostile(graph(changes.foreign_operator), "operators", "ReduceMean"),
    "gigantic constant": Hostile(graph(changes.gigantic_constant), "operators", "ConstantOfShape"),
    "other input": Hostile(graph(changes.other_input), "shapes", "expected uint8"),
    "third class": Hostile(graph(changes.third_class), "shapes", "expected float"),
    "second output": Hostile(graph(changes.second_output), "shapes", "expected only 'logits'"),
    "huge padding": Hostile(graph(changes.huge_padding), "shapes", "values for each patch"),
    "heavy convolution": Hostile(graph(changes.heavy_convolution), "shapes", "times for each patch"),
    "growing batch": Hostile(graph(changes.growing_batch), "shapes", "values for each patch"),
    "cycle": Hostile(graph(changes.cycle), "shapes", "topologically sorted"),
    "bit flipped": Hostile(bit_flipped, "graph hash", "one of them has changed"),
    "wrong hash": Hostile(manifest(graph_sha256="0" * 64), "graph hash", "one of them has changed"),
    "over-wide weight": Hostile(graph(changes.over_wide_weight), "weights", "magnitude 65"),
    "NaN scale": Hostile(graph(changes.nan_scale), "weights", "not a positive finite number"),
    "float weights": Hostile(graph(changes.float_weights), "weights", "do not come from a DequantizeLinear"),
    "float convolution": Hostile(graph(changes.float_convolution), "integer graph", "float Conv"),
    "untied residual": Hostile(graph(changes.untied_residual), "integer graph", "tie them"),
    "slow": Hostile(manifest(latency_limit_ms=1e-6), "latency", "the manifest vouches for"),
    "wrong golden case": Hostile(wrong_golden_case, "golden cases", "expected equal bits"),
    "golden case of many pixels": Hostile(golden_png(png_of_many_pixels), "golden cases", "bomb"),
    "golden case with a bomb": Hostile(golden_png(png_with_text_bomb), "golden cases"),
    "infinite answers": Hostile(graph(changes.infinite_answers, replay=True), "finite answers", "NaN or infinity"),
    "constant answers": Hostile(graph(changes.constant_answers, replay=True), "moving answers", "1 different margins"),
    "pools over a call": Hostile(graph(changes.brightest_neighbour, replay=True), "independence", "counts the patches"),
    "broken symmetry": Hostile(graph(changes.less_symmetric_filter, replay=True), "exact invariance", "answers differ"),
}

# Made to crash, exhaust or misuse the process that reads them; the others are merely no artifacts.
ATTACKS = {
    "nested graphs",
    "nested types",
    "empty nodes",
    "empty initializers",
    "empty names",
    "metadata bomb",
    "ports bomb",
    "external data",
    "absolute external data",
    "climbing external data",
    "symlinked external data",
    "sparse external data",
    "external data of a Constant",
    "disguised external data",
    "external data of a branch",
    "external data of a function",
    "nested branches",
    "endless loop",
    "multiplying functions",
    "custom operator",
    "gigantic tensor",
    "wrapped tensor",
    "huge integer",
    "too many nodes",
    "deep manifest",
    "gigantic constant",
    "huge padding",
    "heavy convolution",
    "golden case of many pixels",
    "golden case with a bomb",
}
