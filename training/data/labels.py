"""Labels: 0 and 1, booleans, or the names of the two classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from model_zoo.labels import READ as READ
from model_zoo.labels import class_of as class_of
from training.data.patches import DataError


def as_labels(
    values: Iterable[object], origin: Callable[[int], str], names: Sequence[str] = ()
) -> npt.NDArray[np.int64]:
    """Read labels: int64 [N], 0 or 1.

    Args:
        values: values of the file: numbers, booleans or class names.
        origin: file and row of a label, for the message.
        names: class names by number, if the file states them.

    Raises:
        DataError: if a label is missing or is neither 0 nor 1, naming its file and row.
    """
    labels = []
    for row, value in enumerate(values):
        label = _label(value, names)
        if isinstance(label, str):
            raise DataError(f"{origin(row)}: {label}; {READ}: correct the label, or remove the row with its patch")
        labels.append(label)
    return np.array(labels, np.int64)


def class_names(names: Sequence[str], file: str) -> Sequence[str]:
    """Check that each name stands for a label, and return the names.

    Raises:
        DataError: if a name is unknown, or both stand for the same label.
    """
    unknown = [name for name in names if class_of(name) is None]
    if unknown or sorted(class_of(name) or 0 for name in names) != [0, 1]:
        raise DataError(f"{file} states the classes {', '.join(map(repr, names))}; {READ}: rename the classes")
    return names


def _label(value: object, names: Sequence[str]) -> int | str:
    """The label, or an error message."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return _of_text(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "the label is missing (null)"
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float) and value in (0, 1):
        return class_of(names[int(value)]) or 0 if names else int(value)
    return f"the label is {value!r}"


def _of_text(text: str) -> int | str:
    if not text.strip() or text.strip().casefold() in {"nan", "null", "none", "na"}:
        return "the label is missing (empty)"
    label = class_of(text)
    if label is not None:
        return label
    try:
        number = float(text)
    except ValueError:
        return f"the label is {text!r}"
    return int(number) if number in (0, 1) else f"the label is {text!r}"
