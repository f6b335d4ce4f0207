"""From a file's bytes to a patch, refusing whatever is not one exactly as a scanner wrote it."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Literal, cast

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from app.problems import (
    Animation,
    ImageTooLarge,
    NotAnImage,
    Problem,
    TruncatedImage,
    UnsupportedTiff,
    WrongMode,
    WrongSize,
)
from model_zoo.turns import SIDE, Patch

FORMATS = ("PNG", "JPEG", "TIFF")
LARGE_PIXELS = 2**24

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")
_PNG_COLOURS = {0: "grayscale", 2: "RGB", 3: "palette", 4: "grayscale with alpha", 6: "RGB with alpha"}
_MODES = {"1": "bilevel", "L": "grayscale", "P": "palette", "LA": "grayscale with alpha", "RGBA": "RGB with alpha"}
_ORIENTATION, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 274, 258, 259, 262, 266
_SAMPLES, _PLANAR, _TILE_WIDTH, _SAMPLE_FORMAT = 277, 284, 322, 339
_BASELINE_TIFF: dict[int, tuple[set[object], str]] = {
    _BITS: ({(8, 8, 8)}, "8 bits for each of three samples"),
    _COMPRESSION: ({1, 32773}, "no compression, or PackBits"),
    _PHOTOMETRIC: ({2}, "photometric interpretation RGB"),
    _FILL_ORDER: ({None, 1}, "fill order 1"),
    _SAMPLES: ({3}, "three samples for each pixel"),
    _PLANAR: ({None, 1}, "chunky planes"),
    _TILE_WIDTH: ({None}, "strips, not tiles"),
    _SAMPLE_FORMAT: ({None, (1, 1, 1), (1,), 1}, "unsigned integer samples"),
}

# Of each, Pillow or libjpeg does costly work: 1 MB of them would take seconds. Files that are meant hold far fewer.
_COSTLY = {
    b"\x89PNG": ((b"iCCP", 8, "colour profiles"),),
    b"\xff\xd8\xff": ((b"\xff\xda", 100, "scans"), (b"Exif\0", 100, "EXIF segments")),
}

# What Pillow only warns about (bombs, damaged directories) is refused.
warnings.filterwarnings("error", module=r"PIL\.")
PngImagePlugin.MAX_TEXT_MEMORY = 4 * PngImagePlugin.MAX_TEXT_CHUNK
Image.preinit()


@dataclass(frozen=True)
class DecodedPatch:
    """A patch with where it came from.

    Attributes:
        pixels: uint8 [96, 96, 3], RGB.
        sha256: of the pixels' bytes.
        format: ``"PNG"``, ``"JPEG"`` or ``"TIFF"``.
        microns_per_pixel: the scale that the file states; None if it states none.
    """

    pixels: Patch
    sha256: str
    format: Literal["PNG", "JPEG", "TIFF"]
    microns_per_pixel: float | None = None


def decode(data: bytes) -> DecodedPatch:
    """Decode a PNG, JPEG or baseline TIFF of exactly 96×96 pixels, 8-bit RGB.

    EXIF orientation, ICC profiles and gamma are ignored, never applied: the pixels are taken as stored.

    Raises:
        ImageProblem: whose subclass says what is wrong with the file.
    """
    _check_png_header(data)
    _check_costs(data)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_header(image)
            content = image.tobytes()
    except Problem:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"The image is far larger than {SIDE}×{SIDE} pixels: cut it into patches.") from error
    except ValueError as error:
        if "too large" in str(error).lower() or "too much memory" in str(error).lower():
            raise ImageTooLarge("A compressed text or profile in the PNG unpacks to too much: remove it.") from error
        raise _damaged() from error
    except UnidentifiedImageError as error:
        if data.startswith(_SIGNATURES):
            raise _damaged() from error
        raise NotAnImage(
            f"The {len(data)} bytes do not begin like a PNG, JPEG or TIFF file: send one of these."
        ) from error
    except (OSError, SyntaxError, EOFError, LookupError, TypeError, OverflowError, struct.error, Warning) as error:
        raise _damaged() from error
    file_format = cast(Literal["PNG", "JPEG", "TIFF"], image.format)
    pixels = np.frombuffer(content, np.uint8).reshape(SIDE, SIDE, 3)
    return DecodedPatch(pixels, sha256(content).hexdigest(), file_format)


def _damaged() -> TruncatedImage:
    return TruncatedImage("The file begins like an image but cannot be decoded to its end: send the whole file.")


def _check_costs(data: bytes) -> None:
    for signature, parts in _COSTLY.items():
        for mark, most, name in parts if data.startswith(signature) else ():
            if data.count(mark) > most:
                raise ImageTooLarge(f"The file holds over {most} {name}: save it again without them.")


def _check_png_header(data: bytes) -> None:
    """Judge a PNG by its first 29 bytes: Pillow would reduce 16 bits to 8 without a word."""
    if not data.startswith(_SIGNATURES[0]) or data[12:16] != b"IHDR" or len(data) < 29:
        return
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if depth != 8 or colour != 2:
        raise _wrong_mode(f"{depth}-bit {_PNG_COLOURS.get(colour, f'colour type {colour}')}")
    _check_size(width, height)


def _check_header(image: ImageFile) -> None:
    if isinstance(image, TiffImageFile):
        _check_tiff(image)
    if image.format == "MPO" or image.get_format_mimetype() == "image/apng" or getattr(image, "n_frames", 1) != 1:
        raise _animation()
    if image.mode != "RGB":
        raise _wrong_mode(_MODES.get(image.mode, image.mode))
    if "transparency" in image.info:
        raise _wrong_mode("RGB with a transparent colour")
    if isinstance(image, PngImagePlugin.PngImageFile) and [tile.args for tile in image.tile] != ["RGB"]:
        raise _wrong_mode("RGB, but not 8-bit")
    _check_size(*image.size)


def _check_tiff(image: TiffImageFile) -> None:
    tags = image.tag_v2
    if tags.next:
        raise _animation()
    _check_size(int(tags.get(256, 0)), int(tags.get(257, 0)))
    bits = tags.get(_BITS)
    if image.mode != "RGB" or bits != (8, 8, 8):
        raise _wrong_mode(f"{_MODES.get(image.mode, image.mode)} with bits {bits}")
    for tag, (allowed, expected) in _BASELINE_TIFF.items():
        if tags.get(tag) not in allowed:
            raise UnsupportedTiff(f"TIFF tag {tag} is {tags.get(tag)}, expected {expected}: save it as baseline TIFF.")
    # Pillow turns a TIFF by its orientation tag while loading; ours is taken as stored.
    if _ORIENTATION in tags:
        del tags[_ORIENTATION]
    image.getexif().pop(_ORIENTATION, None)


def _check_size(width: int, height: int) -> None:
    if (width, height) == (SIDE, SIDE):
        return
    if width * height > LARGE_PIXELS:
        raise ImageTooLarge(f"The image is {width}×{height} pixels, expected {SIDE}×{SIDE}: cut it into patches.")
    raise WrongSize(f"The image is {width}×{height} pixels, expected exactly {SIDE}×{SIDE}: cut or rescale it.")


def _wrong_mode(found: str) -> WrongMode:
    return WrongMode(f"The image is {found}, expected 8-bit RGB without alpha: convert it first.", found=found)


def _animation() -> Animation:
    return Animation("The file holds several frames or pages, expected one image: save each as its own file.")
