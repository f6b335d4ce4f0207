"""AIMET's cross-layer equalization as an external reference, in a separate interpreter.

AIMET pins its own torch and onnxruntime, so this file is also a script for its interpreter:

    PYTHON aimet_reference.py PLAIN.onnx EQUALIZED.onnx

Both networks, AIMET's and ours, are then quantized by onnxruntime's static quantization; only the equalization
differs. Source: https://github.com/quic/aimet, ``aimet_onnx.cross_layer_equalization``.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

CHUNK = 32


class AimetError(RuntimeError):
    """AIMET's interpreter did not equalize the network."""


def equalize(plain: onnx.ModelProto, python: Path) -> tuple[onnx.ModelProto, str]:
    """Equalize a float graph by AIMET: the graph, and AIMET's version.

    Args:
        python: an interpreter whose environment has ``aimet-onnx``.

    Raises:
        AimetError: with the last line of the interpreter's output.
    """
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "plain.onnx"), Path(folder, "equalized.onnx")
        onnx.save(plain, source)
        command = [str(python), str(Path(__file__).resolve()), str(source), str(target)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise AimetError(f"{python} cannot be run: {error.strerror}") from error
        if done.returncode:
            said = (done.stderr.strip() or "nothing").splitlines()[-1]
            raise AimetError(f"AIMET's interpreter failed: {said}; expected an environment with aimet-onnx")
        return onnx.load(target), done.stdout.strip().splitlines()[-1]


class _Chunks(CalibrationDataReader):  # type: ignore[misc] # onnxruntime is not typed
    def __init__(self, patches: npt.NDArray[np.uint8]) -> None:
        self._chunks = iter([patches[i : i + CHUNK] for i in range(0, len(patches), CHUNK)])

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        chunk = next(self._chunks, None)
        return None if chunk is None else {"patches": chunk}


def quantize_by_onnxruntime(
    graph: onnx.ModelProto, calibration: npt.NDArray[np.uint8], *, per_channel: bool
) -> onnx.ModelProto:
    """Quantize a float graph by onnxruntime: QDQ, least to greatest value on ``calibration``, |w| ≤ 64."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        onnx.save(graph, source)
        quant_pre_process(str(source), str(source), skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            source,
            target,
            _Chunks(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(target)


def main() -> None:
    from aimet_onnx.cross_layer_equalization import equalize_model  # type: ignore[import-not-found]

    source, target = sys.argv[1:]
    network = onnx.load(source)
    equalize_model(network)
    onnx.save(network, target)
    print(version("aimet-onnx"))


if __name__ == "__main__":
    main()
