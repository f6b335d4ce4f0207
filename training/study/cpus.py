"""Equal bits on every x86-64 CPU: golden cases on emulated CPUs, and a static proof for the others."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper
from pydantic import JsonValue

from model_zoo.golden import decode, golden_patches
from training.study.markdown import table
from training.study.replay import EMULATOR, NATIVE, SETTING, NotRunError, Replay, emulator_version, replay
from training.study.results import Document, provenance
from training.study.saturation import INT16, convolve, pairs

CPUS = {NATIVE: "this machine", "Haswell": "AVX2", "Nehalem": "SSE4.2"}
SETTINGS = {True: "on", False: "off"}
LIMIT_S = 600.0
VNNI = ("avx_vnni", "avx512_vnni", "amx_int8")


def run(graphs: Mapping[str, bytes], cpus: Sequence[str] = tuple(CPUS), limit_s: float = LIMIT_S) -> Document:
    """Replay the eight golden patches with each graph on each CPU, ``session.x64quantprecision`` on and off.

    Answers are compared with those of this machine with the setting on. If bits differ, the first differing tensor
    and its operator are reported, and it is recomputed with and without saturation.

    Args:
        graphs: INT8 graphs in the QDQ form, artifacts or not, as ONNX bytes, by a label.
        cpus: ``"native"``, and models that ``qemu-x86_64 -cpu help`` lists.
        limit_s: time limit of one replay, in seconds.

    Raises:
        NotRunError: if the replay fails on this machine, which is the reference.
    """
    patches = np.stack([decode(name, png) for name, png in golden_patches().items()])
    rows: list[JsonValue] = []
    for label, data in graphs.items():
        subject = _Subject(data, patches, limit_s)
        rows += [{"graph": label, **subject.row(cpu, setting)} for cpu, setting in product(cpus, SETTINGS)]
    return {
        **provenance({}),
        "emulator": emulator_version(),
        "vnni": [flag for flag in VNNI if flag in _cpu_flags()],
        "patches": len(patches),
        "graphs": {label: _proof(data) for label, data in graphs.items()},
        "rows": rows,
    }


def with_stored_tensors(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with all uint8 tensors of layers as additional outputs, in order, before the logits.

    They lie between QuantizeLinear and DequantizeLinear, so all fusions remain possible.
    """
    nodes = graph.graph.node
    read = {node.input[0] for node in nodes if node.op_type == "DequantizeLinear"}
    stored = [
        node.output[0]
        for node in nodes
        if node.op_type == "QuantizeLinear" or (node.op_type != "DequantizeLinear" and node.output[0] in read)
    ]
    traced = onnx.ModelProto()
    traced.CopyFrom(graph)
    traced.graph.ClearField("output")
    traced.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in stored)
    traced.graph.output.extend(graph.graph.output)
    return traced


class _Subject:
    """One graph with the answers of this machine and of the others."""

    def __init__(self, data: bytes, patches: npt.NDArray[np.uint8], limit_s: float) -> None:
        self.data, self.patches, self.limit_s = data, patches, limit_s
        self.graph = onnx.ModelProto.FromString(data)
        self.expected = self._replay(data, NATIVE, setting=True).tensors["logits"]

    def _replay(self, data: bytes, cpu: str, *, setting: bool) -> Replay:
        return replay(data, self.patches, cpu, setting=setting, limit_s=self.limit_s)

    def row(self, cpu: str, setting: bool) -> Document:
        case: Document = {"cpu": cpu, "setting": setting}
        try:
            logits = self._replay(self.data, cpu, setting=setting).tensors["logits"]
            equal = int((~_unequal(logits, self.expected)).all(1).sum())
            case |= {"equal": equal, "largest_delta": float(np.abs(logits.astype(np.float64) - self.expected).max())}
            if equal < len(logits):
                case["first"] = self._first_difference(cpu, setting, logits)
        except NotRunError as error:
            return {"cpu": cpu, "setting": setting, "not_run": str(error)}
        return case

    def _first_difference(self, cpu: str, setting: bool, logits: npt.NDArray[np.float32]) -> Document:
        """The first tensor with different bits, its operator on that CPU, and whether saturation explains it."""
        model = with_stored_tensors(self.graph)
        data, names = model.SerializeToString(), [output.name for output in model.graph.output]
        here, there = self._replay(data, NATIVE, setting=True), self._replay(data, cpu, setting=setting)
        # If the added outputs changed the choice of kernels, they would not represent the replay.
        if _unequal(here.tensors["logits"], self.expected).any() or _unequal(there.tensors["logits"], logits).any():
            return {"tensor": None}
        name = next(name for name in names if _unequal(there.tensors[name], here.tensors[name]).any())
        of_layer = pairs(self.graph).get(name)
        saturated, exact = (convolve(self.graph, name, here.tensors, saturating=s) for s in (True, False))
        return {
            "tensor": name,
            "operator": _operator(there.optimized, name),
            "before": names.index(name),
            "values": int(there.tensors[name].size),
            "unequal": int(_unequal(there.tensors[name], here.tensors[name]).sum()),
            "neighbours": None if of_layer is None else of_layer.neighbours,
            "unequal_to_saturated": None if saturated is None else int((saturated != there.tensors[name]).sum()),
            "unequal_to_exact": None if exact is None else int((exact != here.tensors[name]).sum()),
        }


def _unequal(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mask of differing bits."""
    word = f"u{a.itemsize}"
    unequal: npt.NDArray[np.bool_] = np.ascontiguousarray(a).view(word) != np.ascontiguousarray(b).view(word)
    return unequal


def _operator(optimized: bytes, tensor: str) -> str:
    """The operator that computes a tensor, skipping transposes that only change its layout."""
    producers = {name: node for node in onnx.ModelProto.FromString(optimized).graph.node for name in node.output}
    node = producers[tensor]
    while node.op_type == "Transpose" and node.input[0] in producers:
        node = producers[node.input[0]]
    return node.op_type


def _proof(data: bytes) -> Document:
    layers = pairs(onnx.ModelProto.FromString(data))
    worst = max(layers, key=lambda name: layers[name].neighbours)
    any_two = max(layer.any_two for layer in layers.values())
    return {
        "sha256": sha256(data).hexdigest(),
        "layers": len(layers),
        "worst": worst,
        "neighbours": layers[worst].neighbours,
        "any_two": any_two,
        "proven": any_two <= INT16.max,
    }


def _cpu_flags() -> set[str]:
    if platform.system() == "Linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("flags"):
                return set(line.partition(":")[2].split())
    return set()


def section(document: Document) -> list[str]:
    """Markdown: replays by graph, CPU and setting; the first difference and its cause; the static proof."""
    d: Any = document
    return [*_replays(d), "", *_findings(d), "", *_proofs(d)]


def _replays(d: Any) -> list[str]:
    vnni = f"with {', '.join(d['vnni'])}" if d["vnni"] else "VNNI unknown"
    cells = {(row["graph"], row["cpu"], row["setting"]): _cell(row, d["patches"]) for row in d["rows"]}
    rows = [
        [graph, f"{cpu} ({CPUS[cpu]})" if cpu in CPUS else cpu, *(cells[graph, cpu, setting] for setting in SETTINGS)]
        for graph, cpu in dict.fromkeys((row["graph"], row["cpu"]) for row in d["rows"])
    ]
    return [
        f"The number of the {d['patches']} golden patches with the same bits as on this machine ({d['machine']}, "
        f"{vnni}) with `{SETTING}` on; if not all, also the largest change of a logit. The other CPUs, all without "
        f"VNNI, are emulated by {d['emulator'] or f'{EMULATOR}, which was not installed'}.",
        "",
        *table(["graph", "CPU", *(f"setting {word}" for word in SETTINGS.values())], rows),
    ]


def _cell(row: Any, patches: int) -> str:
    if "not_run" in row:
        return "not run"
    equal = f"{row['equal']} of {patches}"
    return equal if row["equal"] == patches else f"**{equal}**, Δ {row['largest_delta']:.2g}"


def _findings(d: Any) -> list[str]:
    lines = []
    for graph, proof in d["graphs"].items():
        rows = [row for row in d["rows"] if row["graph"] == graph and "equal" in row]
        differing = [row for row in rows if row["equal"] < d["patches"]]
        lines += [f"- {graph}, {_case(row)}: {_why(row['first'])}" for row in differing]
        alike = [row for row in rows if row["setting"]] if differing else rows
        if not any(row in differing for row in alike):
            condition = " with the setting on" if differing else ""
            lines.append(f"- {graph}: all {len(alike)} replays{condition} that ran gave the same bits.")
        nehalem = [row for row in rows if row["cpu"] == "Nehalem"]
        if not proof["proven"] and nehalem and not any(row in differing for row in nehalem):
            lines.append(
                f"- {graph} on Nehalem: equal bits beyond the bound are not guaranteed. According to its source, "
                "onnxruntime's kernels for such CPUs widen before they multiply on Linux, but may not on other systems."
            )
    return lines + [
        f"- {row['graph']}, {_case(row)}: not run: {row['not_run']}." for row in d["rows"] if "not_run" in row
    ]


def _case(row: Any) -> str:
    return f"{row['cpu']}, setting {SETTINGS[row['setting']]}"


def _why(first: Any) -> str:
    if first["tensor"] is None:
        return "the differing operator is not known, because the graph with its tensors as outputs gives other answers."
    said = (
        f"the first tensor with different bits is `{first['tensor']}` ({first['unequal']:,} of {first['values']:,} "
        f"values): number {first['before'] + 1} of the layers' tensors, computed by {first['operator']}."
    )
    if first["neighbours"] is None:
        return f"{said} It has no weights, so weights are not the cause."
    limit = f"{'beyond' if first['neighbours'] > INT16.max else 'within'} int16's {INT16.max:,}"
    said += f" Its weights allow sums of two products up to {first['neighbours']:,}, {limit}."
    if first["unequal_to_saturated"] is None:
        return said
    if first["unequal_to_saturated"] == first["unequal_to_exact"] == 0:
        return (
            f"{said} Recomputed with these sums saturated at int16, all values are those of that CPU; with exact sums, "
            "all values are those of this machine: saturation is the only cause."
        )
    return (
        f"{said} Recomputed with these sums saturated at int16, {first['unequal_to_saturated']:,} values differ from "
        f"that CPU; with exact sums, {first['unequal_to_exact']:,} differ from this machine: saturation does not "
        "explain it."
    )


def _proofs(d: Any) -> list[str]:
    proven = [graph for graph, proof in d["graphs"].items() if proof["proven"]]
    unproven = [graph for graph, proof in d["graphs"].items() if not proof["proven"]]
    verdicts = [
        f"{', '.join(proven)}: no kernel can saturate for any patch, so all sums are exact." if proven else "",
        f"{', '.join(unproven)}: kernels that add two products in int16 may saturate." if unproven else "",
    ]
    rows = [
        [
            graph,
            f"{p['layers']}",
            f"{p['neighbours']:,}",
            f"`{p['worst']}`",
            f"{p['any_two']:,}",
            "yes" if p["proven"] else "no",
        ]
        for graph, p in d["graphs"].items()
    ]
    return [
        "AVX-512 without VNNI cannot be emulated here; for it, and for all other patches, the evidence is the bound on "
        "the weights. A kernel without VNNI adds the products of two neighbouring weights with activations of at most "
        f"255 in int16, exactly up to {INT16.max:,}. *Neighbours*: largest 255·(|w1|+|w2|) over neighbouring weights "
        "of one output channel, at even and odd positions, with filters read pixel by pixel (onnxruntime's order) and "
        "channel by channel, including depthwise ones. *Any two*: over all pairs of one output channel; this is the "
        "proof, because it holds in any order.",
        "",
        *table(["graph", "layers", "neighbours", "largest in", "any two", "≤ 32,767"], rows),
        "",
        " ".join(verdict for verdict in verdicts if verdict),
    ]
