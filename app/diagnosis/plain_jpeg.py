"""Plain JPEG patches, decoded by simplejpeg in a quarter of Pillow's time, to the same pixels.

Both libraries wrap libjpeg-turbo. Whatever is unusual about a file, or is reported while it is decoded, is left to
Pillow, whose verdicts are those of :mod:`app.diagnosis.decode`. Without simplejpeg, Pillow decodes every file.
"""

from __future__ import annotations

import numpy as np

from model_zoo.turns import SIDE, Patch

try:
    from simplejpeg import decode_jpeg
except ImportError:  # no wheel for this platform
    decode_jpeg = None

MAX_BYTES = 2**16  # Pillow hands longer files to libjpeg in pieces, and can fail between them

_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, Huffman-coded
_TABLES = (0xC4, 0xDB, 0xDD, 0xE0, 0xEE)  # DHT, DQT, DRI, JFIF, Adobe
_FRAME = bytes((8, 0, SIDE, 0, SIDE, 3))  # bits, height, width, components
_FRAME_LENGTH = 17


def plain_pixels(jpeg: bytes) -> Patch | None:
    """Pixels of a plain 96×96 colour JPEG, uint8 [96, 96, 3]; None if Pillow shall decide.

    Args:
        jpeg: a file from which :func:`app.diagnosis.jpeg.essential` removed what is not read.
    """
    if decode_jpeg is None or not is_plain(jpeg):
        return None
    try:
        pixels = decode_jpeg(jpeg, "RGB", fastdct=False, fastupsample=False, strict=True)
    except ValueError:  # an error or a warning of libjpeg
        return None
    return pixels if pixels.shape == (SIDE, SIDE, 3) and pixels.dtype == np.uint8 else None


def is_plain(jpeg: bytes) -> bool:
    """Whether tables and the frame header of a 96×96 patch in colour are all that stands before the first scan."""
    if len(jpeg) > MAX_BYTES:
        return False
    frames, at = 0, 2
    while jpeg[at : at + 1] == b"\xff" and at + 4 <= len(jpeg):
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4])
        if marker == _SCAN:
            return frames == 1
        if marker in _FRAMES:
            frames += 1
            if length != _FRAME_LENGTH or not jpeg.startswith(_FRAME, at + 4):
                return False
        elif marker not in _TABLES or length < 2:
            return False
        at += 2 + length
    return False
