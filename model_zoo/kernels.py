"""The compiled loops of ``_kernels.c``, where the package was built with a C compiler; callers use NumPy elsewhere.

Attributes:
    COMPILED: whether they are there.
"""

from __future__ import annotations

try:
    from model_zoo._kernels import interpolated, permuted, quality_sums
except ImportError:
    COMPILED = False
else:
    COMPILED = True

__all__ = ["COMPILED", "interpolated", "permuted", "quality_sums"]
