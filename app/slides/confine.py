"""What a process that opens slides keeps: reading one slide and Python's files, and perhaps a folder to work in."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EACCES, EPERM
from pathlib import Path
from typing import Any

import app
import model_zoo
import slides
from app.registry.sandbox import SandboxUnavailable, computing_filter, prepare
from app.slides import landlock

OPEN_FILES = 512
_O_TMPFILE = 0o20000000  # without O_DIRECTORY, which the constant of Python includes
_PLAIN_READ = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | _O_TMPFILE
_READING = (
    *("access", "close", "faccessat", "faccessat2", "fadvise64", "fstat", "getcwd", "getdents64", "getuid", "geteuid"),
    *("lseek", "lstat", "newfstatat", "pread64", "read", "readlink", "readlinkat", "readv", "stat", "statx", "sysinfo"),
)
_WORKING = (
    *("fdatasync", "flock", "fsync", "ftruncate", "mkdir", "mkdirat", "pwrite64", "rename", "renameat", "renameat2"),
    *("rmdir", "unlink", "unlinkat", "write"),
)
# Modes are not bounded by Landlock: changing one does nothing, and says that it was done.
_IGNORED = ("chmod", "fchmod", "fchmodat")
_FCNTL = (1, 2, 3, 5, 6, 37, 1030)  # descriptors' flags and copies, and locks


@dataclass(frozen=True)
class Bounds:
    """What a process may use at most.

    Attributes:
        memory_bytes: address space.
        cpu_seconds: processor time.
        file_bytes: of a file that it writes.
    """

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int = 0


def confine(readable: Sequence[int], work: int | None, bounds: Bounds) -> None:
    """Take from this process, for good, all but reading a slide, working in one folder, and its standard streams.

    The kernel then refuses sockets, programs, processes, threads, signals, executable memory, and every other file.
    What is needed must be imported before. What a path leads to (not its content) can still be looked at.

    Args:
        readable: ``O_PATH`` descriptors of files and folders that may be read.
        work: of a folder in which files may be made, written and removed; None for no writing at all.
        bounds: of memory, time and files.

    Raises:
        SandboxUnavailable: if this machine offers no such sandbox. The process may already have lost some rights.
    """
    landlock.abi()
    load_filter = _filter(writing=work is not None)
    allowed = {descriptor: landlock.READ_FILE for descriptor in readable if not _is_folder(descriptor)}
    allowed |= {descriptor: landlock.READ for descriptor in readable if _is_folder(descriptor)}
    try:
        allowed |= dict.fromkeys(_python_files(), landlock.READ)
        if work is not None:
            allowed[work] = landlock.WORK
        prepare(
            bounds.memory_bytes,
            bounds.cpu_seconds,
            file_bytes=bounds.file_bytes,
            files=OPEN_FILES,
            kept={0, 1, *allowed},
        )
        landlock.restrict(allowed)
        for descriptor in allowed:
            os.close(descriptor)
        load_filter()
    except (OSError, ValueError) as error:
        raise SandboxUnavailable(f"the kernel refuses to take rights away: {error}") from error
    confirm(writing=work is not None)


def confirm(*, writing: bool) -> None:
    """Try what must be impossible for this process by now.

    Raises:
        SandboxUnavailable: naming what was possible all the same.
    """
    attempts: dict[str, tuple[int, Callable[[], object]]] = {
        "list a folder": (EACCES, lambda: os.open("/", os.O_RDONLY)),
        "open another file": (EACCES, lambda: os.open("/proc/self/status", os.O_RDONLY)),
        "open a file for writing": (EACCES if writing else EPERM, lambda: os.open("/dev/null", os.O_WRONLY)),
        "make a socket": (EPERM, lambda: socket.socket(socket.AF_UNIX)),
        "start a process": (EPERM, _fork),
        "run a program": (EPERM, lambda: os.execv("/nowhere", ["nowhere"])),  # noqa: S606
        "signal a process": (EPERM, lambda: os.kill(os.getpid(), 0)),
    }
    for what, (expected, attempt) in attempts.items():
        try:
            attempt()
        except OSError as error:
            if error.errno == expected:
                continue
            raise SandboxUnavailable(f"the kernel did not refuse to {what}, but said: {error}") from error
        raise SandboxUnavailable(f"the kernel let a process that reads slides {what}")


def _filter(*, writing: bool) -> Callable[[], None]:
    def allow_reading(calls: Any) -> None:
        from pyseccomp import ALLOW, EQ, ERRNO, MASKED_EQ, Arg  # type: ignore[import-untyped]

        for command in _FCNTL:
            calls.add_rule(ALLOW, "fcntl", Arg(1, EQ, command))
        calls.add_rule(ALLOW, "openat", Arg(2, MASKED_EQ, _PLAIN_READ, 0))
        for call in _READING:
            calls.add_rule(ALLOW, call)
        if not writing:
            calls.add_rule(ALLOW, "write", Arg(0, EQ, 1))
            return
        for mode in (os.O_WRONLY, os.O_RDWR):
            calls.add_rule(ALLOW, "openat", Arg(2, MASKED_EQ, os.O_ACCMODE, mode))
        for call in _WORKING:
            calls.add_rule(ALLOW, call)
        for call in _IGNORED:
            calls.add_rule(ERRNO(0), call)

    return computing_filter(allow_reading)


def _python_files() -> Iterator[int]:
    """Descriptors of the folders of modules: what is imported late is looked for there."""
    libraries = {Path(os.__file__).parent}
    libraries |= {Path(path) for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}}
    packages = {Path(folder) for package in (app, model_zoo, slides) for folder in package.__path__}
    for folder in libraries | packages:
        with suppress(OSError):  # not there, or not for this user anyway
            yield os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _is_folder(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").is_dir()


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
