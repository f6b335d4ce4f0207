"""The images contain only what is needed to serve."""

from __future__ import annotations

import json
import subprocess
import zlib

import pytest

from tests.docker.stack import IMAGES, docker

UNPACKED_MB, COMPRESSED_MB = 480, 180  # highdicom, which writes the DICOM objects of slides, takes 30


@pytest.fixture(scope="module", autouse=True)
def _built(images: None) -> None:
    pass


def in_image(*command: str) -> str:
    return docker("run", "--rm", "--network", "none", "--read-only", IMAGES["app"], *command)


def test_the_servers_image_is_small(capsys: pytest.CaptureFixture[str]) -> None:
    """The figures are those of `docker image inspect` and `docker save IMAGE | gzip -1 | wc -c`."""
    unpacked = int(docker("image", "inspect", "--format", "{{.Size}}", IMAGES["app"])) / 1e6
    packer, compressed = zlib.compressobj(1, wbits=31), 0
    with subprocess.Popen(["docker", "save", IMAGES["app"]], stdout=subprocess.PIPE) as saved:
        assert saved.stdout is not None
        while chunk := saved.stdout.read(2**20):
            compressed += len(packer.compress(chunk))
    assert saved.returncode == 0
    megabytes = (compressed + len(packer.flush())) / 1e6
    with capsys.disabled():
        print(f"\n[rosette-app: {unpacked:.0f} MB unpacked, {megabytes:.0f} MB compressed]")
    assert unpacked < UNPACKED_MB
    assert megabytes < COMPRESSED_MB


def test_no_torch_compiler_package_manager_or_cache_is_left() -> None:
    tools = "for tool in gcc cc g++ ld as clang make pip pip3 apt apt-get; do command -v $tool; done; true"
    assert in_image("sh", "-c", tools) == ""
    unwanted = [
        "torch", "e2cnn", "lightning", "pip", "setuptools", "sympy", "hatchling", "cyclonedx_py", "pytest", "httpx",
    ]  # fmt: skip
    found = in_image("python", "-c", f"import importlib.util as i; print([n for n in {unwanted} if i.find_spec(n)])")
    assert found == "[]"
    caches = "find / -xdev \\( -path '*/.cache' -o -name '*.whl' -o -path '/var/lib/apt/lists/*' -o -name tests \\)"
    assert in_image("sh", "-c", f"{caches} -not -path '/proc/*' 2>/dev/null; true") == ""


def test_it_has_the_compiled_loops_and_the_fast_jpeg_decoder() -> None:
    program = "from app.diagnosis import plain_jpeg; from model_zoo import kernels; "
    program += "print(kernels.COMPILED, plain_jpeg.decode_jpeg is not None)"
    assert in_image("python", "-c", program) == "True True"


def test_it_runs_as_an_ordinary_user_on_a_read_only_root() -> None:
    assert in_image("id", "-u") == "10001"
    program = "import os; print([p for p in ('/', '/etc', '/opt/rosette', '/usr/bin') if os.access(p, os.W_OK)])"
    assert in_image("python", "-c", program) == "[]"
    assert in_image("sh", "-c", "find / -xdev -type f -perm /6000; true") == ""


def test_bytecode_is_there_because_a_read_only_root_cannot_take_it() -> None:
    program = (
        "import app.main, sys; print([m for m, l in sys.modules.items() if (c := getattr(l, '__cached__', '')) and"
    )
    program += " not __import__('os').path.exists(c)])"
    assert in_image("python", "-c", program) == "[]"


def test_installed_packages_are_consistent_and_locked() -> None:
    program = """
import json, importlib.metadata as m
print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))
"""
    installed = json.loads(in_image("python", "-c", program))
    assert installed.pop("rosette-pathology")
    locked = docker("run", "--rm", "--network", "none", IMAGES["app"], "cat", "/opt/rosette/requirements.txt")
    pins = {line.split(" ")[0] for line in locked.splitlines() if "==" in line}
    assert {f"{name}=={version}" for name, version in installed.items()} - pins == set()


@pytest.mark.parametrize(("service", "expected"), [("app", {"onnxruntime", "libc6"}), ("proxy", set())])
def test_each_image_carries_its_bill_of_materials(service: str, expected: set[str]) -> None:
    label = docker("image", "inspect", "--format", '{{index .Config.Labels "rosette.sbom"}}', IMAGES[service])
    bill = json.loads(docker("run", "--rm", "--network", "none", IMAGES[service], "cat", label))
    assert (bill["bomFormat"], bill["specVersion"][0]) == ("CycloneDX", "1")
    names = {component["name"] for component in bill["components"]}
    assert all(component["purl"] for component in bill["components"])
    assert expected <= names
    assert len(names) > 50


def test_the_proxys_image_holds_no_key() -> None:
    """A certificate authority that was made at the build would be everybody's."""
    assert docker("run", "--rm", "--network", "none", IMAGES["proxy"], "find", "/data", "/config").split() == [
        "/data",
        "/config",
    ]
    assert docker("run", "--rm", "--network", "none", IMAGES["proxy"], "id", "-u") == "10002"
