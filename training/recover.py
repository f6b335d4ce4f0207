"""Recovers a trainable network from a float32 artifact, to continue training.

An artifact contains expanded filters with folded batch norm. The base filters are the coordinates of the filters in the
layer's basis. Batch norm is restored as the identity: each field's mean and deviation are measured on training patches,
and scale and shift are chosen so that the function does not change.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from pydantic import TypeAdapter
from torch import Tensor

from model_zoo.artifact import parse
from model_zoo.manifest import Manifest
from training.layers import EquivariantConv
from training.mobilenetv2 import ConvNormAct, MobileNetV2, Topology

MEASURED_PATCHES = 512
CHUNK = 64
TOLERANCE = 1e-5


class RecoveryError(ValueError):
    """The file does not contain a trainable network."""


def recover(file: Path, patches: npt.NDArray[np.uint8]) -> MobileNetV2:
    """The network of a float32 artifact, in evaluation mode; its logits differ only by rounding. Equal
    arguments give equal weights, up to rounding.

    Args:
        file: a float32 artifact of a MobileNetV2.
        patches: uint8 [N, 96, 96, 3], training patches; the first 512 are measured.

    Raises:
        RecoveryError: if the artifact is not float32, or its filters are not in the topology's basis.
        ArtifactError: if the file is not an artifact.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.Generator().initial_seed())  # equal filters each time: networks are averaged
        network, _ = folded_network(file)
        _restore_statistics(network, torch.from_numpy(patches[:MEASURED_PATCHES]).permute(0, 3, 1, 2).float() / 255)
    return network


def folded_network(file: Path) -> tuple[MobileNetV2, Manifest]:
    """The network of a float32 artifact with batch norms that are the identity, in evaluation mode; and its manifest.

    Raises:
        RecoveryError: if the artifact is not float32, or its filters are not in the topology's basis.
        ArtifactError: if the file is not an artifact.
    """
    model, manifest = parse(file.read_bytes())
    if manifest.precision != "float32":
        raise RecoveryError(f"{file} is an {manifest.precision} artifact: name its float twin, *.fp32.onnx")
    if (family := manifest.architecture.get("family")) != "mobilenetv2":
        raise RecoveryError(
            f"{file} is of the family {family}: only a mobilenetv2 can be recovered; name the float twin of one"
        )
    shape = {name: value for name, value in manifest.architecture.items() if name != "family"}
    network = MobileNetV2(TypeAdapter(Topology).validate_python(shape)).eval()
    stored = {tensor.name: _tensor(tensor) for tensor in model.graph.initializer}
    with torch.no_grad():
        for name, unit in units(network):
            _take_over(name, unit, stored)
        network.classifier.weight.copy_(stored["classifier.weight"])
        network.classifier.bias.copy_(stored["classifier.bias"])
    return network, manifest


def _tensor(tensor: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(tensor).copy())


def units(network: MobileNetV2) -> list[tuple[str, ConvNormAct]]:
    """Every convolution with its batch norm, by its name in graphs."""
    found = [("stem", network.stem)]
    for i, block in enumerate(network.blocks):
        found += [(f"block{i}.{part}", unit) for part, unit in block.named_children() if isinstance(unit, ConvNormAct)]
    return [*found, ("head", network.head)]


def _take_over(name: str, unit: ConvNormAct, stored: dict[str, Tensor]) -> None:
    """Set base filters and bias of one layer; its batch norm becomes the identity plus the bias."""
    convolution, norm = unit.convolution, unit.norm
    copies = len(convolution.group)
    filters = stored[f"{name}.filters"].double()
    by_field = filters.unflatten(0, (copies, -1))  # [|G|, out fields, in channels, k, k]
    basis = convolution.basis.double()  # [dimension, |G|, |G| or 1, k, k]
    if basis.shape[2] == 1:
        target = by_field.permute(1, 2, 0, 3, 4).flatten(2)  # [out, in, |G|·k·k]
        columns = basis[:, :, 0].flatten(1)
    else:
        target = by_field[0].unflatten(1, (copies, -1)).permute(0, 2, 1, 3, 4).flatten(2)  # [out, in, |G|·k·k]
        columns = basis[:, 0].flatten(1)
    weight = torch.linalg.lstsq(columns.T, target.flatten(0, 1).T).solution.T
    convolution.weight.copy_(weight.reshape(convolution.weight.shape))
    difference = (convolution.expand().double() - filters).abs().max() / filters.abs().max()
    if difference > TOLERANCE:
        raise RecoveryError(f"{name}: its filters differ by {difference:.3g} of the largest from the basis's span")
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.fill_(1)
    norm.bias.copy_(stored[f"{name}.bias"].unflatten(0, (copies, -1))[0])


def _restore_statistics(network: MobileNetV2, images: Tensor) -> None:
    sums: dict[EquivariantConv, list[Tensor]] = {}

    def measure(convolution: EquivariantConv, _inputs: object, y: Tensor) -> None:
        fields = y.unflatten(1, (len(convolution.group), -1)).double()
        moments = torch.stack([fields.mean((1, 3, 4)).mean(0), fields.square().mean((1, 3, 4)).mean(0)])
        sums.setdefault(convolution, []).append(moments * len(y))

    found = units(network)
    hooks = [unit.convolution.register_forward_hook(measure) for _, unit in found]
    for begin in range(0, len(images), CHUNK):
        network(images[begin : begin + CHUNK])
    for hook in hooks:
        hook.remove()
    for _, unit in found:
        _normalize(unit, torch.stack(sums[unit.convolution]).sum(0) / len(images))


def _normalize(unit: ConvNormAct, moments: Tensor) -> None:
    """Scale filters to the usual size of a new layer, with a batch norm that measures the layer's output."""
    convolution, norm = unit.convolution, unit.norm
    mean, variance = moments[0], (moments[1] - moments[0].square()).clamp(min=1e-10)
    sizes = convolution.weight.flatten(1).square().mean(1).sqrt().clamp(min=1e-12)
    usual = (
        EquivariantConv(
            convolution.group,
            convolution.in_fields,
            convolution.out_fields,
            convolution.basis,
            depthwise=convolution.depthwise,
        )
        .weight.square()
        .mean()
        .sqrt()
    )
    factor = usual / sizes
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution.weight.mul_(factor[:, None, None])
    norm.running_mean.copy_(mean * factor)
    norm.running_var.copy_(variance * factor.double().square())
    deviation = (norm.running_var.double() + norm.eps).sqrt()
    norm.weight.copy_(deviation / factor)
    norm.bias.add_(mean)
