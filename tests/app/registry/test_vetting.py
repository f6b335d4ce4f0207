"""Vetting: the shipped artifacts pass, every hostile one is refused for its reason, and nothing remains."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from select import select

import pytest

from app.registry.sandbox import CPU_SECONDS, SandboxUnavailable
from app.registry.vetting import CHILD, FINISHED, MAX_OUTPUT_BYTES, VettingResult, question, vet
from model_zoo.proof import Examination, Report, Step, nobody
from model_zoo.verify import verify
from tests.app.registry.hostile import ATTACKS, HOSTILE
from tests.conftest import ROOT, earlier_artifact, shipped_artifact

PATIENCE_S = 120
STEPS = [
    "size and magic",
    "sandbox",
    "file",
    "dialect",
    "manifest",
    "precision",
    "operators",
    "shapes",
    "independence",
    "graph hash",
    "weights",
    "integer graph",
    "network",
    "latency",
    "golden cases",
    "finite answers",
    "independent answers",
    "moving answers",
    "exact invariance",
]
CONFINED = json.dumps({"name": "sandbox", "passed": True, "detail": "", "milliseconds": 1.0})


@pytest.fixture(scope="module")
def data() -> bytes:
    return earlier_artifact().read_bytes()


@pytest.fixture
def silent_pipe() -> Iterator[int]:
    """The reading end of a pipe into which nobody writes."""
    reading, writing = os.pipe()
    yield reading
    os.close(reading)
    os.close(writing)


def uploaded(data: bytes, *, told: list[Step] | None = None) -> VettingResult:
    """Vet bytes as an upload arrives: in an unlinked file that is open for reading and writing."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return vet(file, size=len(data), tell=nobody if told is None else told.append, timeout_s=PATIENCE_S)


def around(*folders: Path) -> list[list[str]]:
    return [sorted(path.name for path in folder.iterdir()) for folder in folders]


@pytest.mark.parametrize(("name", "further"), [("accurate", []), ("balanced", []), ("fast", ["dense pass"])])
def test_a_shipped_artifact_passes(name: str, further: list[str]) -> None:
    told: list[Step] = []
    verdict = uploaded(shipped_artifact(name=name).read_bytes(), told=told)
    assert [step.name for step in verdict.steps if not step.passed] == []
    assert verdict.passed
    assert [step.name for step in verdict.steps] == [*STEPS, *further]
    assert told == list(verdict.steps)


def test_the_verdict_is_json(data: bytes) -> None:
    verdict = uploaded(data[:1000])
    document = json.loads(json.dumps(verdict.document()))
    assert document["passed"] is False
    assert document["steps"][0].keys() == {"name", "passed", "detail", "milliseconds"}
    assert document["steps"][-1]["name"] == "file"


def test_the_file_is_left_where_it_was(data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        position = file.tell()
        assert vet(file, size=len(data)).passed
        assert file.tell() == position
        file.seek(0)
        assert file.read() == data


OUTSIDE = [kind for kind in HOSTILE if kind in ATTACKS or HOSTILE[kind].step == "size and magic"]


def assert_refused(steps: Sequence[Step], kind: str) -> None:
    failed = [step for step in steps if not step.passed]
    assert failed, kind
    assert failed[0].name == HOSTILE[kind].step, failed[0]
    assert HOSTILE[kind].words in failed[0].detail


@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_hostile_upload_is_refused(kind: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, temporary, work = (tmp_path / name for name in ("folder", "temporary", "work"))
    for path in (folder, temporary, work):
        path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(work)
    content = HOSTILE[kind].make(data, folder)
    before = around(Path("/"), folder, Path("/proc/self/fd"))

    began = cpu_of_children()
    verdict = uploaded(content)
    assert cpu_of_children() - began < CPU_SECONDS + 2

    assert not verdict.passed
    assert_refused(verdict.steps, kind)
    assert around(temporary, work) == [[], []]
    assert around(Path("/"), folder, Path("/proc/self/fd")) == before


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind not in OUTSIDE])
def test_a_file_that_is_no_artifact_fails_its_step(kind: str, data: bytes, tmp_path: Path) -> None:
    """By what the vetting process runs, here in this process; a soak test uploads every kind to a server."""
    report = verify(HOSTILE[kind].make(data, tmp_path), only_int8=True)
    assert_refused(report.steps, kind)


def questioned(program: str, timeout_s: float = PATIENCE_S) -> Report:
    """Vet an empty file by a program of the test's own in the vetting process's place."""
    examination = Examination(nobody)
    with Path(os.devnull).open("rb") as file:
        question([sys.executable, "-I", "-c", program], file.fileno(), examination, timeout_s)
    return examination.report


def says(*lines: str, then: str = "") -> str:
    return f"import os, signal, time\nos.write(1, {chr(10).join([*lines, '']).encode()!r})\n{then}"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (says(CONFINED), "ended before its last step"),
        (says(CONFINED, "not json"), "wrote an invalid step"),
        (says(CONFINED, '{"name": "file", "passed": "yes", "detail": "", "milliseconds": 1}'), "an invalid step"),
        (says(CONFINED, '{"name": "file", "passed": true, "detail": "", "milliseconds": NaN}'), "an invalid step"),
        (says(CONFINED, FINISHED.decode(), CONFINED), "continued after its last message"),
        (says(CONFINED, then="while True: os.write(1, bytes(65536))"), f"wrote more than {MAX_OUTPUT_BYTES:,} bytes"),
        (says(CONFINED, FINISHED.decode(), then="os._exit(3)"), "ended with status 3"),
        (says(CONFINED, then="os.kill(os.getpid(), signal.SIGKILL)"), "killed by signal 9 (Killed): out of memory?"),
        (says(CONFINED, then="os.kill(os.getpid(), signal.SIGXCPU)"), "more than 8 s of CPU time"),
        (says(CONFINED, then="os.kill(os.getpid(), signal.SIGSEGV)"), "killed by signal 11 (Segmentation fault)"),
        (says(CONFINED, then="os.kill(os.getpid(), signal.SIGRTMIN + 3)"), "killed by signal 37"),
    ],
)
def test_a_process_that_fails_in_the_midst_is_a_failed_step(program: str, words: str) -> None:
    report = questioned(program)
    assert not report.passed
    assert [step.name for step in report.steps] == ["sandbox", "process"]
    assert words in report.steps[-1].detail


@pytest.mark.parametrize("then", ["time.sleep(600)", "os.close(1); time.sleep(600)"])
def test_a_process_that_hangs_is_killed(then: str) -> None:
    report = questioned(says(CONFINED, then=then), timeout_s=3)
    assert [step.name for step in report.steps] == ["sandbox", "process"]
    assert re.search(r"did not end, after \d+\.\d s$", report.steps[-1].detail)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("", "ended before its last step"),
        ("raise SystemExit(4)", "ended with status 4"),
        (says("Warning: something"), "wrote an invalid step"),
        (says(FINISHED.decode()), "found nothing"),
        (says(CONFINED.replace("true", "false").replace('""', '"no seccomp here"')), "no seccomp here"),
        (says(CONFINED.replace("sandbox", "file").replace('""', '"too early"')), "too early"),
    ],
)
def test_a_process_that_gave_up_no_rights_vets_nothing(program: str, words: str) -> None:
    with pytest.raises(SandboxUnavailable, match=words):
        questioned(program)


def test_a_process_that_cannot_be_started_vets_nothing(silent_pipe: int) -> None:
    with pytest.raises(SandboxUnavailable, match=r"cannot be started: .* '/nowhere'"):
        question(["/nowhere"], silent_pipe, Examination(nobody), PATIENCE_S)


def test_a_vetting_process_killed_from_outside_is_a_failed_step(silent_pipe: int) -> None:
    """It waits for its input, without rights, when it is killed."""

    def kill(step: Step) -> None:
        if step.name == "sandbox":
            os.kill(vetting_process(), signal.SIGKILL)

    examination = Examination(kill)
    question(CHILD, silent_pipe, examination, PATIENCE_S)
    assert [step.name for step in examination.report.steps] == ["sandbox", "process"]
    assert "killed by signal 9" in examination.report.steps[-1].detail


def vetting_process() -> int:
    """The one child of this process that runs the vetting."""
    children = [int(child) for path in Path("/proc/self/task").glob("*/children") for child in path.read_text().split()]
    (found,) = [pid for pid in children if b"app.registry.vetting_child" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found


def test_the_vetting_process_does_not_outlive_who_asked(silent_pipe: int) -> None:
    program = (
        "import sys; from app.registry.vetting import CHILD, question; from model_zoo.proof import Examination\n"
        "question(CHILD, 0, Examination(lambda step: print(step.name, flush=True)), 60)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=silent_pipe, stdout=subprocess.PIPE, cwd=ROOT) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == b"sandbox\n"
        (child,) = Path(f"/proc/{asking.pid}/task/{asking.pid}/children").read_text().split()
        descriptor = os.pidfd_open(int(child))
        asking.kill()
    ended, _, _ = select([descriptor], [], [], PATIENCE_S)
    os.close(descriptor)
    assert ended


def test_what_hears_of_a_step_may_raise(data: bytes) -> None:
    def interrupt(step: Step) -> None:
        if step.name == "sandbox":
            raise KeyboardInterrupt

    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        with pytest.raises(KeyboardInterrupt):
            vet(file, size=len(data), tell=interrupt)
    with pytest.raises(ValueError, match="not enough values to unpack"):
        vetting_process()


def test_a_parent_that_vets_loads_neither_onnx_nor_seccomp(artifact_path: Path) -> None:
    program = (
        "import sys; from app.registry.vetting import vet; path = sys.argv[1]\n"
        "with open(path, 'rb') as file: print(vet(file, size=file.seek(0, 2)).passed)\n"
        "print(sorted({'onnx', 'pyseccomp', 'fastapi'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", program, str(artifact_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split("\n") == ["True", "[]", ""]
