"""A loaded model that turns an image file's bytes into an answer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from uuid_utils.compat import uuid7

import model_zoo
from app.diagnosis.decode import decode
from app.diagnosis.orbit import Rotations, measure_orbit
from app.diagnosis.report import Answer, PatchReport, Timing, report
from model_zoo.network import Network, check_golden_cases
from model_zoo.quality import measure
from model_zoo.symmetry import Group

MODEL_ZOO = Path(model_zoo.__file__).parent
DEFAULT_NAME = "accurate"


class ModelError(ValueError):
    """A model that cannot serve; the message says why."""


class Engine:
    """Answers from one network; all methods may be called from many threads at once."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.manifest = network.manifest
        self._group = Group.parse(self.manifest.group.name)
        self._exact_subgroup = Group.parse(self.manifest.exact_subgroup)

    @classmethod
    def load(cls, path: Path | None = None) -> Engine:
        """Open an artifact, by default the shipped one, and replay its golden cases.

        Raises:
            ModelError: if there is no such artifact, it cannot be opened, or it answers wrongly.
        """
        path = path or shipped_artifact()
        try:
            network = Network(path.read_bytes())
            check_golden_cases(network)
        except Exception as error:  # onnxruntime's errors share no public base class
            raise ModelError(f"the model {path} cannot be used: {error}") from error
        if network.manifest.precision != "int8":
            raise ModelError(f"the model {path} is {network.manifest.precision}; only int8 artifacts are served")
        return cls(network)

    def answer(self, data: bytes, rotations: Rotations) -> Answer:
        """Decode, assess, turn, infer and report.

        Raises:
            ImageProblem: if the bytes are no patch.
        """
        start = perf_counter()
        created_at = datetime.now(UTC)
        patch = decode(data)
        decoded = perf_counter()
        quality = measure(patch.pixels, self.manifest.quality)
        before = perf_counter()
        orbit = measure_orbit(patch.pixels, self._group, self._exact_subgroup, rotations, self.network.logits)
        inferred = perf_counter()
        probabilities = self.network.probabilities(orbit.logits[list(orbit.known)])
        return report(
            answer_id=uuid7(),
            created_at=created_at.replace(microsecond=created_at.microsecond // 1000 * 1000),
            manifest=self.manifest,
            model_sha256=self.network.sha256,
            patch=PatchReport(sha256=patch.sha256, format=patch.format),
            quality=quality,
            orbit=orbit,
            probabilities=probabilities.tolist(),
            timing=Timing(
                decode=_milliseconds(start, decoded),
                infer=_milliseconds(before, inferred),
                total=_milliseconds(start, perf_counter()),
            ),
        )


def shipped_artifact() -> Path:
    """The only ``model_zoo/accurate-*.int8.onnx``.

    Raises:
        ModelError: if there is none, or more than one.
    """
    found = sorted(MODEL_ZOO.glob(f"{DEFAULT_NAME}-*.int8.onnx"))
    if len(found) != 1:
        raise ModelError(
            f"{MODEL_ZOO} holds {len(found)} files {DEFAULT_NAME}-*.int8.onnx, expected one: set ROSETTE_MODEL"
        )
    return found[0]


def _milliseconds(start: float, end: float) -> float:
    return round((end - start) * 1000, 3)
