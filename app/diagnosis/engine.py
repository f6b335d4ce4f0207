"""A loaded model that turns an image file's bytes into an answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from app.diagnosis.decode import DecodedPatch, decode
from app.diagnosis.identity import new_id
from app.diagnosis.report import ModelReport, NewAnswer, PatchReport, Timing, report
from app.diagnosis.scale import Mpp
from app.problems import ImageProblem
from model_zoo.network import Network
from model_zoo.occlusion import Occlusion, OcclusionReport, measure_occlusion, occlusion_report
from model_zoo.opening import ModelError, open_proved, read_artifact
from model_zoo.orbit import Helpers, Orbit, Rotations, as_given, measure_orbit
from model_zoo.proof import Report
from model_zoo.quality import Quality, measure
from model_zoo.shifts import ShiftReport, Shifts, measure_shifts, shift_report
from model_zoo.symmetry import Group
from model_zoo.turns import Patch


class Engine:
    """Answers from one network; all methods may be called from many threads at once.

    Attributes:
        proof: what was proved of the network when it was opened here.
    """

    def __init__(self, network: Network, proof: Report) -> None:
        self.network = network
        self.proof = proof
        self.manifest = network.manifest
        self._group = Group.parse(self.manifest.group.name)
        self._exact_subgroup = Group.parse(self.manifest.exact_subgroup)
        name, version = self.manifest.name, self.manifest.version
        scale = self.manifest.input.microns_per_pixel
        self._model = ModelReport(name=name, version=version, sha256=network.sha256, microns_per_pixel=scale)

    @classmethod
    def open(cls, data: bytes) -> Engine:
        """Open an artifact and prove it on this machine.

        Raises:
            ModelError: if it cannot be opened, is no INT8 artifact, or fails a proof.
        """
        return cls(*open_proved(data))

    @classmethod
    def load(cls, path: Path) -> Engine:
        """Open and prove an artifact's file.

        Raises:
            ModelError: if there is no such file, or as :meth:`open`.
        """
        try:
            return cls.open(read_artifact(path))
        except (OSError, ModelError) as error:
            raise ModelError(f"the model {path} cannot be used: {error}") from error

    def answer(
        self,
        data: bytes,
        rotations: Rotations,
        prevalence: float | None = None,
        helpers: Helpers | None = None,
        shifts: Shifts = Shifts.NONE,
        mpp: Mpp = None,
        occlusion: Occlusion = Occlusion.NONE,
    ) -> NewAnswer:
        """Decode, assess, turn, infer and report, also at the site's prevalence if that is given.

        Args:
            data: an image file's bytes.
            rotations: which turns are measured.
            helpers: threads that may take a share of the inferences.
            shifts: whether the patch is also answered at offsets around it.
            mpp: what the caller says of the patch's scale.
            occlusion: whether the patch is also answered with parts covered.

        Raises:
            ImageProblem: if the bytes are no patch.
        """
        start = perf_counter()
        patch = decode(data, self.manifest.input.microns_per_pixel, mpp)
        decoded = perf_counter()
        quality = measure(patch.pixels, self.manifest.quality)
        before = perf_counter()
        orbit = measure_orbit(patch.pixels, self._group, self._exact_subgroup, rotations, self.network.logits, helpers)
        shift = self._shifts(patch.pixels) if shifts is Shifts.REPORT else None
        covering = self._occlusion(patch.pixels) if occlusion is Occlusion.REPORT else None
        moments = (start, decoded, before, perf_counter())
        probabilities = self.network.probabilities(orbit.logits[list(orbit.known)]).tolist()
        return self._report(patch, quality, orbit, probabilities, moments, prevalence, shift, covering)

    def answer_as_given(
        self, files: Sequence[bytes], prevalence: float | None = None, mpps: Sequence[Mpp] | None = None
    ) -> list[NewAnswer | ImageProblem]:
        """Answer several patches as with ``Rotations.NONE``, in one call of the network; the bits are the same.

        The times in an answer are those of all together, but for its own decoding. ``mpps`` has what the caller says of
        the scale of each patch.
        """
        results: list[NewAnswer | ImageProblem | None] = [None] * len(files)
        decoded: list[tuple[int, DecodedPatch, float, float]] = []
        expected = self.manifest.input.microns_per_pixel
        for index, (data, mpp) in enumerate(zip(files, mpps or [None] * len(files), strict=True)):
            start = perf_counter()
            try:
                decoded.append((index, decode(data, expected, mpp), start, perf_counter()))
            except ImageProblem as problem:
                results[index] = problem
        if decoded:
            pixels = np.stack([patch.pixels for _, patch, _, _ in decoded])
            before = perf_counter()
            qualities = [measure(patch.pixels, self.manifest.quality) for _, patch, _, _ in decoded]
            measured = perf_counter()
            logits = self.network.logits(pixels)
            inferred = perf_counter()
            probabilities = self.network.probabilities(logits).tolist()
            for place, (index, patch, start, end) in enumerate(decoded):
                orbit = as_given(self._group, logits[place])
                moments = (start, end, end + measured - before, end + inferred - before)
                results[index] = self._report(
                    patch, qualities[place], orbit, [probabilities[place]], moments, prevalence
                )
        return [result for result in results if result is not None]

    def _shifts(self, patch: Patch) -> ShiftReport:
        probabilities = self.network.probabilities(measure_shifts(patch, self.network.logits)).tolist()
        return shift_report(probabilities, self.manifest.threshold)

    def _occlusion(self, patch: Patch) -> OcclusionReport:
        logits = measure_occlusion(patch, self.network.logits)
        return occlusion_report(patch, self.network.probabilities(logits).tolist())

    def _report(
        self,
        patch: DecodedPatch,
        quality: Quality,
        orbit: Orbit,
        probabilities: list[float],
        moments: tuple[float, float, float, float],
        prevalence: float | None,
        shifts: ShiftReport | None = None,
        occlusion: OcclusionReport | None = None,
    ) -> NewAnswer:
        start, decoded, measured, inferred = moments
        answer_id, created_at = new_id()
        return report(
            answer_id=str(answer_id),
            created_at=created_at,
            manifest=self.manifest,
            model=self._model,
            patch=PatchReport(patch.sha256, patch.format, patch.microns_per_pixel),
            quality=quality,
            orbit=orbit,
            probabilities=probabilities,
            timing_ms=Timing(
                decode=_milliseconds(start, decoded),
                quality=_milliseconds(decoded, measured),
                infer=_milliseconds(measured, inferred),
                total=_milliseconds(start, inferred),
            ),
            prevalence=prevalence,
            shifts=shifts,
            occlusion=occlusion,
        )


def _milliseconds(start: float, end: float) -> float:
    return round((end - start) * 1000, 3)
