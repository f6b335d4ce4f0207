"""Certificates that cannot be used are refused with the name of the file, and what to do."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slides.certificates import checked
from slides.errors import SlideError
from tests.installed import rosette
from tests.slides.made import tissue, write_svs
from tests.slides.test_cluster import certificates, scheduler

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates(tmp_path_factory.mktemp("certificates") / "tls")


def refusal(folder: Path) -> str:
    with pytest.raises(SlideError) as refused:
        checked("tls://10.0.0.5:8786", folder)
    return str(refused.value)


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_good_ones_are_used(folder: Path) -> None:
    assert checked("tls://10.0.0.5:8786", folder) == tuple(
        str(folder / f"{name}.pem") for name in ("ca", "cert", "key")
    )


def test_a_missing_file_is_named(folder: Path, tmp_path: Path) -> None:
    broken = copy_of(folder, tmp_path)
    (broken / "key.pem").unlink()
    assert refusal(broken).endswith("missing: key.pem")


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem"])
def test_what_is_no_certificate_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    broken = copy_of(folder, tmp_path)
    (broken / name).write_text("-----BEGIN CERTIFICATE-----\nnone\n")
    assert refusal(broken).startswith(f"{broken / name} holds no certificate in PEM")


def test_another_key_is_named(folder: Path, tmp_path: Path) -> None:
    broken = copy_of(folder, tmp_path)
    shutil.copy(certificates(tmp_path / "other") / "key.pem", broken / "key.pem")
    assert refusal(broken).startswith(f"{broken / 'key.pem'} cannot be used with {broken / 'cert.pem'} (")


def test_an_expired_one_is_named_with_the_day(tmp_path: Path) -> None:
    day = datetime.now(UTC) - timedelta(days=3)
    old = certificates(tmp_path / "old", now=day)
    assert (
        refusal(old)
        == f"{old / 'ca.pem'} expired on {day + timedelta(days=1):%Y-%m-%d}: have the site's CA make a new one"
    )


def test_another_ca_is_named_when_the_connection_fails(folder: Path, tmp_path: Path) -> None:
    slide = write_svs(tmp_path / "slide.svs", tissue(["t"], 1.944), 0.499)
    other = certificates(tmp_path / "other")
    with scheduler(tmp_path, folder) as address:
        options = ["--cluster", address, "--cluster-tls", str(other)]
        said = rosette("slide", "score", slide, "--out", tmp_path / "out", *options, code=1)
    assert f"{other / 'ca.pem'} must be the certificate of the CA that signed the scheduler's" in " ".join(said.split())
