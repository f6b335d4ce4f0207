"""Networks with the weights of a run folder, of an artifact or of another topology."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from training.checkpoints import BEST, CheckpointError, require_best, stored
from training.data import Patches
from training.densenet import DenseNetTopology, P4MDenseNet, load_expanded
from training.mobilenetv2 import MobileNetV2, Topology
from training.recipe import Run
from training.recover import recover
from training.transfer import taken, transferred

SECOND = "second.ckpt"
PREFIX = "network."  # of the network's weights in a checkpoint
Fitted = MobileNetV2 | P4MDenseNet
Network = TypeVar("Network", MobileNetV2, P4MDenseNet, Fitted)


def network_of(topology: Topology | DenseNetTopology) -> Fitted:
    """A network of this shape with random weights."""
    return MobileNetV2(topology) if isinstance(topology, Topology) else P4MDenseNet()


def starting_network(start: Path, train: Patches) -> tuple[Fitted, str]:
    """The network of a run folder, a float32 artifact or an archive, and the SHA-256 of the file with its weights.

    Raises:
        RecoveryError, ArtifactError, WeightsError: if the file is neither a float32 artifact nor a P4M-DenseNet.
        FileNotFoundError: if the folder is not a run folder, or its run has not finished an epoch.
    """
    if start.is_dir():
        if not (start / "run.json").exists():
            raise FileNotFoundError(f"{start} is no run folder: it has no run.json")
        return trained_network(start), sha256((start / "best.ckpt").read_bytes()).hexdigest()
    network = load_expanded(start) if start.suffix == ".npz" else recover(start, train.images)
    return network, sha256(start.read_bytes()).hexdigest()


def usable_network(source: Path, train: Patches) -> tuple[Fitted, str]:
    """The same, where all weights are finite.

    Raises:
        ValueError: if they are not, or the source is damaged; and as :func:`starting_network`.
    """
    if (source / "run.json").exists():
        require_best(source)
    network, digest = starting_network(source, train)
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise ValueError(f"{source} holds weights that are not finite: name another network")
    return network, digest


def of_topology(started: Fitted, topology: Topology | DenseNetTopology, start: Path) -> Fitted:
    """The network itself if it has this topology; else one with the weights that fit, see :mod:`training.transfer`.

    Raises:
        ValueError: if its weights do not fit.
    """
    if started.topology == topology:
        return started
    fault = "the families differ"
    if isinstance(started, MobileNetV2) and isinstance(topology, Topology):
        try:
            network = transferred(started, topology)
            print(
                f"Note: {start} holds a network of another topology. {taken(started.topology, topology)}",
                file=sys.stderr,
            )
            return network
        except ValueError as error:
            fault = str(error)
    raise ValueError(f"{start} holds a network of another topology, and its weights do not fit: {fault}")


def fitted_network(folder: Path) -> MobileNetV2:
    """The network of a run folder with its best weights, in evaluation mode.

    Raises:
        CheckpointError: if its weights are damaged, or those of another network.
        FileNotFoundError: if the run has not finished an epoch.
        ValueError: if it is a P4M-DenseNet, see :func:`trained_network`, or two networks.
    """
    topology = Run.read(folder).mobilenet
    network = MobileNetV2(topology)
    network.load_state_dict(trained_network(folder).state_dict())
    return network.eval()


def trained_network(folder: Path) -> Fitted:
    """The network of a run folder, of any shape, with its best weights, in evaluation mode.

    Raises:
        CheckpointError: if its weights are damaged, or those of another network.
        FileNotFoundError: if the run has not finished an epoch.
        ValueError: if the run holds two networks.
    """
    run = Run.read(folder)
    if run.joined is not None:
        raise ValueError(
            f"{folder} holds two networks: name the run of one of them, or publish both and name the artifact"
        )
    return _with_best_weights(network_of(run.topology), folder)


def joined_networks(folder: Path) -> tuple[MobileNetV2, P4MDenseNet]:
    """Both networks of the run folder that :func:`training.joining.join` made, in evaluation mode.

    Raises:
        CheckpointError: if they are damaged, or not those of such networks.
        FileNotFoundError: if weights are missing.
    """
    second = _with_weights(P4MDenseNet(), folder / SECOND, stored(folder / SECOND))
    return _with_best_weights(MobileNetV2(Run.read(folder).mobilenet), folder), second


def _with_best_weights(network: Network, folder: Path) -> Network:
    checkpoint = stored(folder / BEST, "state_dict")
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in checkpoint["state_dict"].items()}
    return _with_weights(network, folder / BEST, weights)


def _with_weights(network: Network, file: Path, weights: dict[str, Tensor]) -> Network:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{file} holds the weights of another network than run.json says") from error
    return network.eval()
