"""Landlock: the kernel refuses this process all files but those it was given (Linux 5.13)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping
from errno import ENOSYS, EOPNOTSUPP

from app.registry.sandbox import SandboxUnavailable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF, _OPENAT2 = 444, 445, 446, 437
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_AT_FDCWD = -100
_NO_MAGICLINKS, _BENEATH = 0x02, 0x08

_WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _TRUNCATE = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 14
READ = READ_FILE | READ_DIR
WORK = READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _TRUNCATE

_FILES_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK, _SCOPES = 0b11, 0b11


def abi() -> int:
    """The kernel's version of Landlock.

    Raises:
        SandboxUnavailable: if it has none; the message says what to do.
    """
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError as error:
        if error.errno == ENOSYS:
            raise SandboxUnavailable(
                "the kernel has no Landlock, or a container's profile forbids it: use Linux 5.13 or later, and allow "
                "the landlock_* system calls"
            ) from error
        if error.errno == EOPNOTSUPP:
            raise SandboxUnavailable(
                "Landlock is switched off in this kernel: add landlock to the boot parameter lsm="
            ) from error
        raise SandboxUnavailable(f"the kernel refuses Landlock: {error}") from error


def restrict(allowed: Mapping[int, int]) -> None:
    """Take from this process and all that it starts every access to files, but these; and TCP, where the kernel can.

    Args:
        allowed: rights for each descriptor (``O_PATH``) of a file, or of a folder with all below it.

    Raises:
        SandboxUnavailable: if the kernel has no Landlock.
        OSError: if it refuses.
    """
    version = abi()
    handled = _FILES_OF_ABI.get(version, _FILES_OF_ABI[5])
    sizes = 1 + (version >= 4) + (version >= 6)
    attributes = struct.pack("=QQQ", handled, _NETWORK, _SCOPES)[: 8 * sizes]
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for descriptor, rights in allowed.items():
            rule = struct.pack("=Qi", rights & handled, descriptor)
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def open_below(root: str, relative: str) -> int:
    """An ``O_PATH`` descriptor of what lies below a folder, also if links within the folder lead there.

    Raises:
        OSError: if there is nothing, or if the path leads out of the folder (``EXDEV``).
    """
    how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, _BENEATH | _NO_MAGICLINKS)
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _call(_OPENAT2, folder, os.fsencode(relative), how, len(how))
    finally:
        os.close(folder)


def _call(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(
        ctypes.c_long(number), *(ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    )
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
