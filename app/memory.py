"""How the C library and the interpreter keep memory."""

from __future__ import annotations

import ctypes
import gc
import platform

_M_ARENA_MAX = -8
ARENAS = 2


def use_few_arenas() -> None:
    """Have glibc keep memory in two arenas; before any thread begins.

    By default threads get up to eight for each core, and models that are loaded in one thread and freed in another
    leave all of them in pieces.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def return_freed_memory() -> None:
    """Have glibc give freed memory back to the system, which it keeps when large blocks of every size come and go."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def keep_what_is_there() -> None:
    """Have the garbage collector look no more at what exists by now, as modules do: that took it 200 ms at a time."""
    gc.collect()
    gc.freeze()
