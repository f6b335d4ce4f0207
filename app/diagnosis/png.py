"""PNG files: judged by their header, and freed of the chunks that nobody reads."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from zlib import crc32

from app.diagnosis.refusals import check_size, damaged_part, several_images, too_many, wrong_mode
from app.diagnosis.scale import Scale, per_unit
from app.diagnosis.tiff import exif_scales

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 1000
MAX_PROFILES = 8  # Pillow unpacks each of them: 1 MB of profiles would take seconds

_COLOURS = {0: "grayscale", 2: "RGB", 3: "palette", 4: "grayscale with alpha", 6: "RGB with alpha"}
_READ_COLOURS = (2, 6)
_ANCILLARY = 0x20
_TEXTS = (b"iCCP", b"zTXt", b"iTXt")  # Pillow bounds what they unpack to
_MEANING = (b"tRNS", b"acTL")  # they change what the image is: if damaged, they cannot be ignored
_SCALE, _EXIF = b"pHYs", b"eXIf"
_SUGGESTED_PALETTE = b"PLTE"  # beside RGB, it is no more than that


def essential(png: bytes) -> tuple[bytes, list[Scale]]:
    """The file without chunks that are damaged or not read, and the scale that it states.

    Raises:
        WrongMode, WrongSize: by the header: Pillow would reduce 16 bits to 8 silently.
        TruncatedImage: if a chunk that changes the image is damaged.
        Animation: if it is an APNG.
        ImageTooLarge: if it has too many pixels, chunks or profiles.
    """
    _check_header(png)
    if png.count(b"iCCP") > MAX_PROFILES:
        raise too_many(MAX_PROFILES, "colour profiles")
    kept, scales, exif, end = [SIGNATURE], list[Scale](), b"", len(SIGNATURE)
    for number, (kind, start, end) in enumerate(_chunks(png)):
        if number == MAX_CHUNKS:
            raise too_many(MAX_CHUNKS, "chunks")
        chunk = png[start:end]
        if not kind[0] & _ANCILLARY and kind != _SUGGESTED_PALETTE:
            kept.append(chunk)
        elif kind in (*_TEXTS, *_MEANING, _SCALE, _EXIF):
            if crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:]):
                if kind == _SCALE:
                    scales += _scales(chunk[8:-4])
                elif kind == _EXIF:
                    exif = exif or chunk[8:-4]
                else:
                    kept.append(chunk)
            elif kind in _MEANING:
                raise damaged_part(f"the checksum of the PNG chunk {kind.decode()} is wrong")
            if kind == b"acTL":
                raise several_images("an animated PNG")
    return b"".join([*kept, png[end:]]), scales + exif_scales(exif)


def without_texts(png: bytes) -> bytes:
    """The file without texts and colour profiles, for decoders that stumble over them."""
    kinds = {start: (kind, end) for kind, start, end in _chunks(png)}
    kept = [png[start:end] for start, (kind, end) in kinds.items() if kind not in _TEXTS]
    return b"".join([SIGNATURE, *kept])


def _check_header(png: bytes) -> None:
    if png[12:16] != b"IHDR" or len(png) < 29:
        return
    width, height, depth, colour = struct.unpack(">IIBB", png[16:26])
    if depth != 8 or colour not in _READ_COLOURS:
        raise wrong_mode(f"{depth}-bit {_COLOURS.get(colour, f'colour type {colour}')}")
    check_size(width, height)


def _chunks(png: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk, as far as they are complete."""
    at = len(SIGNATURE)
    while at + 12 <= len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        end = at + 12 + length
        if end > len(png) or not kind.isalpha():
            return
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end


def _scales(content: bytes) -> list[Scale]:
    if len(content) != 9 or content[8] != 1:  # the unit is not the metre
        return []
    across, down = struct.unpack(">II", content[:8])
    return per_unit(across, down, 1e6, "PNG chunk pHYs")
