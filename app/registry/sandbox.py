"""The sandbox: a process that can only compute, read its standard input and write its standard output."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
from collections.abc import Callable, Container
from contextlib import suppress
from errno import ENOSYS, EPERM
from pathlib import Path
from typing import Any

MEMORY_BYTES = 2**30
CPU_SECONDS = 8

_STDIN, _STDOUT = 0, 1
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_PROT_EXEC = 4
COMPUTING = (
    "brk",
    "clock_gettime",
    "exit",
    "exit_group",
    "futex",
    "getcpu",
    "getpid",
    "getrandom",
    "gettid",
    "madvise",
    "mremap",
    "munmap",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
)


class SandboxUnavailable(RuntimeError):  # noqa: N818 - a state of this machine, not a fault of the caller
    """This machine does not support the sandbox; the message gives the reason."""


def give_up_rights(*, memory_bytes: int = MEMORY_BYTES, cpu_seconds: int = CPU_SECONDS) -> str:
    """Restrict this process permanently to computing, reading its standard input and writing its standard output.

    The kernel then refuses every other system call: no file can be opened, not even for reading, no socket created, no
    process or thread started, traced or signalled, no memory made executable. Import all modules before the call.
    Standard error and all further descriptors are closed, and the environment is emptied. The process is the first
    that the kernel kills when the machine runs out of memory, and dies with the thread that started it.

    Args:
        memory_bytes: largest address space, including what is already in use.
        cpu_seconds: CPU time after which the kernel ends the process by SIGXCPU.

    Returns:
        A description of the restrictions.

    Raises:
        SandboxUnavailable: if this machine does not support it. Some restrictions may already be in place.
    """
    load_filter = _filter()
    try:
        prepare(memory_bytes, cpu_seconds)
        load_filter()
    except (OSError, ValueError) as error:
        raise SandboxUnavailable(f"the kernel refuses to drop privileges: {error}") from error
    confirm_no_rights()
    return (
        f"no files, network, processes or signals; {memory_bytes // 2**20:,} MiB of memory, {cpu_seconds} s of CPU time"
    )


def prepare(
    memory_bytes: int,
    cpu_seconds: int,
    *,
    file_bytes: int = 0,
    files: int = 2,
    kept: Container[int] = (_STDIN, _STDOUT),
) -> None:
    """Do what comes before the filter: limits, no environment, no further descriptors, no way to gain rights.

    Args:
        memory_bytes: largest address space.
        cpu_seconds: processor time after which the kernel ends the process.
        file_bytes: largest file that it may write.
        files: bound of its descriptors' numbers.
        kept: descriptors that stay open.

    Raises:
        OSError, ValueError: if the kernel refuses.
    """
    with suppress(OSError):  # without write access to /proc only this priority is lost
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    os.environ.clear()
    _close_all_but(kept)
    _limit(memory_bytes, cpu_seconds, file_bytes, files)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _filter() -> Callable[[], None]:
    """Allow nothing but computing and the two pipes; returns the function that loads the filter into the kernel."""

    def allow_pipes(calls: Any) -> None:
        from pyseccomp import ALLOW, EQ, Arg  # type: ignore[import-untyped]

        calls.add_rule(ALLOW, "read", Arg(0, EQ, _STDIN))
        calls.add_rule(ALLOW, "write", Arg(0, EQ, _STDOUT))

    return computing_filter(allow_pipes)


def computing_filter(add_rules: Callable[[Any], None]) -> Callable[[], None]:
    """Build a filter of system calls that allows computing, and no executable memory.

    Args:
        add_rules: given the ``pyseccomp.SyscallFilter``, adds what else is allowed.

    Returns:
        The function that loads it into the kernel.

    Raises:
        SandboxUnavailable: if the library is missing or cannot build the filter.
    """
    try:
        from pyseccomp import ALLOW, ERRNO, KILL_PROCESS, MASKED_EQ, Arg, Attr, SyscallFilter
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise SandboxUnavailable(f"libseccomp cannot be loaded, install it (Debian: libseccomp2): {error}") from error
    try:
        calls = SyscallFilter(ERRNO(EPERM))
        calls.set_attr(Attr.ACT_BADARCH, KILL_PROCESS)
        calls.set_attr(Attr.CTL_TSYNC, 1)
        calls.add_rule(ERRNO(ENOSYS), "clone3")  # ENOSYS makes the caller try an older call, which is refused
        for call in ("mmap", "mprotect"):
            calls.add_rule(ALLOW, call, Arg(2, MASKED_EQ, _PROT_EXEC, 0))
        for call in COMPUTING:
            calls.add_rule(ALLOW, call)
        add_rules(calls)
    except OSError as error:
        raise SandboxUnavailable(f"libseccomp cannot filter system calls here: {error}") from error
    load: Callable[[], None] = calls.load
    return load


def _close_all_but(kept: Container[int]) -> None:
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor not in kept:
            with suppress(OSError):  # the descriptor of the listing itself is closed already
                os.close(descriptor)


def _limit(memory_bytes: int, cpu_seconds: int, file_bytes: int, files: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_NPROC: 0,
    }
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")


def confirm_no_rights() -> None:
    """Try operations that the sandbox must forbid.

    Raises:
        SandboxUnavailable: naming an operation that was possible.
    """
    attempts: dict[str, Callable[[], object]] = {
        "open a file": lambda: os.open("/", os.O_RDONLY),
        "open a file for writing": lambda: os.open("/dev/null", os.O_WRONLY),
        "make a socket": lambda: socket.socket(socket.AF_UNIX),
        "start a process": _fork,
        "run a program": lambda: os.execv("/nowhere", ["nowhere"]),  # noqa: S606
        "signal a process": lambda: os.kill(os.getpid(), 0),
    }
    for what, attempt in attempts.items():
        try:
            attempt()
        except OSError as error:
            if error.errno == EPERM:
                continue
            raise SandboxUnavailable(f"the kernel did not forbid the process to {what}: {error}") from error
        raise SandboxUnavailable(f"the kernel permitted a process without privileges to {what}")


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
