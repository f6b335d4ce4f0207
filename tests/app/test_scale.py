"""A file with another scale than the model's is refused; the caller's statement replaces the file's."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
import tifffile
from PIL import Image
from PIL.ExifTags import Base

from app import problems
from app.diagnosis.decode import decode
from app.diagnosis.engine import Engine
from app.diagnosis.scale import parse_mpp
from model_zoo.network import Network
from model_zoo.orbit import Rotations
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import RunningServer, assert_problem, encoded
from tests.app.test_decode import png_chunk, with_chunk

PATCH = synthetic_patch("tumour", 7)
MODEL = 0.97


def tiff(**options: Any) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, PATCH, **({"photometric": "rgb"} | options))
    return stream.getvalue()


def per_cm(mpp: float) -> bytes:
    return tiff(resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="CENTIMETER")


def per_inch(mpp: float) -> bytes:
    return tiff(resolution=(25_400 / mpp, 25_400 / mpp), resolutionunit="INCH", compression="lzw")


def per_micron(mpp: float) -> bytes:
    return tiff(resolution=(1 / mpp, 1 / mpp), resolutionunit="MICROMETER")


def imagej(mpp: float) -> bytes:
    return tiff(imagej=True, photometric=None, resolution=(1 / mpp, 1 / mpp), metadata={"axes": "YXS", "unit": "um"})


def imagej_mm(mpp: float) -> bytes:
    metadata = {"axes": "YXS", "unit": "mm"}
    return tiff(imagej=True, photometric=None, resolution=(1000 / mpp, 1000 / mpp), metadata=metadata)


def imagej_escaped(mpp: float) -> bytes:
    description = "ImageJ=1.54f\nunit=\\u00B5m\n"
    return tiff(resolution=(1 / mpp, 1 / mpp), resolutionunit=1, description=description, metadata=None)


def ome(mpp: float) -> bytes:
    sizes = {"PhysicalSizeX": mpp, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": mpp, "PhysicalSizeYUnit": "µm"}
    return tiff(ome=True, metadata={"axes": "YXS", **sizes})


def ome_nm(mpp: float) -> bytes:
    size = mpp * 1000
    pixels = f"<Pixels ID='Pixels:0' PhysicalSizeX='{size}' PhysicalSizeXUnit='nm' SizeX='96'>"
    return tiff(description=f"<?xml version='1.0'?><OME><Image>{pixels}</Pixels></Image></OME>", metadata=None)


def aperio(mpp: float) -> bytes:
    return tiff(description=f"Aperio Image Library v12\r\n96x96|AppMag = 20|MPP = {mpp:.4f}", metadata=None)


def phys(mpp: float) -> bytes:
    return with_chunk(encoded(PATCH), b"pHYs", struct.pack(">IIB", round(1e6 / mpp), round(1e6 / mpp), 1))


def exif_of(resolution: float, unit: int) -> Image.Exif:
    exif = Image.Exif()
    exif[Base.XResolution] = exif[Base.YResolution] = resolution
    exif[Base.ResolutionUnit] = unit
    return exif


def exif(mpp: float) -> bytes:
    return encoded(PATCH, "JPEG", exif=exif_of(1e4 / mpp, 3))


def png_exif(mpp: float) -> bytes:
    return encoded(PATCH, exif=exif_of(1e4 / mpp, 3))


def jfif(mpp: float) -> bytes:
    jpeg = encoded(PATCH, "JPEG")
    return jpeg[:13] + struct.pack(">BHH", 2, round(1e4 / mpp), round(1e4 / mpp)) + jpeg[18:]


STATING: list[Callable[[float], bytes]] = [
    *(per_cm, per_inch, per_micron, imagej, imagej_mm, imagej_escaped, ome, ome_nm, aperio, phys, jfif, exif, png_exif)
]
WHERE: dict[Callable[[float], bytes], str] = {
    per_cm: "TIFF resolution in pixels per centimetre",
    per_inch: "TIFF resolution in pixels per inch",
    imagej: "ImageJ's unit and resolution",
    ome: "OME-XML PhysicalSize",
    aperio: "MPP in the image description",
    phys: "PNG chunk pHYs",
    jfif: "JFIF density",
    exif: "EXIF resolution in pixels per centimetre",
    png_exif: "EXIF resolution in pixels per centimetre",
}
of_each_kind = pytest.mark.parametrize("stating", STATING, ids=lambda stating: stating.__name__)


@of_each_kind
@pytest.mark.parametrize("magnification", [2, 4])
def test_patches_of_another_magnification_are_refused(stating: Callable[[float], bytes], magnification: int) -> None:
    with pytest.raises(problems.WrongScale, match=r"expected 0.97 within 10 %: cut the patch .*mpp=NUMBER") as refused:
        decode(stating(MODEL / magnification), MODEL)
    found = refused.value.extensions
    assert found["found"] == pytest.approx(MODEL / magnification, rel=1e-3)
    assert found["expected"] == MODEL
    assert found["where"] == WHERE.get(stating, found["where"])
    assert found["where"] in refused.value.detail


@of_each_kind
@pytest.mark.parametrize("factor", [0.91, 1.0, 1.09])
def test_the_models_own_scale_is_read(stating: Callable[[float], bytes], factor: float) -> None:
    stated = decode(stating(MODEL * factor), MODEL).microns_per_pixel
    assert stated == pytest.approx(MODEL * factor, rel=1e-3)


@of_each_kind
def test_the_callers_word_counts(stating: Callable[[float], bytes]) -> None:
    assert decode(stating(MODEL / 2), MODEL, 1.0).microns_per_pixel == 1.0
    assert decode(stating(MODEL / 2), MODEL, "ignore").microns_per_pixel == pytest.approx(MODEL / 2, rel=1e-3)
    with pytest.raises(problems.WrongScale, match=r"The request states 0.5 microns per pixel \(mpp\)"):
        decode(stating(MODEL), MODEL, 0.5)


@pytest.mark.parametrize(
    "data",
    [
        encoded(PATCH),
        encoded(PATCH, dpi=(300, 300)),
        *(encoded(PATCH, "JPEG", dpi=(dpi, dpi)) for dpi in (72, 96, 300)),
        *(tiff(resolution=(dpi, dpi), resolutionunit="INCH") for dpi in (72, 96, 300, 0)),
        tiff(resolution=(2e4, 2e4), resolutionunit="NONE"),
        tiff(description="ImageJ=1.54f\nunit=pixel\n", metadata=None, resolution=(4, 4), resolutionunit=2),
        tiff(description="<OME><Pixels PhysicalSizeX='0.5' PhysicalSizeXUnit='pixel'/></OME>", metadata=None),
        tiff(description="<OME><Pixels PhysicalSizeX='0' PhysicalSizeY='inf'/></OME>", metadata=None),
        tiff(description="Aperio|MPP = 1e99|MPP = x", metadata=None),
        encoded(PATCH, "JPEG", exif=exif_of(72, 2)),
        encoded(PATCH, "JPEG", exif=exif_of(2e4, 1)),
        encoded(PATCH, exif=exif_of(2e4, 3).tobytes()[:40]),
        with_chunk(encoded(PATCH), b"eXIf", b"no directory"),
        with_chunk(encoded(PATCH), b"pHYs", struct.pack(">IIB", 10**7, 10**7, 0)),
        with_chunk(encoded(PATCH), b"pHYs", struct.pack(">IIB", 0, 0, 1)),
        encoded(PATCH)[:33]
        + png_chunk(b"pHYs", struct.pack(">IIB", 2**21, 2**21, 1))[:-1]
        + b"?"
        + encoded(PATCH)[33:],
    ],
)
def test_no_unit_of_length_or_an_implausible_one_is_no_scale(data: bytes) -> None:
    assert decode(data, MODEL).microns_per_pixel is None


def test_pixels_that_are_not_square_are_refused_by_either_side() -> None:
    stretched = tiff(resolution=(1e4 / MODEL, 2e4 / MODEL), resolutionunit="CENTIMETER")
    with pytest.raises(problems.WrongScale, match=r"0.97 \(across\) and 0.485 \(down\)"):
        decode(stretched, MODEL)


def test_of_two_statements_the_wrong_one_is_named() -> None:
    both = tiff(
        description="Aperio|MPP = 0.2500", metadata=None, resolution=(1e4 / MODEL,) * 2, resolutionunit="CENTIMETER"
    )
    with pytest.raises(problems.WrongScale, match="MPP in the image description"):
        decode(both, MODEL)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "nan", "inf", "1e999", "0.0001", "1001", "1,0", "0x1", " 1", "1_0", "ignored", "9" * 5000]
)
def test_what_is_no_scale_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected microns per pixel from 0.001 to 1000, or 'ignore'"):
        parse_mpp(text)


@pytest.mark.parametrize(("text", "value"), [("1", 1.0), ("0.972", 0.972), ("9.7e-1", 0.97), ("ignore", "ignore")])
def test_what_callers_say(text: str, value: float | str) -> None:
    assert parse_mpp(text) == value


def test_the_engine_compares_with_its_own_model(network: Network, artifact_path: Any) -> None:
    engine = Engine.load(artifact_path)
    expected = network.manifest.input.microns_per_pixel
    for rotations in (Rotations.EXACT, Rotations.NONE):
        with pytest.raises(problems.WrongScale):
            engine.answer(phys(expected / 2), rotations)
        answer = engine.answer(phys(expected), rotations)
        assert answer.patch.microns_per_pixel == pytest.approx(expected, rel=1e-4)
        assert answer.model.microns_per_pixel == expected
    mixed = engine.answer_as_given([phys(expected / 2)] * 3, mpps=[None, "ignore", expected])
    assert [isinstance(each, problems.WrongScale) for each in mixed] == [True, False, False]


@pytest.mark.parametrize("rotations", ["full", "none"])
def test_over_http(server: RunningServer, rotations: str) -> None:
    def ask(data: bytes, query: str = "") -> Any:
        headers = {"Content-Type": "application/octet-stream"}
        return server.client.post(f"/predict?rotations={rotations}{query}", content=data, headers=headers)

    before = server.recorded()
    problem = assert_problem(ask(per_cm(MODEL / 2)), 422, "wrong-scale")
    assert {"found", "expected", "where"} <= set(problem)
    assert server.recorded() == before
    assert ask(encoded(PATCH)).json()["patch"]["microns_per_pixel"] is None
    assert ask(per_cm(MODEL)).json()["patch"]["microns_per_pixel"] == pytest.approx(MODEL, rel=1e-4)
    assert ask(per_cm(MODEL / 2), "&mpp=1").json()["patch"]["microns_per_pixel"] == 1
    assert ask(per_cm(MODEL / 2), "&mpp=ignore").json()["model"]["microns_per_pixel"] == MODEL
    assert_problem(ask(encoded(PATCH), "&mpp=0.5"), 422, "wrong-scale")
    refused = assert_problem(ask(encoded(PATCH), "&mpp=half"), 422, "invalid-parameter")
    assert "mpp is 'half', expected microns per pixel" in refused["detail"]


def test_in_the_form(server: RunningServer) -> None:
    files = {"file": per_cm(MODEL / 2)}

    def ask(query: str = "", **fields: Any) -> Any:
        return server.client.post(f"/predict?rotations=none{query}", files=files, **fields)

    assert ask(data={"mpp": "1"}).json()["patch"]["microns_per_pixel"] == 1
    assert ask(data={"mpp": "ignore"}).status_code == 200
    assert_problem(ask(data={"mpp": "0.5"}), 422, "wrong-scale")
    for wrong in ("", "half", "1" * 10_000):
        assert "expected microns per pixel" in assert_problem(ask(data={"mpp": wrong}), 422, "invalid-form")["detail"]
    assert "give it once" in assert_problem(ask("&mpp=1", data={"mpp": "1"}), 422, "invalid-form")["detail"]
    assert "more than one field mpp" in assert_problem(ask(data={"mpp": ["1", "1"]}), 422, "invalid-form")["detail"]


def test_in_a_batch(server: RunningServer) -> None:
    files = [("file", per_cm(MODEL / 2)), ("file", per_cm(MODEL)), ("file", encoded(PATCH))]

    def ask(query: str = "", **fields: Any) -> Any:
        return server.client.post(f"/predict/batch?rotations=none{query}", files=files, **fields)

    refused, stated, silent = ask().json()["results"]
    assert (refused["type"], refused["index"]) == ("/problems/wrong-scale", 0)
    assert stated["patch"]["microns_per_pixel"] == pytest.approx(MODEL, rel=1e-4)
    assert silent["patch"]["microns_per_pixel"] is None
    for answered in (ask("&mpp=ignore"), ask(data={"mpp": "1"})):
        assert all("logits" in result for result in answered.json()["results"])
    assert "more than one field mpp" in assert_problem(ask(data={"mpp": ["1", "1"]}), 422, "invalid-form")["detail"]


def test_a_repeat_with_another_scale_is_another_request(server: RunningServer) -> None:
    headers = {"Content-Type": "image/png", "Idempotency-Key": "scale"}

    def ask(query: str) -> Any:
        return server.client.post(f"/predict?rotations=none{query}", content=encoded(PATCH), headers=headers)

    first = ask("&mpp=1")
    assert ask("&mpp=1.0").text == first.text
    assert_problem(ask(""), 422, "idempotency-mismatch")


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
@pytest.mark.parametrize("field", ["case_id", "slide_id", "rotations"])
def test_a_query_parameter_in_the_form_is_told_its_place(server: RunningServer, path: str, field: str) -> None:
    response = server.client.post(path, files={"file": encoded(PATCH)}, data={field: "none"})
    problem = assert_problem(response, 422, "invalid-form")
    assert f"{field!r}, which is a query parameter" in problem["detail"]
    assert f"?{field}=…" in problem["detail"]
