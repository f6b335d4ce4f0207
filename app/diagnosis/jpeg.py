"""JPEG files: judged by their frame header, and freed of the segments that nobody reads."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from app.diagnosis import directory
from app.diagnosis.refusals import several_images, too_many, unsupported_jpeg, wrong_mode
from app.diagnosis.scale import Scale, per_unit
from app.diagnosis.tiff import exif_scales
from app.problems import ImageProblem

SIGNATURE = b"\xff\xd8\xff"
MAX_SEGMENTS = 1000
# libjpeg goes over all pixels in each scan, and Pillow parsed each EXIF: 1 MB of them would take seconds.
COSTLY = ((b"\xff\xda", 100, "scans"), (b"Exif\0", 100, "EXIF segments"))

_EXIF = b"Exif\0\0"
_APP0, _APP1, _APP2, _ADOBE, _APP15, _COMMENT, _SCAN, _END = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE, 0xDA, 0xD9
_ALONE = {0x01, *range(0xD0, 0xD8)}
_FRAMES = {
    **dict.fromkeys((0xC0, 0xC1, 0xC2), ""),
    0xC3: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "arithmetic-coded JPEG"),
    0xCB: "lossless arithmetic-coded JPEG",
    **dict.fromkeys((0xCD, 0xCE, 0xCF), "hierarchical arithmetic-coded JPEG"),
    0xF7: "JPEG-LS",
}
_OFTEN_READ = {0xC3, 0xC9, 0xCA}
_COMPONENTS = {1: "grayscale", 3: "RGB", 4: "CMYK"}
_MPF_IMAGES = 0xB001
_JFIF_UNITS = {1: 25_400.0, 2: 10_000.0}  # microns


def essential(jpeg: bytes) -> tuple[bytes, list[Scale]]:
    """The file without comments, EXIF and other segments that are not read, and the scale that it states.

    Raises:
        WrongMode: if a sample has other than 8 bits.
        UnsupportedJpeg: if no decoder here reads this kind.
        Animation: if it holds several pictures.
        ImageTooLarge: if it has too many segments or scans.
    """
    for mark, most, name in COSTLY:
        if jpeg.count(mark) > most:
            raise too_many(most, name)
    kept, scales, exif, end = [jpeg[:2]], list[Scale](), b"", 2
    for number, (marker, start, end) in enumerate(_segments(jpeg)):
        if number == MAX_SEGMENTS:
            raise too_many(MAX_SEGMENTS, "segments")
        content = jpeg[start + 4 : end]
        if marker in _FRAMES:
            _check_frame(marker, content)
        elif marker == _APP2 and content.startswith(b"MPF\0"):
            _check_pictures(content[4:])
        elif marker == _APP0 and content.startswith(b"JFIF\0"):
            scales += _scales(content)
        elif marker == _APP1 and content.startswith(_EXIF):
            exif = exif or content[len(_EXIF) :]
        if _is_read(marker, content):
            kept.append(jpeg[start:end])
    return b"".join([*kept, jpeg[end:]]), scales + exif_scales(exif)


def rare_kind(jpeg: bytes) -> str | None:
    """The name of the file's kind if it is one that a decoder may lack."""
    kinds = (_FRAMES[marker] for marker, _, _ in _segments(jpeg) if marker in _OFTEN_READ)
    return next(kinds, None)


def _segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each complete segment before the first scan."""
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker in (_SCAN, _END):
            return
        if marker == 0xFF or marker in _ALONE:  # fill bytes, and markers without content
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        if end > len(jpeg) or end < at + 4:
            return
        yield marker, at, end
        at = end


def _is_read(marker: int, content: bytes) -> bool:
    """Whether a decoder needs the segment; libjpeg ignores JFIF and Adobe segments that are too short."""
    if marker == _APP0:
        return content.startswith(b"JFIF\0") and len(content) >= 14
    if marker == _ADOBE:
        return content.startswith(b"Adobe") and len(content) >= 12
    return not (_APP0 < marker <= _APP15 or marker == _COMMENT)


def _check_frame(marker: int, content: bytes) -> None:
    if len(content) < 6:
        return
    bits, components = content[0], content[5]
    kind = _FRAMES[marker]
    if kind and marker not in _OFTEN_READ:
        raise unsupported_jpeg(kind)
    if bits != 8:
        raise wrong_mode(f"{bits}-bit {_COMPONENTS.get(components, f'{components}-component')}")


def _check_pictures(content: bytes) -> None:
    """Refuse a Multi-Picture Format that lists several pictures; a damaged one is ignored."""
    try:
        pictures = directory.read(content).number(_MPF_IMAGES)
    except ImageProblem:
        return
    if pictures > 1:
        raise several_images(f"a JPEG of {pictures} pictures (MPO)")


def _scales(content: bytes) -> list[Scale]:
    if len(content) < 12:
        return []
    unit, across, down = struct.unpack(">BHH", content[7:12])
    return per_unit(across, down, _JFIF_UNITS[unit], "JFIF density") if unit in _JFIF_UNITS else []
