"""TIFF slides as scanners other than Aperio's describe them, of synthetic tissue."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import tifffile
from PIL import Image

from slides.reader import Pixels

SIDE = 512  # of the image
TILE = 256
MPP = 0.485
JPEG: dict[str, Any] = {
    "tile": (TILE, TILE),
    "photometric": "rgb",
    "metadata": None,
    "compression": "jpeg",
    "compressionargs": {"level": 95},
}
PER_CENTIMETRE = (round(10_000 / MPP), 1)

_PHILIPS = (
    '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
    '<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array><DataObject ObjectType="DPScannedImage">'
    '<Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>'
    '<Attribute Name="DICOM_PIXEL_SPACING">&quot;0.000485&quot; &quot;0.000485&quot;</Attribute>'
    '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>'
    '<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING">'
    "&quot;0.000485&quot; &quot;0.000485&quot;</Attribute></DataObject></Array></Attribute>"
    "</DataObject></Array></Attribute></DataObject>"
)
_LEICA = (
    '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
    '<collection sizeX="496640" sizeY="496640"><image><device model="Leica SCN400" version="1"/>'
    '<pixels sizeX="512" sizeY="512"><dimension sizeX="512" sizeY="512" r="0" ifd="0"/></pixels>'
    '<view sizeX="248320" sizeY="248320" offsetX="0" offsetY="0"/>'
    "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>"
    "<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings>"
    "</image></collection></scn>"
)
_ISCAN = '<iScan Magnification="20" ScanRes="0.485" ScannerModel="VENTANA iScan HT" Z-layers="1"></iScan>'
_JOINTS = "".join(
    f'<TileJointInfo FlagJoined="1" Confidence="100" Direction="{way}" Tile1="{one}" Tile2="{two}" '
    'OverlapX="0" OverlapY="0"/>'
    for way, one, two in (("RIGHT", 1, 2), ("UP", 2, 3), ("RIGHT", 4, 3), ("UP", 1, 4))
)
_ENCODE_INFO = (
    '<?xml version="1.0"?><EncodeInfo Ver="2"><SlideInfo/><SlideStitchInfo>'
    '<ImageInfo AOIScanned="1" AOIIndex="0" NumCols="2" NumRows="2" Width="256" Height="256" Pos-X="0" Pos-Y="0">'
    f'{_JOINTS}</ImageInfo></SlideStitchInfo><AoiOrigin><AOI0 OriginX="0" OriginY="0"/></AoiOrigin></EncodeInfo>'
)


def write_philips(path: Path, pixels: Pixels) -> None:
    tifffile.imwrite(path, pixels, description=_PHILIPS, software="Philips DP v1.0", **JPEG)


def write_trestle(path: Path, pixels: Pixels) -> None:
    """Its tiles overlap by 16 px, and its resolution is stated in microns per pixel."""
    facts = "Background Color=FFFFFF;White Balance=FFFFFF;Objective Power=20;JPEG Quality=90;OverlapsXY= 16 16;"
    scale = ((485, 1000), (485, 1000))
    tifffile.imwrite(
        path, pixels, description=facts, software="MedScan", resolution=scale, resolutionunit="CENTIMETER", **JPEG
    )


def write_leica(path: Path, pixels: Pixels) -> None:
    """A quarter of what the scanner looked at was scanned."""
    scale = (PER_CENTIMETRE, PER_CENTIMETRE)
    tifffile.imwrite(path, pixels, description=_LEICA, resolution=scale, resolutionunit="CENTIMETER", **JPEG)


def write_ventana(path: Path, pixels: Pixels) -> None:
    xml = [(700, 1, len(text), text.encode(), True) for text in (_ISCAN, _ENCODE_INFO)]
    with tifffile.TiffWriter(path) as file:
        file.write(pixels[:128, :128], photometric="rgb", metadata=None, description="Label Image", extratags=xml[:1])
        file.write(pixels, description="level=0 mag=20 quality=95", extratags=xml[1:], **JPEG)


def write_hamamatsu(path: Path, pixels: Pixels) -> None:
    """One JPEG stream with restart markers, and offsets of 64 bits in a classic TIFF."""
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0, restart_marker_blocks=64)
    jpeg = stream.getvalue()
    data = bytearray(b"II*\0" + bytes(8))

    def put(content: bytes) -> int:
        data.extend(content)
        return len(data) - len(content)

    image, bits = put(jpeg), put(struct.pack("<3H", 8, 8, 8))
    maker, scale = put(b"Hamamatsu\0"), put(struct.pack("<2I", *PER_CENTIMETRE))
    short, long, ratio, signed = 3, 4, 5, 9
    lens = int.from_bytes(struct.pack("<f", 20.0), "little")
    tags = [
        *((256, long, 1, SIDE), (257, long, 1, SIDE), (258, short, 3, bits), (259, short, 1, 7), (262, short, 1, 6)),
        *((271, 2, 10, maker), (273, long, 1, image), (277, short, 1, 3), (278, long, 1, SIDE)),
        *((279, long, 1, len(jpeg)), (282, ratio, 1, scale), (283, ratio, 1, scale), (284, short, 1, 1)),
        *((296, short, 1, 3), (65420, long, 1, 1), (65421, 11, 1, lens)),
        *((tag, signed, 1, 0) for tag in (65422, 65423, 65424)),
    ]
    directory = put(struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags))
    put(bytes(8 + 4 * len(tags)))  # no further directory; the values' upper halves
    data[4:12] = struct.pack("<Q", directory)
    path.write_bytes(data)


WRITERS: dict[str, tuple[str, Callable[[Path, Pixels], None]]] = {
    "hamamatsu": ("slide.ndpi", write_hamamatsu),
    "leica": ("slide.scn", write_leica),
    "philips": ("slide.tiff", write_philips),
    "trestle": ("slide.tif", write_trestle),
    "ventana": ("slide.bif", write_ventana),
}
