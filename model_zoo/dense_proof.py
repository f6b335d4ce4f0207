"""Check that one pass of a dense artifact over a region gives the bits of its windows."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from onnx import ModelProto

from model_zoo.dense import geometry, region_graph
from model_zoo.golden import synthetic_field
from model_zoo.integers import check_integer_graph
from model_zoo.network import FLOAT_TOLERANCE, Network, session_options
from model_zoo.proof import RefusedError
from model_zoo.turns import SIDE

FIELD_PX = 192


def check_dense_pass(model: ModelProto, network: Network) -> str:
    """Compare one pass over a synthetic image of 192×192 px with all its windows.

    Args:
        model: the graph of the artifact.
        network: the same artifact, opened; its manifest has a ``dense`` section.

    Raises:
        DenseError: if the graph is not dense.
        RefusedError: if the manifest states another geometry, a pass computes in float, or an answer differs.
    """
    promised, found = network.manifest.dense, geometry(model)
    if promised is None or (promised.stride, promised.receptive_field) != (found.stride, found.receptive_field):
        raise RefusedError(
            f"the graph has stride {found.stride} and receptive field {found.receptive_field}, the manifest says "
            + ("that it is not dense" if promised is None else f"{promised.stride} and {promised.receptive_field}")
        )
    exact, region = network.manifest.precision == "int8", region_graph(model, FIELD_PX, FIELD_PX)
    if exact:
        check_integer_graph(optimized(region.SerializeToString()))
    session = ort.InferenceSession(region.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
    field, offsets = synthetic_field(), range(0, FIELD_PX - SIDE + 1, found.stride)
    answers = session.run(["logits"], {"patches": field[None]})[0][0]
    alone = np.stack([network.logits(np.stack([field[y : y + SIDE, x : x + SIDE] for x in offsets])) for y in offsets])
    if answers.shape != alone.shape:
        raise RefusedError(f"a pass gives logits {answers.shape}, expected {alone.shape}")
    differing = int((answers.view(np.uint32) != alone.view(np.uint32)).any(axis=2).sum())
    residual = float(np.abs(answers.astype(np.float64) - alone).max())
    detail = f"{differing} of {len(offsets) ** 2} windows differ in one pass from alone, by {residual:.3g} or less"
    if differing if exact else not residual <= FLOAT_TOLERANCE:
        raise RefusedError(f"{detail}, expected equal bits")
    return detail


def optimized(model: bytes) -> ModelProto:
    """The graph as onnxruntime runs it; no file is written."""
    everything = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    compiler = ort.ModelCompiler(session_options(), model, graph_optimization_level=everything)
    return ModelProto.FromString(compiler.compile_to_bytes())
