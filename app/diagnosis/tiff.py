"""TIFF files: judged by their tags, and written anew with nothing but what decodes the pixels."""

from __future__ import annotations

import re
import struct
from itertools import accumulate

from app.diagnosis.directory import MAX_DIRECTORIES, SIGNATURES, Directory, read
from app.diagnosis.refusals import check_size, damaged, several_images, too_many, unsupported_tiff, wrong_mode
from app.diagnosis.scale import Scale, described, per_unit
from app.problems import ImageProblem
from model_zoo.turns import SIDE

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_DESCRIPTION, _STRIPS, _SAMPLES, _ROWS, _LENGTHS, _PLANES = 270, 273, 277, 278, 279, 284
_ACROSS, _DOWN, _UNIT, _PREDICTOR, _TILE_WIDTH, _TILES = 282, 283, 296, 317, 322, 324
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _NDPI = 338, 339, 65420

_UNCOMPRESSED, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS = 1, 5, 8, 32946, 32773
_READ = (_UNCOMPRESSED, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS)
_COMPRESSIONS = {
    **dict.fromkeys((2, 3, 4), "fax compression"),
    **dict.fromkeys((6, 7), "JPEG compression"),
    **dict.fromkeys((33003, 33004, 33005), "JPEG 2000 compression of Aperio"),
    **dict.fromkeys((34712, 34713), "JPEG 2000 compression"),
    22610: "JPEG XR compression",
    34887: "LERC compression",
    34925: "LZMA compression",
    **dict.fromkeys((34934, 33007, 22608), "JPEG XR compression"),
    **dict.fromkeys((34926, 50000), "Zstandard compression"),
    **dict.fromkeys((34927, 50001), "WebP compression"),
    **dict.fromkeys((34933,), "PNG compression"),
    **dict.fromkeys((50002, 52546), "JPEG XL compression"),
}
_COLOURS = {0: "grayscale", 1: "grayscale", 2: "RGB", 3: "palette", 4: "a mask", 5: "CMYK", 6: "YCbCr"}
_COLOURS |= {8: "CIELAB", 9: "CIELAB", 10: "CIELAB", 32803: "a raw colour filter array"}
_FORMATS = {1: "", 2: "signed ", 3: "float ", 5: "complex ", 6: "complex "}
# In microns; 4 and 5 are not of the standard, but tifffile writes them.
_UNITS = {2: (25_400.0, "inch"), 3: (10_000.0, "centimetre"), 4: (1000.0, "millimetre"), 5: (1.0, "micrometre")}
_IMAGES = re.compile(r"^images=([0-9]{1,9})$", re.MULTILINE)
_ALPHA = (1, 2)


def essential(tiff: bytes) -> tuple[bytes, list[Scale]]:
    """The file with nothing but what decodes its pixels, 8-bit RGB or RGBA as stored, and the scale that it states.

    Raises:
        Animation: if it holds several images.
        WrongSize, WrongMode: as their names say.
        UnsupportedTiff: if it has another compression, tiles or separate planes.
        TruncatedImage: if the directory or the pixels do not lie in the file.
        ImageTooLarge: if the directory or the image is far too large.
    """
    found = read(tiff)
    description = found.text(_DESCRIPTION)
    _check_pages(found, description)
    check_size(found.number(_WIDTH), found.number(_HEIGHT))
    _check_samples(found)
    _check_layout(found)
    return _written(found), _scales(found, description)


def exif_scales(exif: bytes) -> list[Scale]:
    """The scale that EXIF states, which is a directory of the same form; none if it is damaged."""
    if not exif.startswith(SIGNATURES):
        return []
    try:
        found = read(exif)
        return _resolution(found, "EXIF resolution")
    except ImageProblem:
        return []


def _check_pages(found: Directory, description: str) -> None:
    pages = found.directories
    count = f"at least {pages}" if pages == MAX_DIRECTORIES else str(pages)
    slide = _slide(found, description)
    if slide and pages > 1:
        raise several_images(f"{slide} slide of {count} images", "cut patches from it at the model's scale")
    images = int(match[1]) if description.startswith("ImageJ=") and (match := _IMAGES.search(description)) else 1
    if pages == 1 and images == 1:
        return
    if description.startswith("ImageJ="):
        kind = "an ImageJ composite" if "mode=composite" in description else "an ImageJ stack"
        remedy = "convert it to RGB Color in ImageJ" if "mode=composite" in description else "save one slice"
        raise several_images(f"{kind} of {max(images, pages)} images", remedy)
    raise several_images(f"{'an OME-TIFF' if '<OME' in description else 'a TIFF'} of {count} pages")


def _slide(found: Directory, description: str) -> str | None:
    """The slide format that wrote the file, if one did."""
    if description.startswith("Aperio"):
        return "an Aperio SVS"
    if _NDPI in found:
        return "a Hamamatsu NDPI"
    return "a Leica SCN" if "leica-microsystems.com/scn" in description else None


def _check_samples(found: Directory) -> None:
    samples = found.number(_SAMPLES, 1)
    bits = found.numbers(_BITS) or (1,)
    formats = found.numbers(_SAMPLE_FORMAT) or (1,)
    colour = _COLOURS.get(found.number(_PHOTOMETRIC, -1), "of an unknown colour space")
    if samples > 2 and colour == "grayscale":
        raise wrong_mode(f"a composite of {samples} grayscale channels", "send the RGB image of the H&E stain")
    if set(bits) != {8} or set(formats) != {1}:
        kind = _FORMATS.get(formats[0], "undefined ")
        rescale = "scale it to 0 to 255 and convert it to 8-bit RGB" if max(bits) > 8 else "convert it first"
        raise wrong_mode(f"{'/'.join(map(str, sorted(set(bits))))}-bit {kind}{colour}", rescale)
    compression = found.number(_COMPRESSION, 1)
    if compression not in _READ:
        name = _COMPRESSIONS.get(compression, "an unknown compression")
        raise unsupported_tiff(f"{name} (tag {_COMPRESSION} is {compression})")
    if colour != "RGB":
        raise wrong_mode(colour)
    if samples == 4 and found.number(_EXTRA_SAMPLES) not in _ALPHA:
        raise wrong_mode("RGB with a fourth channel that is not alpha")
    if samples not in (3, 4):
        raise wrong_mode(f"RGB with {samples} channels")


def _check_layout(found: Directory) -> None:
    if _TILE_WIDTH in found or _TILES in found:
        raise unsupported_tiff(f"tiles (tag {_TILE_WIDTH})")
    if found.number(_PLANES, 1) != 1:
        raise unsupported_tiff(f"separate planes (tag {_PLANES})")
    if found.number(_FILL_ORDER, 1) != 1:
        raise unsupported_tiff(f"reversed bits (tag {_FILL_ORDER})")
    if found.number(_PREDICTOR, 1) not in (1, 2):
        raise unsupported_tiff(f"an unknown predictor (tag {_PREDICTOR} is {found.number(_PREDICTOR)})")


def _written(found: Directory) -> bytes:
    """A TIFF of the same strips without any other tag: an orientation would turn the pixels."""
    samples = found.number(_SAMPLES, 1)
    strips = _strips(found, samples)
    tags = {
        _WIDTH: [SIDE],
        _HEIGHT: [SIDE],
        _BITS: [8] * samples,
        _COMPRESSION: [found.number(_COMPRESSION, 1)],
        _PHOTOMETRIC: [2],
        _STRIPS: [0] * len(strips),
        _SAMPLES: [samples],
        _ROWS: [_rows(found)],
        _LENGTHS: [len(strip) for strip in strips],
        _PLANES: [1],
        _PREDICTOR: [found.number(_PREDICTOR, 1)],
    }
    if samples == 4:
        tags[_EXTRA_SAMPLES] = [2]
    values_at = 8 + 2 + 12 * len(tags) + 4
    pixels_at = values_at + sum(4 * len(values) for values in tags.values())
    tags[_STRIPS] = list(accumulate(tags[_LENGTHS][:-1], initial=pixels_at))
    entries, values = b"", b""
    for tag, numbers in tags.items():
        at = numbers[0] if len(numbers) == 1 else values_at + len(values)
        entries += struct.pack("<HHII", tag, 4, len(numbers), at)
        values += struct.pack(f"<{len(numbers)}I", *numbers)
    return b"".join((b"II*\0", struct.pack("<IH", 8, len(tags)), entries, bytes(4), values, *strips))


def _rows(found: Directory) -> int:
    """Rows of a strip."""
    return min(found.number(_ROWS, SIDE), SIDE) or SIDE


def _strips(found: Directory, samples: int) -> list[bytes]:
    rows, data = _rows(found), found.data
    heights = [min(rows, SIDE - top) for top in range(0, SIDE, rows)]
    offsets, lengths = found.numbers(_STRIPS, SIDE), found.numbers(_LENGTHS, SIDE)
    if found.number(_COMPRESSION, 1) == _UNCOMPRESSED:
        lengths = tuple(height * SIDE * samples for height in heights)
    parts = list(zip(offsets, lengths, heights, strict=False))
    if len(parts) < len(heights) or any(at + length > len(data) for at, length, _ in parts):
        raise damaged()
    if sum(length for _, length, _ in parts) > len(data):
        raise too_many(len(data), "bytes of overlapping strips")
    return [data[at : at + length] for at, length, _ in parts]


def _scales(found: Directory, description: str) -> list[Scale]:
    across, down = found.ratio(_ACROSS), found.ratio(_DOWN)
    scales = described(description, across, down)
    if not (description.startswith("ImageJ=") and "\nunit=" in description):
        scales += _resolution(found, "TIFF resolution")
    return scales


def _resolution(found: Directory, where: str) -> list[Scale]:
    unit = found.number(_UNIT, 2)
    if unit not in _UNITS:
        return []
    microns, name = _UNITS[unit]
    return per_unit(found.ratio(_ACROSS), found.ratio(_DOWN), microns, f"{where} in pixels per {name}")
