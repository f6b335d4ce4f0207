from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

def averaged(
    pixels: Array,
    width: int,
    across: Array,
    across_weight: Array,
    columns: int,
    down: Array,
    down_weight: Array,
    rows: int,
    out: Array,
    /,
) -> None: ...
def block_sums(block: Array, rows: int, columns: int, density: Array, limit: int, out: Array, /) -> None: ...
