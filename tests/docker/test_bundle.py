"""The bundle installs the stack without a registry and without this checkout."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docker.stack import IMAGES, PNG, Stack, docker, run


def test_a_bundle_installs_the_stack_without_a_network(
    new_stack: Callable[..., Stack], png: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = new_stack("bundle", ROSETTE_GZIP="1")
    file = tmp_path / "rosette.tar"
    source.script("bundle.sh", str(file))
    with tarfile.open(file) as bundle:
        bundle.extractall(tmp_path, filter="data")
    folder = tmp_path / "rosette"
    run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder)
    assert not list(folder.rglob("secrets"))
    assert not (folder / ".env").exists()
    for image in IMAGES.values():
        bill = json.loads((folder / "sbom" / f"{image.partition(':')[0]}.cdx.json").read_text())
        assert bill["bomFormat"] == "CycloneDX"

    names = source.compose("config", "--images").split()
    for name in names:
        docker("image", "rm", "--force", name)
        assert docker("image", "ls", "--quiet", name) == ""
    loaded = docker("load", "--input", str(folder / "images.tar.gz"))
    assert all(name in loaded for name in names)

    target = Stack(folder, source.project)
    target.script("env.sh")
    target.up("--pull", "never", "--no-build")
    with target.client() as client:
        assert client.post("/predict", content=png, headers=PNG).status_code == 200
    with capsys.disabled():
        print(f"\n[bundle: {file.stat().st_size / 1e6:.0f} MB]")
    target.down()
