"""The compiled loops of ``_kernels.c``, where the package was built with a C compiler; callers use NumPy elsewhere.

Attributes:
    COMPILED: whether they are there.
"""

from __future__ import annotations

try:
    from slides._kernels import averaged, block_sums
except ImportError:
    COMPILED = False
else:
    COMPILED = True

__all__ = ["COMPILED", "averaged", "block_sums"]
