"""Verification of an artifact on this machine, cheapest checks first."""

from __future__ import annotations

import onnx
import onnxruntime as ort

from model_zoo.artifact import graph_sha256, manifest_of, parse_model
from model_zoo.dense_proof import check_dense_pass, optimized
from model_zoo.dialect import check_dialect, check_operators
from model_zoo.independence import check_independence
from model_zoo.integers import check_integer_graph, check_weights
from model_zoo.manifest import Manifest
from model_zoo.network import Network
from model_zoo.proof import Examination, RefusedError, Report, Tell, nobody, prove
from model_zoo.shapes import check_shapes


def verify(data: bytes, tell: Tell = nobody, *, only_int8: bool = False) -> Report:
    """Verify the bytes of an artifact file, which may be damaged or hostile; returns a report for any bytes.

    Args:
        data: the file's bytes.
        tell: called with each step as soon as it is done.
        only_int8: whether to refuse a float32 artifact, as for serving.
    """
    examination, subject = Examination(tell), _Subject(data)
    passes = examination.passes
    if (
        passes("file", subject.file)
        and passes("dialect", lambda: check_dialect(subject.model))
        and passes("manifest", subject.manifest_schema)
        and (not only_int8 or passes("precision", subject.is_int8))
        and passes("operators", lambda: check_operators(subject.model, subject.manifest.precision))
        and passes("shapes", lambda: check_shapes(subject.model))
        and passes("independence", lambda: check_independence(subject.model))
    ):
        passes("graph hash", subject.graph_hash)
        if subject.manifest.precision == "int8":
            passes("weights", lambda: check_weights(subject.model))
            passes("integer graph", lambda: check_integer_graph(optimized(data)))
        if passes("network", subject.opens):
            prove(subject.network, examination.add)
            if subject.manifest.dense is not None and examination.report.passed:
                passes("dense pass", lambda: check_dense_pass(subject.model, subject.network))
    return examination.report


class _Subject:
    """The artifact under verification; each check stores results that later checks read."""

    model: onnx.ModelProto
    manifest: Manifest
    network: Network

    def __init__(self, data: bytes) -> None:
        self.data = data

    def file(self) -> str:
        self.model = parse_model(self.data)
        return f"{len(self.data):,} bytes"

    def manifest_schema(self) -> str:
        self.manifest = manifest_of(self.model)
        return f"{self.manifest.name} {self.manifest.version}, {self.manifest.precision}, {self.manifest.group.name}"

    def is_int8(self) -> str:
        if self.manifest.precision != "int8":
            raise RefusedError(
                f"the precision is {self.manifest.precision}, expected int8: a float32 artifact is for comparison"
            )
        return self.manifest.precision

    def graph_hash(self) -> str:
        actual, expected = graph_sha256(self.model), self.manifest.graph_sha256
        if actual != expected:
            raise RefusedError(f"the graph hashes to {actual}, the manifest says {expected}: one of them has changed")
        return actual

    def opens(self) -> str:
        self.network = Network(self.data)
        return f"onnxruntime {ort.__version__}"
