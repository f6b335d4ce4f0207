"""Decoding of patches, and the errors of other files."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from app import problems
from app.diagnosis.decode import decode
from model_zoo.turns import Patch
from tests.app.conftest import encoded, noise
from tests.conftest import ROOT

PIXELS = noise(1, 96, 96, 3)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def raw_png(width: int, height: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    """A PNG of these header values, whose rows are all zero, and no longer than 96 lines."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rows = (b"\0" + bytes(width * channels * depth // 8)) * min(height, 96)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """The PNG with one more chunk after its header."""
    return png[:33] + png_chunk(kind, content) + png[33:]


def pillow(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("PNG", {"compress_level": 0, "dpi": (300, 300)}),
        ("TIFF", {}),
        ("TIFF", {"compression": "packbits"}),
        ("TIFF", {"compression": "raw", "big_tiff": False}),
    ],
)
def test_lossless_formats_give_the_very_pixels(file_format: str, options: dict[str, Any]) -> None:
    decoded = decode(encoded(PIXELS, file_format, **options))
    assert np.array_equal(decoded.pixels, PIXELS)
    assert decoded.format == file_format


def test_equal_pixels_have_equal_hashes_whatever_the_file(tumour: Patch) -> None:
    hashes = {decode(encoded(tumour, kind)).sha256 for kind in ("PNG", "TIFF")}
    assert len(hashes) == 1


def test_interlaced_png_is_decoded() -> None:
    data = bytearray(raw_png(96, 96, 8, 2))
    adam7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(b"\0" + PIXELS[y, x::dx].tobytes() for x, y0, dx, dy in adam7 for y in range(y0, 96, dy))
    header = struct.pack(">IIBBBBB", 96, 96, 8, 2, 0, 0, 1)
    data = bytearray(b"\x89PNG\r\n\x1a\n") + png_chunk(b"IHDR", header)
    data += png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    assert np.array_equal(decode(bytes(data)).pixels, PIXELS)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 95}])
def test_jpeg_decodes_as_pillow_does(tumour: Patch, options: dict[str, Any]) -> None:
    data = encoded(tumour, "JPEG", **options)
    assert np.array_equal(decode(data).pixels, np.array(Image.open(BytesIO(data))))
    assert decode(data).format == "JPEG"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_exif_orientation_is_ignored(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = decode(encoded(PIXELS, file_format)).pixels
    assert np.array_equal(decode(encoded(PIXELS, file_format, exif=exif)).pixels, plain)


def test_packbits_tiff_is_not_turned_either() -> None:
    turned = encoded(PIXELS, "TIFF", compression="packbits", tiffinfo={274: 6})
    assert np.array_equal(decode(turned).pixels, PIXELS)


def test_colour_profile_and_gamma_are_ignored() -> None:
    png = with_chunk(encoded(PIXELS, icc_profile=b"not a profile" * 20), b"gAMA", struct.pack(">I", 10000))
    assert np.array_equal(decode(png).pixels, PIXELS)


@pytest.mark.parametrize("size", [(95, 96), (96, 95), (97, 97), (1, 1), (192, 192), (1000, 1000)])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_only_96_by_96(file_format: str, size: tuple[int, int]) -> None:
    data = encoded(noise(2, size[1], size[0], 3), file_format)
    with pytest.raises(problems.WrongSize, match=f"is {size[0]}×{size[1]} pixels, expected exactly 96×96"):
        decode(data)


@pytest.mark.parametrize(
    ("depth", "colour", "found"),
    [
        (16, 2, "16-bit RGB"),
        (16, 0, "16-bit grayscale"),
        (8, 0, "8-bit grayscale"),
        (1, 0, "1-bit grayscale"),
        (8, 3, "8-bit palette"),
        (8, 4, "8-bit grayscale with alpha"),
        (16, 6, "16-bit RGB with alpha"),
    ],
)
def test_only_8_bit_colour_png(depth: int, colour: int, found: str) -> None:
    with pytest.raises(problems.WrongMode, match=f"is {found}, expected 8-bit RGB") as refused:
        decode(raw_png(96, 96, depth, colour))
    assert refused.value.body()["found"] == found


def test_a_second_png_header_does_not_smuggle_16_bits_in() -> None:
    second = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 96, 96, 16, 2, 0, 0, 0))
    rows = zlib.compress((b"\0" + bytes(96 * 6)) * 96)
    data = raw_png(96, 96, 8, 2, second)
    with pytest.raises(problems.ImageProblem):
        decode(data[: data.index(b"IDAT") - 4] + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b""))


def test_a_transparent_colour_in_png_is_refused() -> None:
    with pytest.raises(problems.WrongMode, match="transparent colour"):
        decode(with_chunk(encoded(PIXELS), b"tRNS", bytes(6)))


@pytest.mark.parametrize(
    ("mode", "file_format", "found"),
    [
        ("L", "JPEG", "grayscale"),
        ("CMYK", "JPEG", "CMYK"),
        ("L", "TIFF", "grayscale"),
        ("P", "TIFF", "palette"),
        ("CMYK", "TIFF", "CMYK"),
        ("F", "TIFF", "32-bit float grayscale"),
        ("I;16", "TIFF", "16-bit grayscale"),
        ("1", "TIFF", "1-bit grayscale"),
        ("LAB", "TIFF", "CIELAB"),
        ("YCbCr", "TIFF", "YCbCr"),
    ],
)
def test_only_8_bit_rgb_jpeg_and_tiff(mode: str, file_format: str, found: str) -> None:
    with pytest.raises(problems.WrongMode, match=f"is {found}"):
        decode(pillow(Image.new(mode, (96, 96)), file_format))


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ({266: 2}, "reversed bits"),
        ({322: 96, 323: 96}, "tiles"),
        ({284: 2}, "separate planes"),
        ({317: 3}, "an unknown predictor"),
        ({259: 7}, "JPEG compression"),
        ({259: 12345}, "an unknown compression"),
    ],
)
def test_rare_kinds_of_tiff_are_named(tags: dict[int, int], found: str) -> None:
    with pytest.raises(problems.UnsupportedTiff, match=f"The TIFF has {found} .*does not read: save it") as refused:
        decode(rewritten(encoded(PIXELS, "TIFF"), tags))
    assert refused.value.slug == "unsupported-tiff"


@pytest.mark.parametrize("compression", [5, 8, 32946])
def test_pixels_that_are_not_compressed_as_said_are_damage(compression: int) -> None:
    with pytest.raises(problems.TruncatedImage):
        decode(rewritten(encoded(PIXELS, "TIFF"), {259: compression}))


def rewritten(tiff: bytes, tags: dict[int, int]) -> bytes:
    """The TIFF with SHORT tags set to other values, without touching its pixels."""
    (start,) = struct.unpack("<I", tiff[4:8])
    (count,) = struct.unpack("<H", tiff[start : start + 2])
    entries = {}
    for i in range(count):
        entry = tiff[start + 2 + 12 * i : start + 14 + 12 * i]
        entries[struct.unpack("<H", entry[:2])[0]] = entry
    for tag, value in tags.items():
        entries[tag] = struct.pack("<HHIHH", tag, 3, 1, value, 0)
    directory = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    return tiff[:4] + struct.pack("<I", len(tiff)) + tiff[8:] + directory


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_animations_and_pages_are_refused(file_format: str) -> None:
    frames = [Image.fromarray(noise(seed, 96, 96, 3)) for seed in (1, 2, 3)]
    with pytest.raises(problems.Animation):
        decode(pillow(frames[0], file_format, save_all=True, append_images=frames[1:]))


def test_multi_picture_jpeg_is_refused() -> None:
    frames = [Image.fromarray(noise(seed, 96, 96, 3)) for seed in (1, 2)]
    with pytest.raises(problems.Animation):
        decode(pillow(frames[0], "MPO", save_all=True, append_images=frames[1:]))


@pytest.mark.parametrize("data", [b"", b"hello", b"\0" * 1000, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a"])
def test_what_is_no_image_is_called_so(data: bytes) -> None:
    with pytest.raises(problems.NotAnImage):
        decode(data)


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "WEBP", "PPM", "ICO"])
def test_other_formats_are_not_images_to_us(file_format: str) -> None:
    with pytest.raises(problems.NotAnImage):
        decode(encoded(PIXELS, file_format))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_truncated_files_are_called_so(file_format: str, share: float) -> None:
    data = encoded(PIXELS, file_format)
    with pytest.raises(problems.TruncatedImage):
        decode(data[: max(9, int(len(data) * share))])


def test_damage_is_noticed() -> None:
    data = bytearray(encoded(PIXELS))
    data[len(data) // 2] ^= 255
    with pytest.raises(problems.TruncatedImage):
        decode(bytes(data))


def test_no_change_of_one_byte_escapes_as_anything_but_a_problem(tumour: Patch) -> None:
    rng = np.random.default_rng(5)
    refused = 0
    for file_format in ("PNG", "JPEG", "TIFF"):
        good = encoded(tumour, file_format)
        for _ in range(150):
            data = bytearray(good)
            data[int(rng.integers(min(len(data), 700)))] = int(rng.integers(256))
            try:
                decode(bytes(data))
            except problems.ImageProblem:
                refused += 1
    assert refused > 50


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_compressed_text_bombs_are_refused(kind: bytes) -> None:
    bomb = zlib.compress(bytes(64 * 2**20), 9)
    content = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind] + bomb
    with pytest.raises(problems.ImageTooLarge):
        decode(with_chunk(encoded(PIXELS), kind, content))


def test_many_small_text_bombs_are_refused() -> None:
    png = encoded(PIXELS)
    chunk = b"a\0\0" + zlib.compress(bytes(2**20 - 1), 9)
    for _ in range(8):
        png = with_chunk(png, b"zTXt", chunk)
    with pytest.raises(problems.ImageTooLarge):
        decode(png)


def test_text_within_bounds_is_no_obstacle() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("scanner", "x" * 10_000, zip=True)
    assert np.array_equal(decode(encoded(PIXELS, pnginfo=text)).pixels, PIXELS)


def bombs() -> dict[str, bytes]:
    jpeg = bytearray(encoded(PIXELS, "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 40_000, 40_000)
    tiff = rewritten(encoded(PIXELS, "TIFF"), {256: 40_000, 257: 40_000})
    return {"png": raw_png(40_000, 40_000, 8, 2), "jpeg": bytes(jpeg), "tiff": tiff}


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_a_bomb_is_refused_from_its_header_in_constant_memory(kind: str, tmp_path: Any) -> None:
    """40,000×40,000 pixels would take 4.8 GB; the peak may grow by what Pillow needs to open a file."""
    (tmp_path / "bomb").write_bytes(bombs()[kind])
    (tmp_path / "patch").write_bytes(encoded(PIXELS))
    program = f"""
import resource
from pathlib import Path
from app.diagnosis.decode import decode
from app.problems import ImageTooLarge
decode(Path({str(tmp_path / "patch")!r}).read_bytes())
bomb = Path({str(tmp_path / "bomb")!r}).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(bomb)
except ImageTooLarge:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout) < 4096, f"the peak grew by {done.stdout} KiB"


def test_a_merely_large_image_is_the_wrong_size_or_too_large_not_an_error() -> None:
    with pytest.raises(problems.ImageTooLarge):
        decode(rewritten(encoded(PIXELS, "TIFF"), {256: 10_000, 257: 10_000}))


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


@pytest.mark.parametrize(("spoilt", "few", "many"), [("profiles", 8, 9), ("scans", 90, 95_000), ("exif", 100, 101)])
def test_what_would_take_long_is_refused_by_its_number(spoilt: str, few: int, many: int) -> None:
    """1 MB of each took a core 2 to 8 seconds: every profile is unpacked, every scan goes over all the pixels, …"""
    png, jpeg = encoded(PIXELS), encoded(PIXELS, "JPEG", progressive=True)
    last = jpeg.rfind(b"\xff\xda")
    profile = png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(2**20)))
    before, repeated, after = {
        "profiles": (png[:33], profile, png[33:]),
        "scans": (jpeg[:last], jpeg[last : last + 10], jpeg[last:]),
        "exif": (jpeg[:2], segment(0xE1, b"Exif\0\0x"), jpeg[2:]),
    }[spoilt]
    assert decode(before + repeated * few + after).format in ("PNG", "JPEG")
    with pytest.raises(problems.ImageTooLarge, match="save it again"):
        decode(before + repeated * many + after)
