"""Code shared by the other servers: decode a patch, run the artifact. Needs only numpy, onnxruntime and pillow."""

from __future__ import annotations

import os
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported
import onnxruntime as ort

SIDE = 96


def open_session() -> ort.InferenceSession:
    """The artifact of ``ARTIFACT``, with Rosette's session options."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(os.environ["ARTIFACT"], options, providers=["CPUExecutionProvider"])


def decode(data: bytes | BinaryIO) -> np.ndarray:
    """An image file's pixels, uint8 [96, 96, 3]."""
    return pixels(Image.open(BytesIO(data) if isinstance(data, bytes) else data))


def pixels(image: Image.Image) -> np.ndarray:
    """An image's pixels, uint8 [96, 96, 3].

    Raises:
        ValueError: if it is not a patch.
    """
    array = np.asarray(image.convert("RGB"))
    if array.shape != (SIDE, SIDE, 3):
        raise ValueError(f"the image is {array.shape}, expected {(SIDE, SIDE, 3)}")
    return array


def logits(session: ort.InferenceSession, patch: np.ndarray) -> np.ndarray:
    """Two logits, float32 [2], for a patch, uint8 [96, 96, 3]."""
    return session.run(["logits"], {"patches": patch[None]})[0][0]
