"""Keeps e2cnn 0.2.3 working on NumPy 2.

Two places in e2cnn's reflection kernels use removed features of NumPy: ``np.array(x, copy=False)``
as "copy only if needed" (changed in 2.0) and ``ndarray.tostring`` (removed in 2.3).
"""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import numpy as np
from e2cnn.kernels import irreps_basis, utils


class _NumpyWithOldCopy(ModuleType):
    """NumPy with the meaning of ``array(..., copy=False)`` before 2.0."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def array(obj: Any, *args: Any, copy: bool = True, **kwargs: Any) -> Any:
        return np.array(obj, *args, copy=copy or None, **kwargs)


def _hash(self: Any) -> int:
    return hash((type(self), self.in_irrep, self.out_irrep, self.mu.tobytes()))


def patch_e2cnn() -> None:
    """Patch e2cnn in place. Idempotent."""
    utils.np = _NumpyWithOldCopy("numpy")
    for kind in vars(irreps_basis).values():
        if isinstance(kind, type) and issubclass(kind, irreps_basis.IrrepBasis):
            kind.__hash__ = _hash  # type: ignore[assignment]
    warnings.filterwarnings("ignore", "indexing with dtype torch.uint8", UserWarning)
