"""Which files are slides, and which files belong to them."""

from __future__ import annotations

from pathlib import Path

from app.slides.folders import find_slides

SECRET = b"a secret"


def test_formats_of_several_files_are_one_slide(tmp_path: Path) -> None:
    for name in (
        "a.mrxs",
        "a/Slidedat.ini",
        "b.mrxs",
        "dicom/1.dcm",
        "dicom/2.DCM",
        "vms/c.vms",
        "vms/c-1.jpg",
        "d.SVS",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "dicom" / "2.DCM").write_bytes(b"the largest level")
    found = {str(file.relative): file.beside for file in find_slides([tmp_path], SECRET)}
    assert found == {
        "a.mrxs": Path("a"),
        "b.mrxs": None,
        "d.SVS": None,
        "dicom/2.DCM": Path("dicom"),
        "vms/c.vms": Path("vms"),
    }


def test_a_folder_that_leads_out_is_refused_with_its_slide(tmp_path: Path) -> None:
    offered, outside = tmp_path / "offered", tmp_path / "outside"
    offered.mkdir()
    outside.mkdir()
    (offered / "a.mrxs").touch()
    (offered / "a").symlink_to(outside)
    [file] = find_slides([offered], SECRET)
    assert "leads out" in file.refused


def test_ids_depend_on_the_secret_and_the_path_below_the_folder(tmp_path: Path) -> None:
    for name in ("one/a.svs", "one/b/a.svs", "two/a.svs", "moved/a.svs"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def ids(secret: bytes, *roots: str) -> list[str]:
        return [file.id for file in find_slides([tmp_path / root for root in roots], secret)]

    assert len(set(ids(SECRET, "one", "two"))) == 3
    assert ids(SECRET, "two") == ids(SECRET, "moved")
    assert not set(ids(SECRET, "one")) & set(ids(b"another", "one"))
    assert ids(SECRET, "missing") == []


def test_a_version_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    path.write_bytes(b"one")
    [file] = find_slides([tmp_path], SECRET)
    first = file.version()
    assert file.version() == first is not None
    (tmp_path / "part").write_bytes(b"two")
    (tmp_path / "part").replace(path)
    assert file.version() != first
    path.unlink()
    assert file.version() is None
