"""What the C library keeps of freed memory."""

from __future__ import annotations

import ctypes
import platform


def return_freed_memory() -> None:
    """Have glibc give freed memory back to the system, which it keeps when large blocks of every size come and go."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
