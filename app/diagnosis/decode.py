"""From a file's bytes to a patch: its pixels as stored, and the scale that the file states."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, PngImagePlugin
from PIL.ImageFile import ImageFile

from app.diagnosis import directory, jpeg, png, tiff
from app.diagnosis.plain_jpeg import plain_pixels
from app.diagnosis.raw import RawPixels
from app.diagnosis.refusals import (
    check_size,
    damaged,
    gray,
    not_an_image,
    several_images,
    transparent,
    unsupported_jpeg,
    wrong_mode,
)
from app.diagnosis.scale import Mpp, Scale, checked
from app.problems import ImageTooLarge, Problem
from model_zoo.turns import SIDE, Patch

Format = Literal["PNG", "JPEG", "TIFF", "RAW"]

GRAY_RANGE = 32  # grey levels; what varies less is empty, and its quality says so

_MODES = {"L": "grayscale"}
_OPAQUE = 255

# What Pillow only warns about (bombs, damaged files) is refused.
warnings.filterwarnings("error", module=r"PIL\.")
PngImagePlugin.MAX_TEXT_MEMORY = 4 * PngImagePlugin.MAX_TEXT_CHUNK
Image.preinit()


@dataclass(frozen=True)
class DecodedPatch:
    """A patch with where it came from.

    Attributes:
        pixels: uint8 [96, 96, 3], RGB.
        sha256: of the pixels' bytes.
        format: ``"PNG"``, ``"JPEG"`` or ``"TIFF"``; ``"RAW"`` if it came as pixels.
        microns_per_pixel: the scale that the file, or else the caller, states; None if neither does.
    """

    pixels: Patch
    sha256: str
    format: Format
    microns_per_pixel: float | None = None


def decode(data: bytes, model_mpp: float | None = None, mpp: Mpp = None) -> DecodedPatch:
    """Decode a PNG, JPEG or TIFF of exactly 96×96 pixels, 8-bit RGB, or RGBA of which every pixel is opaque.

    EXIF orientation, ICC profiles and gamma are ignored, never applied: the pixels are taken as stored.

    Args:
        data: the image file's bytes, or raw pixels.
        model_mpp: the model's microns per pixel; without it the scale is not checked.
        mpp: what the caller says of the scale.

    Raises:
        ImageProblem: whose subclass says what is wrong with the file.
    """
    if isinstance(data, RawPixels):
        file_format: Format = "RAW"
        scales: list[Scale] = []
        pixels, content = data.array(), bytes(data)
    else:
        file_format, kept, scales = _essential(data)
        plain = plain_pixels(kept) if file_format == "JPEG" else None
        pixels = _opaque(_loaded(kept, file_format, data)) if plain is None else plain
        content = pixels.tobytes()
    if is_gray(content):
        raise gray()
    stated = checked(scales, model_mpp, mpp) if model_mpp else scales[0].microns_per_pixel if scales else None
    return DecodedPatch(pixels, sha256(content).hexdigest(), file_format, stated)


def _essential(data: bytes) -> tuple[Format, bytes, list[Scale]]:
    """The file's format, the file without what is not read, and the scales that it states."""
    if data.startswith(png.SIGNATURE):
        return "PNG", *png.essential(data)
    if data.startswith(jpeg.SIGNATURE):
        return "JPEG", *jpeg.essential(data)
    if data.startswith(directory.SIGNATURES):
        return "TIFF", *tiff.essential(data)
    raise not_an_image(data)


def _loaded(kept: bytes, file_format: Format, data: bytes) -> Image.Image:
    """The decoded image, RGB or RGBA."""
    try:
        with Image.open(BytesIO(kept), formats=[file_format]) as image:
            _check(image)
            image.load()
            return image
    except Problem:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"The image is far larger than {SIDE}×{SIDE} pixels: cut it into patches.") from error
    except (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error, Warning) as error:
        if "too large" in str(error).lower() or "too much memory" in str(error).lower():
            raise ImageTooLarge("A compressed text or profile in the PNG unpacks to too much: remove it.") from error
        if file_format == "PNG" and (bare := png.without_texts(kept)) != kept:
            return _loaded(bare, file_format, data)
        if file_format == "JPEG" and (kind := jpeg.rare_kind(data)):
            raise unsupported_jpeg(kind) from error
        raise damaged() from error


def _check(image: ImageFile) -> None:
    if getattr(image, "n_frames", 1) != 1:
        raise several_images("of several frames")
    if image.mode not in ("RGB", "RGBA"):
        raise wrong_mode(_MODES.get(image.mode, image.mode))
    if "transparency" in image.info:
        raise transparent("RGB with a transparent colour")
    if image.format == "PNG" and [tile.args for tile in image.tile] != [image.mode]:
        raise wrong_mode("RGB, but not 8-bit")
    check_size(*image.size)


def _opaque(image: Image.Image) -> Patch:
    """The pixels of an image without its alpha channel, uint8 [96, 96, 3].

    Raises:
        WrongMode: if a pixel is transparent.
    """
    pixels = np.frombuffer(image.tobytes(), np.uint8).reshape(SIDE, SIDE, -1)
    if pixels.shape[2] == 4:
        if (pixels[..., 3] != _OPAQUE).any():
            raise transparent("RGB with transparent pixels")
        pixels = np.ascontiguousarray(pixels[..., :3])
    return pixels


def is_gray(content: bytes) -> bool:
    """Whether red, green and blue are equal in every pixel, and the patch is not empty."""
    row = content[: 3 * SIDE]
    if row[::3] != row[1::3]:  # as in nearly every patch
        return False
    red, green, blue = (content[channel::3] for channel in range(3))
    return red == green == blue and max(red) - min(red) >= GRAY_RANGE
