"""Columns of a table as numbers."""

from __future__ import annotations

import numpy
from numpy.typing import NDArray

from dltrain.data.arrays import LARGEST
from dltrain.data.tables.files import Column, Table
from dltrain.errors import DataError

Numbers = NDArray[numpy.float64]

MISSING = ("", "na", "n/a", "nan", "null", "none", "?")
"""Texts, in lower case, that stand for a missing number."""


def parse_numbers(table: Table, name: str, hint: str) -> Numbers:
    """Parse a column, (N,) float64, NaN for a missing number. Raises DataError, with the position and the advice
    `hint`, for other texts and for numbers that are infinite or larger than LARGEST.
    """
    column = table.columns[name]
    numbers = column if column.dtype != object else convert_numbers(column)
    if numbers is None:
        row, text = next((row, text) for row, text in enumerate(column) if _parse_number(text) is None)
        raise DataError(f"{table.locate(row, name)}: '{text.strip()[:60]}' is not a number", advice=hint)
    table.refuse(name, numpy.isinf(numbers), "the number is infinite; expected is a finite one", hint)
    if (large := numpy.abs(numbers) > LARGEST).any():
        message = f"{numbers[large][0]:g} is too large; expected is a number between {-LARGEST:.2g} and {LARGEST:.2g}"
        table.refuse(name, large, message, hint)
    return numbers


def measure_deviation(numbers: Numbers) -> float:
    """Compute the standard deviation of numbers (N,); 1 if it is numerically 0."""
    return float(numbers.std()) or 1.0


def standardize_column(table: Table, name: str, numbers: Numbers, *, mean: float, std: float) -> NDArray[numpy.float32]:
    """Standardise a column's `numbers` (N,) by the mean and standard deviation of its training rows, (N,) float32.

    Raises DataError, with the position, for a number so far from these that float32 cannot represent the distance.
    """
    with numpy.errstate(over="ignore"):
        scaled = ((numbers - mean) / std).astype(numpy.float32)
    if (far := ~numpy.isfinite(scaled)).any():
        training = f"(mean {mean:g}, standard deviation {std:g})"
        message = f"{numbers[far][0]:g} is too far from the training rows' numbers {training}"
        table.refuse(name, far, message, "correct the value, or remove the row")
    return scaled


def convert_numbers(column: Column) -> Numbers | None:
    """Convert texts to numbers; None if one of them is not a number."""
    if not any("_" in text for text in column):  # Python allows it in numbers
        try:
            return column.astype(float)
        except ValueError:
            pass
    numbers = [_parse_number(text) for text in column]
    return None if None in numbers else numpy.array(numbers, float)


def _parse_number(text: str) -> float | None:
    """Parse a number: NaN for a missing one, None for another text."""
    if text.strip().lower() in MISSING:
        return numpy.nan
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def holds_numbers(table: Table, name: str) -> bool:
    """Return whether all values of a column that are not missing, or most of them, are numbers.

    In the latter case reading it reports the others, which is better than treating numbers as categories.
    """
    column = table.columns[name]
    if column.dtype != object or convert_numbers(column) is not None:
        return True
    numbers = [_parse_number(text) for text in column]
    texts = sum(number is None for number in numbers)
    return texts < sum(number is not None and number == number for number in numbers)
