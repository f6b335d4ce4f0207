"""``rosette slide score --cluster``: Dask workers give the files of one process, and are not trusted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from slides import chunkfile
from slides.cells import State, read_run
from slides.errors import SlideError
from slides.grid import Chunk
from slides.score import nothing
from tests.installed import PROGRAM, rosette
from tests.slides.made import GLASS, tissue, write_svs
from tests.slides.test_resume import OPTIONS, assert_same, chunks_in

pytest.importorskip("distributed")
PLAIN = OPTIONS[:4]


def certificates(folder: Path, now: datetime | None = None) -> Path:
    """A CA, and a certificate for this machine that it signed."""
    folder.mkdir()
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("Site CA", "localhost")]
    now = now or datetime.now(UTC)
    for index, name in enumerate(("ca", "cert")):
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[index])
            .issuer_name(names[0])
            .public_key(keys[index].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=not index, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        )
        signed = builder.sign(keys[0], hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(pem)
    return folder


def tls_options(folder: Path | None) -> list[str]:
    if folder is None:
        return []
    return [f"--tls-{option}={folder / name}" for option, name in zip(("ca-file", "cert", "key"), _PEMS, strict=True)]


_PEMS = ("ca.pem", "cert.pem", "key.pem")


@contextmanager
def process(*arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        started = subprocess.Popen([sys.executable, "-m", *arguments], stdout=file, stderr=file)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@contextmanager
def scheduler(folder: Path, tls: Path | None = None) -> Iterator[str]:
    """A scheduler on this machine; gives its address."""
    kind = "tls" if tls else "tcp"
    options = [f"--host={kind}://127.0.0.1", "--port=0", "--no-dashboard", "--no-show", *tls_options(tls)]
    with process("distributed.cli.dask_scheduler", *options, log=folder / "scheduler.log"):
        end = monotonic() + 120
        while f"Scheduler at: {kind}://"[:14] not in (said := (folder / "scheduler.log").read_text()):
            assert monotonic() < end, said
            sleep(0.05)
        lines = [line for line in said.splitlines() if "Scheduler at:" in line]
        yield lines[0].split("Scheduler at:")[1].strip()


def worker(folder: Path, address: str, name: str, *options: str) -> ExitStack:
    plain = ["--nthreads=1", "--no-nanny", "--no-dashboard", f"--local-directory={folder / name}", f"--name={name}"]
    stack = ExitStack()
    stack.enter_context(process("distributed.cli.dask_worker", address, *plain, *options, log=folder / f"{name}.log"))
    return stack


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six chunks of cells with some tissue in each."""
    pixels = np.full((33 * 96, 17 * 96, 3), GLASS, np.uint8)
    strip = tissue(["tnnt"])
    for top in range(0, len(pixels) - 96, 480):
        for left in (0, 960):
            pixels[top : top + 96, left : left + strip.shape[1]] = strip
    pixels[-480:-384, -strip.shape[1] :] = strip
    return write_svs(tmp_path_factory.mktemp("slides") / "slide.svs", pixels, 0.97)


def test_two_workers_with_one_killed_give_the_files_of_one_process(slide: Path, tmp_path: Path) -> None:
    rosette("slide", "score", slide, "--out", tmp_path / "one", *PLAIN, "--processes", "1")
    tls = certificates(tmp_path / "tls")
    out = tmp_path / "several"
    with scheduler(tmp_path, tls) as address:
        victim, other = (worker(tmp_path, address, name, *tls_options(tls)) for name in ("victim", "other"))
        command = [str(PROGRAM), "slide", "score", str(slide), "--out", str(out), *PLAIN, "--cluster", address]
        command += ["--cluster-tls", str(tls)]
        with other, subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
            end = monotonic() + 300
            while run.poll() is None and not chunks_in(out):
                assert monotonic() < end, "no chunk came"
                sleep(0.01)
            running = run.poll() is None
            victim.close()
            said = run.communicate()[0].decode()
            assert run.returncode == 0, said
            assert running
    folders = [next((tmp_path / name).iterdir()) for name in ("one", "several")]
    assert_same(*folders)


def test_a_worker_of_another_version_is_refused(slide: Path, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("import slides.identity\nslides.identity.ALGORITHM = '0'\n")
    with scheduler(tmp_path) as address, worker(tmp_path, address, "old", f"--preload={tmp_path / 'other.py'}"):
        said = rosette("slide", "score", slide, "--out", tmp_path / "out", "--cluster", address, code=1)
    assert "has slides 0, expected 1: install the same versions" in said
    assert not list((tmp_path / "out").iterdir())


DEADLY = """
import os
from slides.score import Scorer

if Scorer.score.__name__ != "deadly":
    score = Scorer.score

def deadly(self, chunk, candidates):
    if (chunk.column, chunk.row) == (48, 0):
        os._exit(1)
    return score(self, chunk, candidates)

if Scorer.score.__name__ != "deadly":  # a preload may be executed twice
    Scorer.score = deadly
"""


@pytest.mark.soak
@pytest.mark.nightly
def test_a_chunk_that_kills_its_workers_is_a_hole(slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    preload = f"--preload={tmp_path / 'deadly.py'}"
    with scheduler(tmp_path) as address, worker(tmp_path, address, "w", "--nanny", preload):
        said = rosette("slide", "score", slide, "--out", tmp_path / "out", *PLAIN, "--cluster", address, code=1)
    assert "crashed repeatedly" in said
    _, cells = read_run(next((tmp_path / "out").iterdir()))
    holes = cells.where(State.HOLE)
    assert holes[:48, 48:96].any()
    assert not holes[:, :48].any()
    assert not holes[48:].any()
    assert cells.where(State.SCORED)[48:].any()
    assert set(cells.reason.values()) >= {"crashed"}


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://10.0.0.7:8786", "is not on this machine, and its connection is not protected: use tls://"),
        ("tcp://example.org:8786", "is not on this machine"),
        ("tls://10.0.0.7:8786", "needs --cluster-tls FOLDER with ca.pem, cert.pem, key.pem; missing"),
        ("10.0.0.7:8786", "expected tls://HOST:PORT"),
        ("ws://127.0.0.1:8786", "expected tls://HOST:PORT"),
        ("tcp://127.0.0.1", "expected tls://HOST:PORT"),
        ("tcp://127.0.0.1:99999", "expected tls://HOST:PORT"),
    ],
)
def test_unprotected_addresses_are_refused(address: str, words: str) -> None:
    from slides.cluster import security_of

    with pytest.raises(SlideError, match=words):
        security_of(address, None)


def test_what_comes_back_is_checked() -> None:
    chunk = Chunk(48, 0, 3, 2)
    cells = nothing((2, 3), State.GLASS)
    packed = chunkfile.pack(chunk, cells, "model")
    found = chunkfile.unpack(packed, chunk, "model")
    assert found is not None
    assert found.tobytes() == cells.tobytes()
    assert chunkfile.unpack(packed, Chunk(0, 0, 3, 2), "model") is None
    assert chunkfile.unpack(packed, Chunk(48, 0, 2, 3), "model") is None
    assert chunkfile.unpack(packed, chunk, "another model") is None
    assert chunkfile.unpack(packed[:-1], chunk, "model") is None
    for name, value in (
        ("state", 9),
        ("reasons", 255),
        ("probability", 1.5),
        ("turns", -1.0),
        ("logits", float("inf")),
    ):
        wrong = cells.copy()
        wrong[name] = value
        assert chunkfile.unpack(chunkfile.pack(chunk, wrong, "model"), chunk, "model") is None, name
