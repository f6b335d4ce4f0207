"""What the server knows of a model that its inference processes have opened and proved, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model_zoo.manifest import Manifest
from model_zoo.proof import Report


@dataclass(frozen=True, eq=False)
class Model:
    """A model in every inference process.

    It stays there as long as somebody refers to this object.

    Attributes:
        sha256: of the artifact's bytes, its identity.
        data: the bytes.
        proof: what was proved of it here.
    """

    sha256: str
    data: bytes
    manifest: Manifest
    proof: Report


@dataclass(frozen=True, slots=True)
class Prediction:
    """A patch's answer.

    Attributes:
        values: the row of the log, but for the key; ``answer`` in it is the JSON.
        decode_ms, quality_ms, infer_ms: how long each took.
    """

    values: dict[str, Any]
    decode_ms: float
    quality_ms: float
    infer_ms: float
