"""The packages of the images are pinned, hashed, and match pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

DOCKER = ROOT / "docker"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASKED = {
    "requirements.txt": PROJECT["dependencies"]
    + PROJECT["optional-dependencies"]["dicom"]
    + PROJECT["optional-dependencies"]["oidc"]
    + PROJECT["optional-dependencies"]["slides"],
    "training-requirements.txt": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["training"],
    "build-requirements.txt": (DOCKER / "build.in").read_text().split(),
}
REMEDY = "run `make lock`"


def pins(file: Path) -> dict[str, list[str]]:
    """Versions by name; one for each range of Python where they differ."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+) ", file.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(version)
    return found


@pytest.mark.parametrize("name", ASKED)
def test_the_lock_is_what_the_project_asks_for(name: str) -> None:
    locked = pins(DOCKER / name)
    for requirement in map(Requirement, ASKED[name]):
        versions = locked.get(canonicalize_name(requirement.name), [])
        assert versions, f"docker/{name} lacks {requirement.name}: {REMEDY}"
        assert [each for each in versions if each not in requirement.specifier] == [], f"{requirement}: {REMEDY}"


@pytest.mark.parametrize("name", ASKED)
def test_every_pin_has_hashes_and_none_names_a_host(name: str) -> None:
    text = (DOCKER / name).read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 10
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text


def test_training_images_and_checkouts_have_the_same_torch() -> None:
    [version] = re.findall(r"^version=(\S+)", (ROOT / "scripts" / "install-torch").read_text(), re.MULTILINE)
    assert pins(DOCKER / "training-requirements.txt")["torch"] == [version]
