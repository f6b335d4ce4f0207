"""A process that reads slides: the kernel refuses what it tries beyond that; and where it cannot be had, it is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.homes import furnish
from tests.processes import KEY, Server
from tests.scale import AT_NIGHT

ATTEMPTS = """
import errno, json, os, pyseccomp, socket, sys, threading
from pathlib import Path
from app.slides.confine import Bounds, confine
from app.slides.landlock import open_below

folder, writing, user = Path(sys.argv[1]), sys.argv[2] == "writing", int(sys.argv[3])
if user != os.getuid():
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
slide, other, work = folder / "slide.svs", folder / "other.svs", folder / "run"
ready = socket.socket()

def thread():
    started = threading.Thread(target=int)
    started.start()
    started.join()

attempts = {
    "read the slide": lambda: slide.read_bytes(),
    "read another slide": lambda: os.open(other, os.O_RDONLY),
    "list the folder": lambda: os.listdir(folder),
    "read a secret": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "read its own memory": lambda: os.open("/proc/self/mem", os.O_RDONLY),
    "empty the slide": lambda: os.open(slide, os.O_RDONLY | os.O_TRUNC),
    "write the slide": lambda: os.open(slide, os.O_WRONLY),
    "truncate the slide": lambda: os.truncate(slide, 0),
    "remove the slide": lambda: os.unlink(slide),
    "make a file beside it": lambda: os.open(folder / "new", os.O_WRONLY | os.O_CREAT),
    "make a link in its folder": lambda: os.symlink(other, work / "link"),
    "make a hard link in its folder": lambda: os.link(other, work / "hard"),
    "take the slide along": lambda: os.rename(slide, work / "slide.svs"),
    "make a socket": lambda: socket.socket(),
    "connect": lambda: ready.connect(("127.0.0.1", 9)),
    "start a process": os.fork,
    "start a thread": thread,
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "signal a process": lambda: os.kill(os.getppid(), 0),
    "change the owner": lambda: os.chown(slide, 0, 0),
    "change the times": lambda: os.utime(slide),
    "make a file in its folder": lambda: (work / "made").write_text("made"),
    "put a file outside": lambda: os.rename(work / "made", folder / "made"),
    "change a mode": lambda: os.chmod(slide, 0),
}
descriptors = [open_below(str(folder), "slide.svs")]
confine(descriptors, os.open(work, os.O_PATH) if writing else None, Bounds(2**31, 60, 2**20))
outcomes = {}
for name, attempt in attempts.items():
    try:
        attempt()
        outcomes[name] = "done"
    except OSError as error:
        outcomes[name] = errno.errorcode[error.errno]
    except RuntimeError as error:
        outcomes[name] = str(error)
os.write(1, json.dumps(outcomes).encode())
os._exit(0)
"""
STRANGER = 10001
WORKING = {"make a file in its folder", "change a mode"}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder in which everybody may do everything, with two files and a folder in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "slide.svs").write_text("a slide")
        (folder / "other.svs").write_text("another slide")
        (folder / "run").mkdir()
        for path in (folder, *folder.iterdir()):
            path.chmod(0o777)
        yield folder


@pytest.fixture(params=["current user", "stranger"])
def user(request: pytest.FixtureRequest) -> int:
    """This user, or another without any capability, as a hardened container runs the server."""
    if request.param == "current user":
        return os.getuid()
    if os.getuid() != 0:
        pytest.skip(f"only root can become user {STRANGER}: run the tests as root to check this")
    return STRANGER


@pytest.mark.parametrize("kind", ["reading", "writing"])
def test_the_kernel_refuses_every_attempt(open_folder: Path, kind: str, user: int) -> None:
    done = run(ATTEMPTS, open_folder, kind, user)
    assert done.returncode == 0, done.stderr.decode()
    outcomes = json.loads(done.stdout)
    assert outcomes.pop("read the slide") == "done"
    assert outcomes.pop("start a thread") == "can't start new thread"
    expected = {"done"} if kind == "writing" else {"EPERM"}
    assert {outcomes.pop(name) for name in WORKING} == expected
    assert set(outcomes.values()) <= {"EPERM", "EACCES", "EXDEV"}
    # What the process was told is not what counts.
    assert (open_folder / "slide.svs").read_text() == "a slide"
    assert (open_folder / "slide.svs").stat().st_mode & 0o777 == 0o777
    made = ["run"] if kind == "reading" else ["made", "run"]
    assert sorted(path.name for path in open_folder.rglob("*") if "svs" not in path.name) == made


@pytest.mark.parametrize("path", ["../secret", "out", "folder/../../secret", "/etc/passwd", "/proc/self/root/etc"])
def test_no_path_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("secret")
    inside = tmp_path / "inside"
    (inside / "folder").mkdir(parents=True)
    (inside / "out").symlink_to("../secret")
    done = run("import sys; from app.slides.landlock import open_below; open_below(*sys.argv[1:])", inside, path)
    assert b"OSError: [Errno 18]" in done.stderr


@pytest.mark.parametrize("call", ["seccomp", "landlock_add_rule", "landlock_restrict_self", "prctl"])
def test_a_kernel_that_refuses_makes_it_unavailable(tmp_path: Path, call: str) -> None:
    """As an outer sandbox may: the call is forbidden by a filter that is there already."""
    program = f"""
{forbidding(call)}
import os, sys
from app.registry.sandbox import SandboxUnavailable
from app.slides.confine import Bounds, confine
try:
    confine([os.open(sys.argv[1], os.O_PATH)], None, Bounds(2**31, 60))
except SandboxUnavailable as error:
    os.write(1, str(error).encode())
    os._exit(0)
"""
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(b"the kernel refuses to take rights away: ")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (38, "the kernel has no Landlock"),
        pytest.param(95, "Landlock is switched off", marks=AT_NIGHT),
        pytest.param(1, "the kernel refuses Landlock", marks=AT_NIGHT),
    ],
)
def test_without_landlock_no_slide_is_offered_and_the_list_says_why(
    tmp_path: Path, artifact_path: Path, pixels: object, folder: Path, number: int, said: str
) -> None:
    """A server on which the kernel answers as one without Landlock does."""
    home = tmp_path / "home"
    furnish(home, artifact_path)
    program = forbidding("landlock_create_ruleset", number) + "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    environment = os.environ | {"ROSETTE_HOME": str(home), "ROSETTE_PORT": "0", "ROSETTE_ADMIN_KEY": KEY}
    environment |= {"ROSETTE_INFERENCE_PROCESSES": "1", "ROSETTE_SLIDES": str(folder)}
    command = [sys.executable, "-c", program, str(Path(sys.executable).with_name("rosette")), "serve"]
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        server = Server(process)
        try:
            url = server.wait_until_it_listens()
            answer = httpx.get(f"{url}/slides", headers={"Authorization": f"Bearer {KEY}"}, timeout=60).json()
        finally:
            server.kill()
    assert answer["slides"] == []
    assert said in answer["unavailable"]


def forbidding(call: str, number: int = 38) -> str:
    return (
        "from pyseccomp import ALLOW, ERRNO, SyscallFilter\n"
        f"outer = SyscallFilter(ALLOW); outer.add_rule(ERRNO({number}), {call!r}); outer.load()\n"
    )


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=300)
