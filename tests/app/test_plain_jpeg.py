"""Plain JPEGs have the same pixels and the same verdicts whichever library decodes them."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.diagnosis.decode import decode
from app.diagnosis.jpeg import essential
from app.diagnosis.plain_jpeg import is_plain, plain_pixels
from app.problems import ImageProblem, TruncatedImage, WrongMode
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import encoded
from tests.app.jpegs import FOLDER, HASHES, KINDS
from tests.app.mutations import mutated
from tests.conftest import ROOT
from tests.scale import scaled

TUMOUR = synthetic_patch("tumour", 3)
SPOILT = scaled(1500, 10_000)

VERDICTS = """
import pickle, sys
without_simplejpeg = sys.argv[2:] == ["pillow"]
if without_simplejpeg:
    sys.modules["simplejpeg"] = None
from app.diagnosis.decode import decode
from app.problems import ImageProblem

def verdict(data):
    try:
        return decode(data).sha256
    except ImageProblem as problem:
        return type(problem).__name__, problem.detail

with open(sys.argv[1], "rb") as files:
    verdicts = [verdict(data) for data in pickle.load(files)]
assert without_simplejpeg or "simplejpeg" in sys.modules
sys.stdout.buffer.write(pickle.dumps(verdicts))
"""

PIXELS = """
import sys
from hashlib import sha256
from pathlib import Path
from app.diagnosis.plain_jpeg import plain_pixels
for name in sys.argv[1:]:
    print(sha256(plain_pixels(Path(name).read_bytes())).hexdigest())
"""


def verdicts(tmp_path: Path, files: list[bytes], decoder: str, **environment: str) -> list[Any]:
    """The hash of each file's pixels, or how it is refused, in a process of its own.

    Args:
        decoder: of plain files, ``"simplejpeg"`` or ``"pillow"``.
    """
    (tmp_path / "files").write_bytes(pickle.dumps(files))
    command = [sys.executable, "-c", VERDICTS, str(tmp_path / "files"), decoder]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: list[Any] = pickle.loads(done.stdout)
    return found


def stored() -> dict[str, bytes]:
    return {name: (FOLDER / f"{name}.jpg").read_bytes() for name in KINDS}


def expected() -> list[str]:
    hashes = json.loads(HASHES.read_text(encoding="utf-8"))
    return [hashes[name] for name in KINDS]


@pytest.mark.parametrize("name", KINDS)
def test_each_plain_kind_is_decoded_without_pillow(name: str) -> None:
    kept, _ = essential(stored()[name])
    pixels = plain_pixels(kept)
    assert pixels is not None
    assert np.array_equal(pixels, np.asarray(Image.open(FOLDER / f"{name}.jpg")))


@pytest.mark.parametrize("decoder", ["simplejpeg", "pillow"])
@pytest.mark.parametrize("simd", ["0", "1"])
def test_stored_jpegs_have_the_stored_pixels(tmp_path: Path, decoder: str, simd: str) -> None:
    """With libjpeg-turbo's vector code, and without."""
    environment = {"JSIMD_FORCENONE": "1"} if simd == "0" else {}
    assert verdicts(tmp_path, list(stored().values()), decoder, **environment) == expected()


@pytest.mark.parametrize("cpu", ["Nehalem", "Haswell"])
def test_stored_jpegs_have_the_stored_pixels_on_other_cpus(cpu: str) -> None:
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("no qemu-x86_64: install the package qemu-user")
    names = [str(FOLDER / f"{name}.jpg") for name in KINDS]
    command = [emulator, "-cpu", cpu, sys.executable, "-c", PIXELS, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == expected()


def test_spoilt_jpegs_have_the_verdicts_of_pillow(tmp_path: Path) -> None:
    chance, plain = random.Random(16), list(stored().values())
    files = [mutated(chance, plain) for _ in range(SPOILT)]
    found = verdicts(tmp_path, files, "simplejpeg")
    assert found == verdicts(tmp_path, files, "pillow")
    decoded = sum(isinstance(each, str) for each in found)
    assert decoded > SPOILT / 20
    assert SPOILT - decoded > SPOILT / 20
    assert sum(is_decoded_by_simplejpeg(data) for data in files) > SPOILT / 50


def is_decoded_by_simplejpeg(data: bytes) -> bool:
    try:
        kept, _ = essential(data)
    except ImageProblem:
        return False
    return data.startswith(b"\xff\xd8\xff") and plain_pixels(kept) is not None


def with_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    return jpeg[:2] + bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2) + content + jpeg[2:]


def test_what_is_not_read_makes_no_jpeg_unusual() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    usual = encoded(TUMOUR, "JPEG")
    for options in ({"exif": exif}, {"icc_profile": bytes(3000)}, {"comment": b"slide 7"}, {"dpi": (26_000, 26_000)}):
        data = encoded(TUMOUR, "JPEG", **options)
        assert is_plain(essential(data)[0])
        assert decode(data).sha256 == decode(usual).sha256


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(TUMOUR[:95], "JPEG"), id="size"),
        pytest.param(encoded(TUMOUR[..., 0], "JPEG"), id="grayscale"),
        pytest.param(b"\xff\xd8\xff", id="start"),
        pytest.param(with_segment(encoded(TUMOUR, "JPEG"), 0xDC, b"\0\x60"), id="DNL"),
        pytest.param(with_segment(encoded(TUMOUR, "JPEG"), 0xDB, bytes(2**16 - 3)), id="long"),
        pytest.param(encoded(TUMOUR, "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), id="12 bits"),
    ],
)
def test_what_is_unusual_is_left_to_pillow(data: bytes) -> None:
    assert not is_plain(data)
    assert plain_pixels(data) is None


def test_a_jpeg_that_ends_early_is_left_to_pillow() -> None:
    data = encoded(TUMOUR, "JPEG")
    for cut in (data[:-2], data[:-200], data[: len(data) // 2]):
        assert is_plain(cut)
        assert plain_pixels(cut) is None
        with pytest.raises(TruncatedImage):
            decode(cut)


def test_cmyk_is_refused_as_before() -> None:
    stream = BytesIO()
    Image.fromarray(TUMOUR).convert("CMYK").save(stream, "JPEG")
    assert not is_plain(essential(stream.getvalue())[0])
    with pytest.raises(WrongMode, match="is CMYK"):
        decode(stream.getvalue())


def test_gray_in_colour_is_refused_as_before() -> None:
    gray = np.repeat(TUMOUR[..., :1], 3, axis=2)
    data = encoded(gray, "JPEG", quality=95)
    assert plain_pixels(data) is not None
    with pytest.raises(WrongMode, match="gray, stored as RGB"):
        decode(data)
    red_from_the_second_row = gray.copy()
    red_from_the_second_row[1:, :, 0] = 200
    assert decode(encoded(red_from_the_second_row)).format == "PNG"
