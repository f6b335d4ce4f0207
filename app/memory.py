"""Memory settings of glibc and the garbage collector."""

from __future__ import annotations

import ctypes
import gc
import platform

_M_ARENA_MAX = -8
ARENAS = 2


def use_few_arenas() -> None:
    """Limit glibc to two arenas; call before threads start.

    By default threads use up to eight arenas per core, and models that are loaded in one thread and freed in another
    fragment all of them.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def return_freed_memory() -> None:
    """Return freed memory to the system; glibc keeps it when large blocks of many sizes are allocated and freed."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def keep_what_is_there() -> None:
    """Exclude existing objects, such as modules, from garbage collection: a collection of them takes 200 ms."""
    gc.collect()
    gc.freeze()
