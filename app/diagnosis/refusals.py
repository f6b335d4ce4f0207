"""How files that are no patch are refused: what was found, what was expected, what to do."""

from __future__ import annotations

from app.problems import (
    Animation,
    ImageTooLarge,
    NotAnImage,
    TruncatedImage,
    UnsupportedJpeg,
    UnsupportedTiff,
    WrongMode,
    WrongSize,
)
from model_zoo.turns import SIDE

LARGE_PIXELS = 2**24

_OTHER_FORMATS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (8, b"WEBP", "a WebP"),
    (4, b"jP  \r\n\x87\n", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (4, b"JXL \r\n\x87\n", "a JPEG XL"),
    (0, b"II\xbc", "a JPEG XR"),
    (4, b"ftypavi", "an AVIF"),
    (4, b"ftyp", "a HEIF or video"),
    (128, b"DICM", "a DICOM"),
    (0, b"\x89HDF", "an HDF5"),
    (0, b"\x93NUMPY", "a NumPy"),
    (0, b"ZISRAWFILE", "a Zeiss CZI"),
    (0, b"%PDF", "a PDF"),
    (0, b"PK\x03\x04", "a ZIP"),
    (0, b"\x1f\x8b", "a gzip"),
    (0, b"version https://git-lfs", "a Git LFS pointer"),
    (0, b"data:image/", "a data URL"),
    (0, b"iVBORw0KGgo", "a base64 text"),
    (0, b"/9j/", "a base64 text"),
    (0, b"<", "an HTML, SVG or XML"),
    (0, b"{", "a JSON"),
)
_COLOUR = "send the colour image of the H&E stain"


def not_an_image(data: bytes) -> NotAnImage:
    """For a file that is no PNG, JPEG or TIFF; well-known formats are named."""
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n") if data[:1] in b"\xef \t\r\n" else data[:256]
    for offset, magic, name in _OTHER_FORMATS:
        if start[offset : offset + len(magic)] == magic:
            found = name.partition(" ")[2]
            return NotAnImage(f"The body is {name} file, expected PNG, JPEG or TIFF: convert it first.", found=found)
    return NotAnImage(f"The {len(data)} bytes do not begin like a PNG, JPEG or TIFF file: send one of these.")


def damaged() -> TruncatedImage:
    return TruncatedImage("The file begins like an image but cannot be decoded to its end: send the whole file.")


def damaged_part(part: str) -> TruncatedImage:
    """For damage whose place is known."""
    return TruncatedImage(f"The file is damaged: {part}. Send the original file, or save it again.")


def wrong_mode(found: str, remedy: str | None = None) -> WrongMode:
    if remedy is None:
        remedy = _COLOUR if "gray" in found else "convert it first"
    return WrongMode(f"The image is {found}, expected 8-bit RGB: {remedy}.", found=found)


def transparent(found: str) -> WrongMode:
    """For an image of which not every pixel is opaque."""
    return wrong_mode(found, "composite it onto white, and save it without alpha")


def gray() -> WrongMode:
    found = "gray, stored as RGB (red, green and blue are equal in every pixel)"
    return wrong_mode(found, _COLOUR)


def unsupported_tiff(found: str) -> UnsupportedTiff:
    return UnsupportedTiff(
        f"The TIFF has {found}, which Rosette does not read: save it uncompressed or with LZW, deflate or PackBits, "
        "in strips, or as PNG.",
        found=found,
    )


def unsupported_jpeg(found: str) -> UnsupportedJpeg:
    return UnsupportedJpeg(
        f"The file is a {found} file, which Rosette does not read: save it as baseline JPEG or PNG.", found=found
    )


def several_images(found: str, remedy: str = "save each as its own file") -> Animation:
    return Animation(f"The file is {found}, expected one image: {remedy}.", found=found)


def too_many(count: int, name: str) -> ImageTooLarge:
    """For files of which 1 MB would take seconds to decode."""
    return ImageTooLarge(f"The file holds over {count} {name}: save it again without them.")


def check_size(width: int, height: int) -> None:
    """Raise WrongSize, or ImageTooLarge, unless the size is a patch's."""
    if (width, height) == (SIDE, SIDE):
        return
    if width * height > LARGE_PIXELS:
        raise ImageTooLarge(f"The image is {width}×{height} pixels, expected {SIDE}×{SIDE}: cut it into patches.")
    raise WrongSize(
        f"The image is {width}×{height} pixels, expected exactly {SIDE}×{SIDE}: cut a patch of this size "
        "from the slide at the model's microns per pixel; do not rescale the image to this size."
    )
