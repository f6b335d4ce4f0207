"""Damaged image files and multipart bodies from a seeded generator."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

import numpy as np

from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import encoded

EXTREMES = (0, 1, 2, 95, 97, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
PNG = b"\x89PNG\r\n\x1a\n"
MOST = 2**16  # so that 256 of them fit into a batch

Chance = random.Random
Mutation = Callable[[Chance, bytes], bytes]


def seeds() -> list[bytes]:
    """Valid images: PNG (also with alpha), JPEG (baseline and progressive), TIFF (raw, PackBits, LZW and deflate)."""
    tumour, blank = synthetic_patch("tumour", 3), synthetic_patch("blank", 3)
    opaque = np.dstack([tumour, np.full(tumour.shape[:2], 255, np.uint8)])
    return [
        encoded(tumour),
        encoded(blank, dpi=(300, 300), icc_profile=bytes(300)),
        encoded(tumour, "JPEG", quality=90),
        encoded(tumour, "JPEG", quality=60, progressive=True),
        encoded(tumour, "TIFF"),
        encoded(blank, "TIFF", compression="packbits"),
        encoded(opaque),
        encoded(opaque, "TIFF", compression="tiff_lzw"),
        encoded(tumour, "TIFF", compression="tiff_adobe_deflate", description="ImageJ=1.54f\nunit=um\n"),
    ]


def mutated(chance: Chance, images: list[bytes]) -> bytes:
    """One of the images, changed in one to three ways."""
    data = chance.choice(images)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        kinds: tuple[Mutation, ...] = ANY
        if data.startswith(PNG):
            kinds += OF_PNG
        elif data.startswith(b"\xff\xd8"):
            kinds += OF_JPEG
        elif data.startswith(b"II*\0"):
            kinds += OF_TIFF
        if chance.random() < 0.1:
            data = splice(chance, data, chance.choice(images))
        else:
            data = chance.choice(kinds)(chance, data)[:MOST]
    return data


def place(chance: Chance, data: bytes | bytearray) -> int:
    """Anywhere in the file, and often near its start, where the structure is."""
    return chance.randrange(min(len(data), chance.choice((64, 700, len(data)))) or 1)


def flip_bits(chance: Chance, data: bytes) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        changed[place(chance, changed)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def overwrite(chance: Chance, data: bytes) -> bytes:
    at = place(chance, data)
    new = chance.choice((chance.randbytes(chance.choice((1, 2, 4, 16))), bytes(8), b"\xff" * 8))
    return data[:at] + new + data[at + len(new) :]


def extreme(chance: Chance, data: bytes) -> bytes:
    at, form = place(chance, data), chance.choice(("<H", ">H", "<I", ">I"))
    new = struct.pack(form, chance.choice(EXTREMES) & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))
    return data[:at] + new + data[at + len(new) :]


def cut_off(chance: Chance, data: bytes) -> bytes:
    return data[: place(chance, data)]


def cut_out(chance: Chance, data: bytes) -> bytes:
    at = place(chance, data)
    return data[:at] + data[at + chance.choice((1, 2, 4, 100, 1000)) :]


def insert(chance: Chance, data: bytes) -> bytes:
    at = place(chance, data)
    return data[:at] + chance.randbytes(chance.choice((1, 2, 4, 100, 1000))) + data[at:]


def repeat(chance: Chance, data: bytes) -> bytes:
    at = place(chance, data)
    return data[:at] + data[at : at + chance.choice((4, 12, 100))] * chance.choice((2, 3, 50)) + data[at:]


def append(chance: Chance, data: bytes) -> bytes:
    return data + chance.choice((data, chance.randbytes(100), b"\xff\xd8\xff", PNG))


def splice(chance: Chance, data: bytes, other: bytes) -> bytes:
    return data[: place(chance, data)] + other[place(chance, other) :]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def chunks_of(png: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], len(PNG)
    while at + 12 <= len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return PNG + b"".join(chunk(kind, content) for kind, content in chunks)


def shuffle_chunks(chance: Chance, png: bytes) -> bytes:
    chunks = chunks_of(png)
    if chance.random() < 0.5:
        chance.shuffle(chunks)
    elif chunks:
        chunks.insert(chance.randrange(len(chunks)), chance.choice(chunks))
    return png_of(chunks)


def change_chunk(chance: Chance, png: bytes) -> bytes:
    """Spoil a chunk's content and keep its checksum right, so that more than the checksum has to see it."""
    chunks = chunks_of(png) or [(b"IHDR", bytes(13))]
    at = chance.randrange(len(chunks))
    kind, content = chunks[at]
    chunks[at] = (kind, chance.choice(ANY)(chance, content))
    return png_of(chunks)


def change_rows(chance: Chance, png: bytes) -> bytes:
    """Spoil the rows within the compressed stream: filters, missing and superfluous ones."""
    chunks = chunks_of(png)
    try:
        rows = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    except zlib.error:
        rows = b""
    rows = chance.choice((flip_bits, overwrite, cut_off, append))(chance, rows or b"\0")
    kept = [(kind, content) for kind, content in chunks if kind not in (b"IDAT", b"IEND")]
    return png_of([*kept, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def change_header(chance: Chance, png: bytes) -> bytes:
    width, height = chance.choice((96, *EXTREMES)), chance.choice((96, *EXTREMES))
    small = [chance.choice(values) for values in ((8, 16, 1, 255), (2, 6, 3, 7), (0, 1), (0, 1), (0, 1, 2))]
    return png_of([(b"IHDR", struct.pack(">IIBBBBB", width, height, *small)), *chunks_of(png)[1:]])


def bomb(chance: Chance, png: bytes) -> bytes:
    """A profile or text that unpacks to 16 MB, or many that do together."""
    packed = zlib.compress(bytes(2**24 // (times := chance.choice((1, 1, 20)))), 9)
    kind, content = chance.choice(
        (
            (b"iCCP", b"profile\0\0" + packed),
            (b"zTXt", b"text\0\0" + packed),
            (b"iTXt", b"text\0\1\0\0\0" + packed),
            (b"IDAT", packed),
        )
    )
    return png[:33] + chunk(kind, content) * times + png[33:]


def odd_chunk(chance: Chance, png: bytes) -> bytes:
    kind = chance.choice((b"tRNS", b"acTL", b"fcTL", b"fdAT", b"PLTE", b"cHRM", b"pHYs", b"eXIf", b"sRGB", b"IEND"))
    new = chunk(kind, chance.randbytes(chance.choice((0, 1, 4, 6, 8, 26, 32, 768))))
    return png[:33] + new * chance.choice((1, 2, 100)) + png[33:]


def segments_of(jpeg: bytes) -> list[bytes]:
    """A JPEG's marker segments; the last is the whole rest from the first scan on."""
    found, at = [], 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        found.append(jpeg[at:end])
        at = end
    return [*found, jpeg[at:]]


def shuffle_segments(chance: Chance, jpeg: bytes) -> bytes:
    segments = segments_of(jpeg)
    if chance.random() < 0.5:
        chance.shuffle(segments)
    else:
        segments.insert(chance.randrange(len(segments)), chance.choice(segments))
    return b"\xff\xd8" + b"".join(segments)


def change_segment(chance: Chance, jpeg: bytes) -> bytes:
    segments = segments_of(jpeg)
    at = chance.randrange(len(segments))
    segments[at] = chance.choice((flip_bits, overwrite, extreme))(chance, segments[at])
    return b"\xff\xd8" + b"".join(segments)


def odd_segment(chance: Chance, jpeg: bytes) -> bytes:
    """Application segments that Pillow looks into: EXIF, ICC in parts, MPF, Photoshop, Adobe."""
    start = chance.choice(
        (b"Exif\0\0II*\0\x08\0\0\0", b"ICC_PROFILE\0\1\1", b"MPF\0II*\0", b"Photoshop 3.0\0", b"Adobe")
    )
    content = start + chance.randbytes(chance.choice((0, 2, 12, 40)))
    marker = chance.choice((0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE))
    new = bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content
    return jpeg[:2] + new * chance.choice((1, 2, 100)) + jpeg[2:]


def many_scans(chance: Chance, jpeg: bytes) -> bytes:
    """The last scan, again and again."""
    at = jpeg.rfind(b"\xff\xda")
    return jpeg if at < 0 else jpeg[:-2] + jpeg[at:-2][:2000] * chance.choice((2, 30)) + jpeg[-2:]


def entries_of(tiff: bytes) -> tuple[int, list[bytes]]:
    """Where a little-endian TIFF's first directory lies, and its entries of 12 bytes."""
    start = int.from_bytes(tiff[4:8], "little")
    count = min(int.from_bytes(tiff[start : start + 2], "little"), 100)
    return start, [tiff[start + 2 + 12 * i : start + 14 + 12 * i].ljust(12, b"\0") for i in range(count)]


def with_entries(tiff: bytes, entries: list[bytes], following: int = 0) -> bytes:
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", following)
    return tiff[:4] + struct.pack("<I", len(tiff)) + tiff[8:] + directory


def shuffle_tags(chance: Chance, tiff: bytes) -> bytes:
    entries = entries_of(tiff)[1] or [bytes(12)]
    if chance.random() < 0.5:
        chance.shuffle(entries)
    else:
        entries.insert(chance.randrange(len(entries)), chance.choice(entries))
    return with_entries(tiff, entries)


def change_tag(chance: Chance, tiff: bytes) -> bytes:
    """Another type, number or value of a tag."""
    entries = entries_of(tiff)[1] or [bytes(12)]
    at = chance.randrange(len(entries))
    tag, kind, count, value = struct.unpack("<HHII", entries[at])
    match chance.randrange(4):
        case 0:
            kind = chance.choice((*range(19), 0xFFFF))
        case 1:
            count = chance.choice((3, 10, 1000, *EXTREMES))
        case 2:
            value = chance.choice((4, 8, len(tiff), *EXTREMES))
        case _:
            tag = chance.choice((256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 284, 317, 322, 330, 339, 34665, 700))
    entries[at] = struct.pack("<HHII", tag, kind, count, value)
    return with_entries(tiff, entries)


def loop_directories(chance: Chance, tiff: bytes) -> bytes:
    """Directories that lead to themselves, as the next one, as EXIF's or as sub-directories."""
    start, entries = entries_of(tiff)
    where = chance.choice((start, len(tiff)))
    if chance.random() < 0.5:
        return with_entries(tiff, entries, following=where)
    tags = chance.choices((330, 34665, 34853, 40965), k=chance.choice((1, 3)))
    return with_entries(tiff, entries + [struct.pack("<HHII", tag, 4, 1, where) for tag in tags])


ANY: tuple[Mutation, ...] = (flip_bits, overwrite, extreme, cut_off, cut_out, insert, repeat, append)
OF_PNG: tuple[Mutation, ...] = (
    *(shuffle_chunks, change_chunk, change_chunk, change_rows, change_rows),
    *(change_header, bomb, odd_chunk),
)
OF_JPEG: tuple[Mutation, ...] = (shuffle_segments, change_segment, change_segment, odd_segment, many_scans)
OF_TIFF: tuple[Mutation, ...] = (shuffle_tags, change_tag, change_tag, change_tag, loop_directories)
