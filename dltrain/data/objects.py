"""What a Python program holds: collections of inputs, frames of columns, and cells; by what they do, not by a library.

A frame is a pandas or polars DataFrame, a row a mapping or a pandas Series, an array whatever NumPy converts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

Cell = str | float
MISSING = ("NAType", "NaTType")
"""The types of pandas' own missing values."""


def flatten(values: Iterable[Any], is_single: Callable[[Any], bool]) -> Iterator[Any]:
    """The inputs in nested collections; names, and what `is_single` holds to be one input, are not taken apart."""
    for value in values:
        single = isinstance(value, (str, bytes, Path, Mapping)) or is_single(value) or not isinstance(value, Iterable)
        if single or getattr(value, "shape", None) == ():
            yield value
        else:
            yield from flatten(value, is_single)


def is_frame(value: Any) -> bool:
    """Whether a value has named columns of cells."""
    return hasattr(value, "columns") and hasattr(value, "to_dict")


def is_row(value: Any) -> bool:
    """Whether a value has cells by name."""
    return isinstance(value, Mapping) or (hasattr(value, "index") and hasattr(value, "to_dict"))


def to_row(value: Any) -> dict[str, Any]:
    """The cells of a row by name."""
    return {str(name): cell for name, cell in (value if isinstance(value, Mapping) else value.to_dict()).items()}


def to_columns(frame: Any) -> dict[str, list[Any]]:
    """The cells of a frame by column."""
    return {str(name): frame[name].to_list() for name in frame.columns}


def is_cell(value: Any) -> bool:
    """Whether a value is one number or text, or a missing one."""
    return (
        value is None
        or isinstance(value, (str, int, float))
        or (not isinstance(value, (Mapping, Path)) and numpy.ndim(value) == 0 and not isinstance(value, Iterable))
    )


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def describe_object(value: Any) -> str:
    """A value of the wrong type, for messages."""
    shape = getattr(value, "shape", None)
    shown = "nothing" if is_missing(value) else f"{type(value).__module__}.{type(value).__qualname__}"
    return shown.removeprefix("builtins.") + (f" of shape {tuple(shape)}" if shape else "")


def is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in MISSING or bool(isinstance(value, float) and value != value)


def to_cell(value: Any) -> Cell:
    """A cell as a table keeps it: a number, NaN for a missing one, or a text; truth values are texts."""
    if is_missing(value):
        return float("nan")
    if hasattr(value, "item"):  # of NumPy's, or torch's
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str):
        return value
    try:
        return float(value)  # a Decimal, say
    except (TypeError, ValueError):
        return str(value)  # a date, say
