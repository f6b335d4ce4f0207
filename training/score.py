"""Scores patches with an ONNX graph in onnxruntime, with the server's session options."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from os import cpu_count
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from model_zoo.network import session_options
from model_zoo.symmetry import Group
from model_zoo.turns import turn

CHUNK = 32


Answer = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


def score(answer: Answer, patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Answers such as logits, float32 [N, …], to patches, uint8 [N, 96, 96, 3], in chunks, with one thread per core."""
    chunks = [np.ascontiguousarray(patches[i : i + CHUNK]) for i in range(0, len(patches), CHUNK)]
    with ThreadPoolExecutor(cpu_count()) as pool:
        return np.concatenate(list(pool.map(answer, chunks)))


def turned(images: npt.NDArray[np.uint8], group: Group, element: int) -> npt.NDArray[np.uint8]:
    """Patches, uint8 [N, 96, 96, 3], each turned by the same group element."""
    return np.stack([turn(image, group, element) for image in images])


class AnswersPatches(Protocol):
    """Protocol of objects with logits."""

    def logits(self, patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 [N, 96, 96, 3] → float32 [N, 2]."""


class ChunkScorer:
    """A function from patches to logits, called in chunks from one thread per core; equal patches are scored once."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._known: dict[bytes, npt.NDArray[np.float32]] = {}

    def logits(self, patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 [N, 96, 96, 3] → float32 [N, 2]."""
        keys = [sha256(patch.tobytes()).digest() for patch in patches]
        unknown = {key: i for i, key in enumerate(keys) if key not in self._known}
        if unknown:
            answers = score(self._answer, patches[list(unknown.values())])
            self._known.update(zip(unknown, answers, strict=True))
        return np.stack([self._known[key] for key in keys])


class Scorer(ChunkScorer):
    """A graph in a session of one thread."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        session = ort.InferenceSession(graph.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
        super().__init__(lambda chunk: session.run(["logits"], {"patches": chunk})[0])
