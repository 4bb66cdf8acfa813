"""The values of a series' columns: fields as numbers, every fault in one report, and missing values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.arrays import LARGEST
from dltrain.data.numbers import MISSING, NumberFormat, parse_number
from dltrain.data.series.times import looks_like_dates
from dltrain.errors import DataError

Values = NDArray[numpy.float64]
Marks = NDArray[numpy.bool_]
MissingValues = Literal["error", "previous"]


class ReadColumn(NamedTuple):
    """The fields of a column (T,) as numbers; those that are `missing` or `wrong` have none.

    `form` is how the numbers are written, None for plain ones.
    """

    name: str
    fields: Sequence[Any] | NDArray[Any]
    numbers: Values
    missing: Marks
    wrong: Marks
    form: NumberFormat | None = None

    @property
    def holds_dates(self) -> bool:
        texts = [field for field in self.fields if isinstance(field, str)]
        return len(texts) == len(self.fields) and bool(self.wrong.all()) and looks_like_dates(texts)


class ColumnSource(NamedTuple):
    """Where columns are from: its name, what its columns and rows are called, and whether a trained model reads it."""

    name: str
    title: Callable[[str], str]
    place: Callable[[int], str]
    known: bool


def read_texts(name: str, fields: Sequence[str], form: NumberFormat | None = None) -> ReadColumn:
    """Read the fields of a text file."""
    parsed = [parse_number(field) if form is None else form.parse(field) for field in fields]
    missing = numpy.array([field.strip().lower() in MISSING for field in fields], bool)
    numbers = numpy.array([numpy.nan if number is None else number for number in parsed], numpy.float64)
    return ReadColumn(name, fields, numbers, missing, wrong=~missing & ~(numpy.abs(numbers) <= LARGEST), form=form)


def read_array(name: str, array: NDArray[Any]) -> ReadColumn:
    """Read an array (T,) of any type; what is not a number is missing in an array of numbers."""
    if array.dtype.kind not in "fiub":
        none = numpy.zeros(len(array), bool)
        return ReadColumn(name, array, numpy.full(len(array), numpy.nan), none, wrong=~none)
    numbers = array.astype(numpy.float64)
    missing = numpy.isnan(numbers)
    return ReadColumn(name, array, numbers, missing, wrong=~missing & ~(numpy.abs(numbers) <= LARGEST))


def combine_columns(
    source: ColumnSource, columns: Sequence[ReadColumn], policy: MissingValues
) -> tuple[Values, Marks | None]:
    """The values (T, C) of the columns, and which of them repeat the one before as they are missing; None for none.

    Raises DataError for values that are no finite numbers, and for missing ones that stay so by `policy`.
    """
    faults = [fault for column in columns for fault in _find_faults(source, column, policy)]
    if faults:
        raise _join_faults(source, faults)
    values = numpy.stack([column.numbers for column in columns], 1)
    missing = numpy.stack([column.missing for column in columns], 1)
    if not missing.any():
        return values, None
    rows = numpy.where(missing, 0, numpy.arange(len(values))[:, None])
    return numpy.take_along_axis(values, numpy.maximum.accumulate(rows, axis=0), axis=0), missing


def _find_faults(source: ColumnSource, column: ReadColumn, policy: MissingValues) -> Iterator[DataError]:
    if column.holds_dates:
        yield DataError(f"{source.title(column.name)} holds dates", advice=f"set data.time={column.name}")
        return
    if column.missing.any() and (policy == "error" or column.missing[0]):
        yield _describe_missing(source, column, policy)
    if column.wrong.any():
        yield _describe_wrong(source, column)


def _describe_missing(source: ColumnSource, column: ReadColumn, policy: MissingValues) -> DataError:
    title, count, total = source.title(column.name), int(column.missing.sum()), len(column.fields)
    remove = "remove the rows before the first value of each column"
    if count == total:
        advice = "fill them in" if source.known else "name the columns to read in data.columns"
        return DataError(f"{title}: no value in any row", advice=advice)
    if policy == "previous":
        rows = f"the first {int(column.missing.argmin())} of {total} rows"
        return DataError(f"{title}: no value in {rows}, and none before them to repeat", advice=remove)
    advice = "set data.missing=previous to repeat the value before"
    if source.known:
        advice = "fill them in, or train with data.missing=previous"
    elif column.missing[0]:
        advice = f"{remove}; {advice}"
    first = source.place(int(column.missing.argmax()))
    return DataError(f"{title}: no value in {count} of {total} rows, the first in {first}", advice=advice)


def _describe_wrong(source: ColumnSource, column: ReadColumn) -> DataError:
    count, first = int(column.wrong.sum()), int(column.wrong.argmax())
    title, field, place = source.title(column.name), column.fields[first], source.place(first)
    if column.form is not None:
        others = f" (and {count - 1} other values)" if count > 1 else ""
        error = column.form.refuse(f"{place}, {title}", field, source.known)
        return DataError(f"{error.message}{others}", advice=error.advice)
    shown = f"'{field.strip()[:60]}'" if isinstance(field, str) else f"{field!s:.40}"
    bounds = f" between {-LARGEST:.2g} and {LARGEST:.2g}" if numpy.isfinite(column.numbers[first]) else ""
    verb = "is" if count == 1 else "are"
    return DataError(
        f"{title}: {count} of {len(column.fields)} values {verb} not a number{bounds}, the first is {shown} in {place}",
        advice="correct the values, or name the columns to read in data.columns",
    )


def _join_faults(source: ColumnSource, faults: Sequence[DataError]) -> DataError:
    parts = [part for fault in faults for part in (fault.advice or "").split("; ") if part]
    advice = "; ".join(dict.fromkeys(parts))
    if len(faults) == 1:
        return DataError(f"{source.name}: {faults[0].message}", advice=advice)
    listed = "".join(f"\n  {fault.message}" for fault in faults)
    return DataError(f"{source.name}: {len(faults)} faults{listed}", advice=advice)
