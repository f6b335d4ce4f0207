"""Inference: an artifact's bytes in an onnxruntime session, without the onnx package."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import onnxruntime as ort
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from model_zoo.golden import GoldenCaseError, Logits, from_bits, patch_of, to_bits
from model_zoo.manifest import MANIFEST_KEY
from model_zoo.reading import parse_manifest
from model_zoo.turns import SIDE, Patch

FLOAT_TOLERANCE = 1e-3
BATCH = 32

Corners = NDArray[np.intp]


class Network:
    """An artifact opened for inference on the CPU; all methods may be called from many threads at once.

    Attributes:
        manifest: read from the artifact's metadata.
        sha256: of the artifact's bytes, its identity.

    Args:
        data: the artifact file's bytes.
        threads: threads that one call may use; 1 lets concurrent calls scale best.

    Raises:
        ValueError: if the bytes have no valid manifest.
        onnxruntime exceptions: if onnxruntime cannot open the bytes.
    """

    def __init__(self, data: bytes, threads: int = 1) -> None:
        self.sha256 = sha256(data).hexdigest()
        self._session = ort.InferenceSession(data, session_options(threads), providers=["CPUExecutionProvider"])
        metadata = self._session.get_modelmeta().custom_metadata_map
        if MANIFEST_KEY not in metadata:
            raise ValueError(f"the model {self.sha256} has no {MANIFEST_KEY!r} in its metadata: it is not an artifact")
        self.manifest = parse_manifest(metadata[MANIFEST_KEY])

    def logits(self, patches: Patch) -> Logits:
        """Logits, float32 [N, 2], for patches, uint8 [N, 96, 96, 3]."""
        answer: Logits = self._session.run(["logits"], {"patches": np.ascontiguousarray(patches)})[0]
        return answer

    def windows(self, block: Patch, corners: Corners) -> Logits:
        """Logits, float32 [n, 2], of 96 px windows of a block, uint8 [H, W, 3], each as a patch.

        Args:
            block: the pixels.
            corners: int [n, 2], the row and column of each window's first pixel.
        """
        patches = sliding_window_view(block, (SIDE, SIDE, 3))[:, :, 0]
        answers = np.empty((len(corners), 2), np.float32)
        for start in range(0, len(corners), BATCH):
            part = slice(start, start + BATCH)
            answers[part] = self.logits(patches[tuple(corners[part].T)])
        return answers

    def probabilities(self, logits: Logits) -> NDArray[np.float64]:
        """Calibrated probability of metastasis, float64 [N], for logits, float32 [N, 2]."""
        return probability(logits, self.manifest.calibration.temperature)


def probability(logits: Logits, temperature: float) -> NDArray[np.float64]:
    """Probability of metastasis, float64 [N]: softmax of logits, float32 [N, 2], over ``temperature``."""
    scaled = logits.astype(np.float64) / temperature
    positive: NDArray[np.float64] = np.exp(-np.logaddexp(0.0, scaled[:, 0] - scaled[:, 1]))
    return positive


def session_options(threads: int = 1) -> ort.SessionOptions:
    """The session options with which artifacts run and are verified."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised anyway
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


@dataclass(frozen=True)
class GoldenAnswer:
    """A network's answer to one golden case.

    Attributes:
        exact: whether both logits have the stored bits.
        residual: largest absolute difference from the stored logits.
    """

    name: str
    exact: bool
    residual: float


def golden_answers(network: Network) -> list[GoldenAnswer]:
    """Replay the manifest's golden cases, in their order.

    Raises:
        GoldenCaseError: if a stored patch is damaged.
    """
    answers = []
    for case in network.manifest.golden_cases:
        logits = network.logits(patch_of(case)[None])[0]
        residual = float(np.abs(logits.astype(np.float64) - from_bits(case.logits)).max())
        answers.append(GoldenAnswer(case.name, to_bits(logits) == case.logits, residual))
    return answers


def check_golden_cases(network: Network) -> None:
    """Replay the golden cases: an int8 network bit for bit, a float32 network within 1e-3.

    Raises:
        GoldenCaseError: naming the first case that is damaged or answered differently.
    """
    for answer in golden_answers(network):
        if network.manifest.precision == "int8" and not answer.exact:
            raise GoldenCaseError(
                f"golden case {answer.name!r}: the logits differ by {answer.residual:.3g} from the manifest's, "
                "expected equal bits: this CPU or onnxruntime computes differently, so its answers cannot be trusted"
            )
        if not answer.residual <= FLOAT_TOLERANCE:
            raise GoldenCaseError(
                f"golden case {answer.name!r}: the logits differ by {answer.residual:.3g} from the manifest's, "
                f"expected at most {FLOAT_TOLERANCE}"
            )
