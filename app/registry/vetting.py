"""Vetting of an uploaded artifact, in a sandboxed process.

Only that process parses the uploaded bytes. They may crash it or make it report wrong results. The server loads no
artifact that was not vetted, and verifies a network again whenever it loads one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isfinite
from select import POLLIN, poll
from time import monotonic
from typing import IO, BinaryIO

from pydantic import TypeAdapter, ValidationError

from app.registry.sandbox import CPU_SECONDS, SandboxUnavailable
from model_zoo.manifest import MAX_BYTES
from model_zoo.proof import Examination, RefusedError, Step, Tell, nobody

FINISHED = b'"finished"'
MAX_OUTPUT_BYTES = 2**18

CHILD = (sys.executable, "-I", "-m", "app.registry.vetting_child")
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
_STEP = TypeAdapter(Step)
_MAGIC_BYTES = 512
_MAGIC = (
    (b"\x80", "a Python pickle, which runs code when it is read"),
    (b"PK", "a zip archive, as PyTorch writes (.pt)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"#!", "a script"),
    (b"\x89HDF", "an HDF5 file, as Keras writes (.h5)"),
    (b"\x89PNG", "a PNG image"),
    (b"<", "HTML or XML"),
    (b"{", "JSON"),
)
_FLATBUFFERS = {b"ORTM": "onnxruntime's own format (.ort)", b"TFL3": "a TensorFlow Lite model (.tflite)"}
_IR_VERSION_TAG = b"\x08"


@dataclass(frozen=True)
class VettingResult:
    """The result of vetting an upload.

    Attributes:
        passed: whether every step passed, to the last.
        steps: the steps that ran, in order; after a failure, dependent steps are omitted.
    """

    passed: bool
    steps: tuple[Step, ...]

    def document(self) -> dict[str, object]:
        """The verdict as JSON."""
        return asdict(self)


def vet(artifact: BinaryIO, *, size: int, tell: Tell = nobody, timeout_s: float = 30) -> VettingResult:
    """Vet an uploaded file; there is a verdict for any bytes. Blocks; writes nothing.

    Args:
        artifact: an open file; its position is neither used nor changed.
        size: its length in bytes.
        tell: called with each step as soon as it is known, in this thread.
        timeout_s: wall-clock seconds for the whole of the vetting process.

    Raises:
        SandboxUnavailable: if this machine does not support the sandbox; nothing was vetted.
    """
    examination = Examination(tell)
    head = os.pread(artifact.fileno(), _MAGIC_BYTES, 0)
    if examination.passes("size and magic", lambda: check_size_and_magic(head, size)):
        with _read_only(artifact.fileno()) as descriptor:
            question(CHILD, descriptor, examination, timeout_s)
    report = examination.report
    return VettingResult(report.passed, report.steps)


def check_size_and_magic(head: bytes, size: int) -> str:
    """Check a file's length and its first bytes, without parsing them.

    Raises:
        RefusedError: if it cannot be an artifact; the message names the probable file type.
    """
    if size == 0:
        raise RefusedError("the file is empty")
    if size > MAX_BYTES:
        raise RefusedError(f"the file has {size:,} bytes, expected at most {MAX_BYTES:,}")
    kind = next((kind for magic, kind in _MAGIC if head.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(magic)), None)
    kind = _FLATBUFFERS.get(head[4:8], kind)
    if kind is not None:
        raise RefusedError(f"the file is {kind}, expected an .onnx file")
    if not head.startswith(_IR_VERSION_TAG):
        raise RefusedError(f"the file begins with the bytes {head[:8].hex(' ')}, expected those of an .onnx file")
    return f"{size:,} bytes, begins like an .onnx file"


def question(command: Sequence[str], artifact: int, examination: Examination, timeout_s: float) -> None:
    """Run the vetting process on the artifact, and add its steps to the examination.

    A process that crashes, hangs or violates the protocol becomes the failed step ``process``.

    Args:
        command: the vetting process, with the protocol of ``vetting_child``.
        artifact: descriptor of the artifact.
        timeout_s: wall-clock seconds after which the process is killed.

    Raises:
        SandboxUnavailable: if the process could not enter the sandbox, or ended before that.
    """
    started = monotonic()
    confined = finished = False
    with _started(command, artifact) as process:
        assert process.stdout is not None
        try:
            for line in _lines(process.stdout, started + timeout_s):
                if finished:
                    raise _Misbehaved("continued after its last message")
                if line == FINISHED:
                    finished = True
                    continue
                step = _step(line)
                if not confined and not (step.name == "sandbox" and step.passed):
                    raise SandboxUnavailable(step.detail)
                confined = True
                examination.add(step)
            status = process.wait(max(0.0, started + timeout_s - monotonic()))
            fault = _died(status) if status else None if finished else "ended before its last step"
        except subprocess.TimeoutExpired:
            fault = "did not end"
        except _Misbehaved as error:
            fault = str(error)
        finally:
            process.kill()
    elapsed = monotonic() - started
    if not confined:
        raise SandboxUnavailable(f"the vetting process {fault or 'found nothing'}, after {elapsed:.1f} s")
    if fault:
        examination.add(Step("process", False, f"the vetting process {fault}, after {elapsed:.1f} s", 1e3 * elapsed))


def _started(command: Sequence[str], artifact: int) -> subprocess.Popen[bytes]:
    """Start the process in its own session, so that interrupts from the server's terminal do not reach it."""
    try:
        return subprocess.Popen(
            command, stdin=artifact, stdout=subprocess.PIPE, env=_ENVIRONMENT, cwd="/", start_new_session=True
        )
    except OSError as error:
        raise SandboxUnavailable(f"the vetting process cannot be started: {error}") from error


class _Misbehaved(Exception):  # noqa: N818 - the process does it, and the text says what
    """The vetting process violates the protocol."""


def _step(line: bytes) -> Step:
    try:
        step = _STEP.validate_json(line, strict=True)
    except ValidationError:
        raise _Misbehaved("wrote an invalid step") from None
    if not isfinite(step.milliseconds):
        raise _Misbehaved("wrote an invalid step")
    return step


def _lines(pipe: IO[bytes], deadline: float) -> Iterator[bytes]:
    """Whole lines from a pipe until it is closed."""
    readable = poll()
    readable.register(pipe, POLLIN)
    pending, total = b"", 0
    while True:
        if not readable.poll(max(0.0, 1e3 * (deadline - monotonic()))):
            raise _Misbehaved("did not end")
        part = os.read(pipe.fileno(), MAX_OUTPUT_BYTES)
        total += len(part)
        if total > MAX_OUTPUT_BYTES:
            raise _Misbehaved(f"wrote more than {MAX_OUTPUT_BYTES:,} bytes")
        if not part:
            return
        *lines, pending = (pending + part).split(b"\n")
        yield from lines


def _died(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    meaning = {
        -signal.SIGKILL: "out of memory?",
        -signal.SIGXCPU: f"the file takes more than {CPU_SECONDS} s of CPU time",
    }
    return f"was killed by signal {-status} ({signal.strsignal(-status)}): {meaning.get(status, 'the file crashes it')}"


@contextmanager
def _read_only(descriptor: int) -> Iterator[int]:
    """The same file, reopened read-only at its beginning."""
    try:
        opened = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SandboxUnavailable(f"the file cannot be reopened read-only: {error}") from error
    try:
        yield opened
    finally:
        os.close(opened)
