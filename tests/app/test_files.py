"""Whole files of many programs: each is read, or refused with its kind, and never called truncated."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from app import problems
from app.diagnosis.decode import decode
from tests.app.conftest import encoded, noise
from tests.app.test_decode import png_chunk, segment

PIXELS = noise(1, 96, 96, 3)
OPAQUE = np.dstack([PIXELS, np.full((96, 96), 255, np.uint8)])
TRANSPARENT = np.dstack([PIXELS, np.full((96, 96), 255, np.uint8)])
TRANSPARENT[95, 95, 3] = 254
APERIO = "Aperio Image Library v12.0.15\r\n46000x32914 [0,0 46000x32893] (240x240) JPEG/RGB Q=30|AppMag = 20"


def tiff(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, pixels, **({"photometric": "rgb"} | options))
    return stream.getvalue()


def pages(*written: tuple[np.ndarray[Any, Any], dict[str, Any]]) -> bytes:
    stream = BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for pixels, options in written:
            writer.write(pixels, photometric="rgb", **options)
    return stream.getvalue()


def lossless_as(marker: int) -> bytes:
    """A JPEG whose frame header has another marker."""
    return encoded(PIXELS, "JPEG").replace(b"\xff\xc0", bytes((0xFF, marker)), 1)


WHOLE: dict[str, tuple[Callable[[], bytes | bytearray], type[problems.ImageProblem], str]] = {
    "float32 TIFF": (lambda: tiff(PIXELS.astype("f4")), problems.WrongMode, "32-bit float RGB"),
    "float64 TIFF": (lambda: tiff(PIXELS.astype("f8")), problems.WrongMode, "64-bit float RGB"),
    "float16 TIFF": (lambda: tiff(PIXELS.astype("f2")), problems.WrongMode, "16-bit float RGB"),
    "int8 TIFF": (lambda: tiff(PIXELS.astype("i1")), problems.WrongMode, "8-bit signed RGB"),
    "int16 TIFF": (lambda: tiff(PIXELS.astype("i2")), problems.WrongMode, "16-bit signed RGB"),
    "uint16 TIFF": (lambda: tiff(PIXELS.astype("u2")), problems.WrongMode, "16-bit RGB"),
    "int64 TIFF": (lambda: tiff(PIXELS.astype("i8")), problems.WrongMode, "64-bit signed RGB"),
    "float gray TIFF": (
        lambda: tiff(PIXELS[..., 0].astype("f8"), photometric="minisblack"),
        problems.WrongMode,
        "64-bit float grayscale",
    ),
    "JPEG 2000 in TIFF": (lambda: tiff(PIXELS, compression="jpeg2000"), problems.UnsupportedTiff, "JPEG 2000"),
    "Aperio 33003": (lambda: tiff(PIXELS, compression=33003), problems.UnsupportedTiff, "JPEG 2000 .* of Aperio"),
    "Aperio 33005": (lambda: tiff(PIXELS, compression=33005), problems.UnsupportedTiff, "JPEG 2000 .* of Aperio"),
    "JPEG in TIFF": (lambda: tiff(PIXELS, compression="jpeg"), problems.UnsupportedTiff, "JPEG compression"),
    "JPEG XL in TIFF": (lambda: tiff(PIXELS, compression=50002), problems.UnsupportedTiff, "JPEG XL"),
    "PNG in TIFF": (lambda: tiff(PIXELS, compression="png"), problems.UnsupportedTiff, "PNG compression"),
    "Zstandard in TIFF": (lambda: tiff(PIXELS, compression="zstd"), problems.UnsupportedTiff, "Zstandard"),
    "tiled TIFF": (lambda: tiff(PIXELS, tile=(96, 96)), problems.UnsupportedTiff, "tiles"),
    "planar TIFF": (
        lambda: tiff(np.ascontiguousarray(PIXELS.transpose(2, 0, 1)), planarconfig="separate"),
        problems.UnsupportedTiff,
        "separate planes",
    ),
    "five channels": (lambda: tiff(noise(1, 96, 96, 5)), problems.WrongMode, "RGB with 5 channels"),
    "RGBX TIFF": (
        lambda: tiff(OPAQUE, extrasamples=["unspecified"]),
        problems.WrongMode,
        "a fourth channel that is not alpha",
    ),
    "12-bit JPEG": (
        lambda: imagecodecs.jpeg8_encode(PIXELS.astype(np.uint16) * 16, bitspersample=12),
        problems.WrongMode,
        "12-bit RGB",
    ),
    "lossless 16-bit JPEG": (
        lambda: imagecodecs.ljpeg_encode(PIXELS[..., 0].astype(np.uint16), bitspersample=16),
        problems.WrongMode,
        "16-bit grayscale",
    ),
    "JPEG-LS": (lambda: imagecodecs.jpegls_encode(PIXELS[::2, ::2] // 16), problems.UnsupportedJpeg, "JPEG-LS"),
    "hierarchical JPEG": (lambda: lossless_as(0xC5), problems.UnsupportedJpeg, "hierarchical JPEG"),
    "lossless JPEG that is not decoded": (lambda: lossless_as(0xC3), problems.UnsupportedJpeg, "lossless JPEG"),
    "TIFF of pages": (lambda: tiff(np.stack([PIXELS] * 3)), problems.Animation, "a TIFF of 3 pages"),
    "OME-TIFF of pages": (
        lambda: tiff(np.stack([PIXELS] * 2), ome=True, metadata={"axes": "ZYXS"}),
        problems.Animation,
        "an OME-TIFF of 2 pages",
    ),
    "ImageJ composite": (
        lambda: tiff(
            np.stack([PIXELS[..., 0]] * 3),
            photometric=None,
            imagej=True,
            metadata={"axes": "CYX", "mode": "composite"},
        ),
        problems.Animation,
        "an ImageJ composite of 3 images.*RGB Color",
    ),
    "ImageJ stack in one page": (
        lambda: tiff(PIXELS, description="ImageJ=1.54f\nimages=30\nslices=30\n", metadata=None),
        problems.Animation,
        "an ImageJ stack of 30 images",
    ),
    "Aperio slide": (
        lambda: pages((noise(1, 256, 256, 3), {"tile": (128, 128), "description": APERIO}), (PIXELS, {})),
        problems.Animation,
        "an Aperio SVS slide of 2 images.*cut patches",
    ),
    "fluorescence composite": (
        lambda: tiff(
            np.dstack([PIXELS, PIXELS, PIXELS[..., :1]]).astype(np.uint16),
            photometric="minisblack",
            planarconfig="contig",
        ),
        problems.WrongMode,
        "a composite of 7 grayscale channels.*H&E",
    ),
    "JPEG 2000": (lambda: imagecodecs.jpeg2k_encode(PIXELS), problems.NotAnImage, "a JPEG 2000 file"),
    "JPEG XL": (lambda: imagecodecs.jpegxl_encode(PIXELS), problems.NotAnImage, "a JPEG XL file"),
    "WebP": (lambda: imagecodecs.webp_encode(PIXELS), problems.NotAnImage, "a WebP file"),
    "DICOM": (lambda: bytes(128) + b"DICM" + bytes(100), problems.NotAnImage, "a DICOM file"),
    "web page": (lambda: b"\r\n<!doctype html>", problems.NotAnImage, "an HTML, SVG or XML file"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_that_are_not_read_are_named(name: str) -> None:
    made, kind, found = WHOLE[name]
    with pytest.raises(problems.ImageProblem, match=found) as refused:
        decode(bytes(made()))
    assert type(refused.value) is kind
    assert refused.value.extensions["found"]


def exif(content: bytes) -> bytes:
    jpeg = encoded(PIXELS, "JPEG")
    return jpeg[:2] + segment(0xE1, b"Exif\0\0" + content) + jpeg[2:]


DAMAGED_EXIF = {
    "offset outside": b"II*\0\xff\xff\xff\xff",
    "text": b"no TIFF at all",
    "cut": b"II*\0",
    "values outside": b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + struct.pack("<HHII", 0x11A, 5, 1, 9999) * 2,
}


@pytest.mark.parametrize("name", DAMAGED_EXIF)
def test_damaged_exif_is_ignored(name: str) -> None:
    plain = decode(encoded(PIXELS, "JPEG"))
    assert decode(exif(DAMAGED_EXIF[name])).sha256 == plain.sha256


@pytest.mark.parametrize(
    "damaged",
    [
        segment(0xE2, b"MPF\0garbage"),
        segment(0xE2, b"ICC_PROFILE\0\5\1garbage"),
        segment(0xED, b"Photoshop 3.0\x008BIM\3\xed\0\0\0\0\0\xff"),
        segment(0xEE, b"Adobe"),
        segment(0xE0, b"JFIF\0"),
        segment(0xFE, b"a comment"),
    ],
    ids=["MPF", "ICC", "Photoshop", "Adobe", "JFIF", "comment"],
)
def test_other_segments_that_nobody_reads_are_ignored(damaged: bytes) -> None:
    jpeg = encoded(PIXELS, "JPEG")
    assert decode(jpeg[:20] + damaged + jpeg[20:]).sha256 == decode(jpeg).sha256


def test_the_colour_transform_of_adobe_is_not_lost() -> None:
    jpeg = encoded(PIXELS, "JPEG", keep_rgb=True)
    assert b"Adobe" in jpeg
    assert np.array_equal(decode(jpeg).pixels, np.array(Image.open(BytesIO(jpeg))))


CHUNKS = [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"bKGD", b"eXIf", b"tIME", b"prVt"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", [*CHUNKS, b"PLTE"])
def test_a_wrong_checksum_of_a_chunk_that_nobody_reads_is_ignored(kind: bytes, after: bool) -> None:
    png = encoded(PIXELS)
    at = len(png) - 12 if after else 33
    for chunk in (png_chunk(kind, b"a\0\0")[:-4] + b"\0\0\0\0", png_chunk(kind, b"a"), png_chunk(kind, b"a\0\7zzz")):
        assert np.array_equal(decode(png[:at] + chunk + png[at:]).pixels, PIXELS)


@pytest.mark.parametrize("kind", [b"tRNS", b"acTL"])
def test_a_wrong_checksum_of_a_chunk_that_changes_the_image_is_damage(kind: bytes) -> None:
    png = encoded(PIXELS)
    with pytest.raises(problems.TruncatedImage, match=f"the PNG chunk {kind.decode()}"):
        decode(png[:33] + png_chunk(kind, bytes(6))[:-4] + b"\0\0\0\0" + png[33:])


@pytest.mark.parametrize(
    "made",
    [
        lambda alpha: encoded(alpha),
        lambda alpha: encoded(alpha, "TIFF"),
        lambda alpha: tiff(alpha, extrasamples=["unassalpha"], compression="lzw", predictor=True),
        lambda alpha: tiff(alpha, extrasamples=["assocalpha"]),
    ],
    ids=["PNG", "TIFF", "LZW", "associated"],
)
def test_opaque_alpha_is_as_good_as_none(made: Callable[[np.ndarray[Any, Any]], bytes]) -> None:
    decoded = decode(made(OPAQUE))
    assert np.array_equal(decoded.pixels, PIXELS)
    assert decoded.sha256 == decode(encoded(PIXELS)).sha256
    with pytest.raises(problems.WrongMode, match=r"transparent pixels.*composite it onto white"):
        decode(made(TRANSPARENT))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzw"},
        {"compression": "lzw", "predictor": True},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"compression": "deflate"},
        {"compression": "lzw", "rowsperstrip": 7},
        {"compression": "zlib", "rowsperstrip": 95, "predictor": True},
        {"compression": "packbits", "rowsperstrip": 1},
        {"rowsperstrip": 10},
        {"bigtiff": True},
        {"bigtiff": True, "compression": "lzw", "rowsperstrip": 16},
        {"extratags": [(274, 3, 1, 6, True), (282, 5, 3, (1, 1) * 3, True)]},
        {"software": "x" * 5000},
    ],
    ids=str,
)
def test_common_tiffs_give_the_very_pixels(options: dict[str, Any], order: str) -> None:
    decoded = decode(tiff(PIXELS, byteorder=order, **options))
    assert np.array_equal(decoded.pixels, PIXELS)


def test_orientation_of_lzw_tiff_is_ignored() -> None:
    turned = tiff(PIXELS, compression="lzw", extratags=[(274, 3, 1, 6, True)])
    assert np.array_equal(decode(turned).pixels, PIXELS)


def test_a_reduced_image_beside_the_main_one_is_ignored() -> None:
    pyramid = pages((PIXELS, {"subifds": 1}), (np.ascontiguousarray(PIXELS[::2, ::2]), {"subfiletype": 1}))
    assert np.array_equal(decode(pyramid).pixels, PIXELS)


def test_lossless_jpeg_of_8_bits_gives_the_very_pixels() -> None:
    assert np.array_equal(decode(bytes(imagecodecs.jpeg8_encode(PIXELS, lossless=True))).pixels, PIXELS)


@pytest.mark.parametrize("level", [255, 243, 128, 0])
def test_empty_gray_patches_are_decoded(level: int) -> None:
    pixels = np.full((96, 96, 3), level, np.uint8)
    pixels[::2] ^= 7  # a little noise, as JPEG leaves it
    assert np.array_equal(decode(encoded(pixels)).pixels, pixels)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_a_gray_image_stored_as_rgb_is_called_so(file_format: str) -> None:
    gray = np.repeat(noise(1, 96, 96, 1), 3, axis=2)
    with pytest.raises(problems.WrongMode, match=r"gray, stored as RGB.*colour image"):
        decode(encoded(gray, file_format))
