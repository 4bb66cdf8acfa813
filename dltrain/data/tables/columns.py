"""Columns of a table: their roles, their numbers, and the target's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy
from numpy.typing import NDArray

from dltrain.data.arrays import LARGEST
from dltrain.data.cleaning import clean_category
from dltrain.data.numbers import MISSING, parse_number
from dltrain.data.tables.date_parts import PARTS
from dltrain.data.tables.files import Column, Table, format_cell, format_texts
from dltrain.data.wording import join_some, suggest_name
from dltrain.errors import DataError, UsageError

Numbers = NDArray[numpy.float64]

_FILL_IN_TARGET = "fill it in, or leave such rows out with data.missing_target: drop"


def parse_numbers(table: Table, name: str, hint: str) -> Numbers:
    """Parse a column, (N,) float64, NaN for a missing number. Raises DataError, with the position and the advice
    `hint`, for other texts and for numbers that are infinite or larger than LARGEST.
    """
    column = table.columns[name]
    numbers = column if column.dtype != object else convert_numbers(column)
    if numbers is None:
        row, text = next((row, text) for row, text in enumerate(column) if parse_number(text) is None)
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
    numbers = [parse_number(text) for text in column]
    return None if None in numbers else numpy.array(numbers, float)


def holds_numbers(table: Table, name: str) -> bool:
    """Return whether all values of a column that are not missing, or most of them, are numbers.

    In the latter case reading it reports the others, which is better than treating numbers as categories.
    """
    column = table.columns[name]
    if column.dtype != object or convert_numbers(column) is not None:
        return True
    numbers = [parse_number(text) for text in column]
    texts = sum(number is None for number in numbers)
    return texts < sum(number is not None and number == number for number in numbers)


TargetKind = Literal["auto", "numbers", "labels"]


@dataclass(frozen=True)
class Roles:
    """The purpose of each column of a table, and its conversion to numbers; the options of the same names."""

    target: Sequence[str]
    target_holds: TargetKind = "auto"
    features: Sequence[str] | None = None
    ignore: Sequence[str] = ()
    categorical: Sequence[str] | None = None
    group: str | None = None
    weight: str | None = None
    missing: Literal["error", "mean"] = "error"
    missing_target: Literal["error", "drop"] = "error"
    normalize: Literal["standard", "none"] = "standard"
    normalize_target: Literal["standard", "none"] = "standard"
    dates: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in self.target:
            if name in (self.features or ()):
                raise UsageError(
                    f"data.features: '{name}' is the target; a model that reads its target learns nothing",
                    advice="leave it out of data.features",
                )
            if name in self.dates:
                raise UsageError(
                    f"data.dates: '{name}' is the target, not an input", advice="leave it out of data.dates"
                )
            if name in (self.categorical or ()):
                raise UsageError(
                    f"data.categorical: '{name}' is the target, not an input",
                    advice="leave it out of data.categorical; data.target_holds: labels makes it classes",
                )
        if self.features is not None and self.ignore:
            raise UsageError("data.features and data.ignore are both given", advice="give one of the two")
        for option in ("group", "weight"):
            if (name := getattr(self, option)) is not None and name in (*self.target, *(self.features or ())):
                raise UsageError(f"data.{option}: '{name}' is the target or a feature too; it can be only one of these")
        for option in ("target", "features", "categorical", "dates"):
            names = getattr(self, option) or ()
            if twice := [name for name in names if names.count(name) > 1]:
                raise UsageError(f"data.{option}: '{twice[0]}' is named twice; name each column once")

    def select_inputs(self, table: Table) -> list[str]:
        """Return the columns to read, the parts of dates in the place of these.

        Raises UsageError if a named one is missing, or none is left.
        """
        for option in ("target", "features", "ignore", "categorical", "group", "weight"):
            named = getattr(self, option) or ()
            for name in (named,) if isinstance(named, str) else named:
                if name not in table.columns and not self._is_part(name):
                    raise UsageError(table.describe_missing(name), advice=f"correct data.{option}")
        excluded = (*self.target, *self.ignore, self.group, self.weight)
        named = self.features or [name for name in table.columns if name not in table.derived]
        parts = {date: [part for part, made in table.derived.items() if made["column"] == date] for date in self.dates}
        chosen = [
            part for name in named if name not in excluded for part in parts.get(name, [name]) if part not in excluded
        ]
        if not chosen:
            message = f"{table.name}: no column is left to learn from; found {', '.join(table.columns)}"
            raise UsageError(message, advice="shorten data.ignore, or name other data.features")
        if lost := [name for name in self.categorical or () if name not in chosen]:
            message = f"data.categorical: '{lost[0]}' is not among the features: {', '.join(chosen)}"
            raise UsageError(message, advice="correct data.categorical, or add the column to data.features")
        return chosen

    def _is_part(self, name: str) -> bool:
        """Whether a name is that of a part of a date, which only the training table has for sure."""
        return any(name == f"{date} {part}" for date in self.dates for part in PARTS)


def find_unlabelled(table: Table, names: Sequence[str]) -> NDArray[numpy.bool_]:
    """Find the rows without a value in one of the targets, (N,)."""
    _check_target(table, names)
    missing = numpy.zeros(len(table), bool)
    for name in names:
        column = table.columns[name]
        absent = numpy.isnan(column) if column.dtype != object else format_texts(column) == ""
        if column.dtype == object and holds_numbers(table, name):
            absent |= numpy.array([text.strip().lower() in MISSING for text in column])
        missing |= absent
    return missing


def find_classes(table: Table, roles: Roles, needed: str | None = None) -> list[str] | None:
    """Return the labels of a table's target, numbers in order and texts alphabetically; None for a numeric target.

    With `target_holds` auto, texts and columns of only 0 and 1 are labels, and all whole numbers if labels are
    `needed`. Raises UsageError for several columns of labels, and DataError for fractions where labels are needed.
    """
    if roles.target_holds == "numbers":
        return None
    roles.select_inputs(table)
    texts = {name: not holds_numbers(table, name) for name in roles.target}
    if len(roles.target) > 1:
        labelled = [name for name, text in texts.items() if text or roles.target_holds == "labels"]
        if labelled:
            raise UsageError(
                f"data.target: '{labelled[0]}' holds labels; several targets can only be numbers",
                advice="name one column, or set data.target_holds: numbers",
            )
        return None
    (name,) = roles.target
    if texts[name]:
        return sorted(set(_read_labels(table, name)))
    numbers = numpy.unique(_read_numbers(table, name))
    if needed == "labels" and roles.target_holds == "auto":
        column = _read_numbers(table, name)
        fractions, first = column % 1 != 0, f"{column[column % 1 != 0][:1]}".strip("[]")
        message = f"the task needs labels, but {first} is a fraction"
        table.refuse(name, fractions, message, "use task regression, or set data.target_holds: labels")
        return [format_cell(number) for number in numbers.tolist()]
    if roles.target_holds == "labels" or set(numbers) <= {0.0, 1.0}:
        return [format_cell(number) for number in numbers.tolist()]
    return None


def _read_labels(table: Table, name: str) -> Column:
    """Read a target's texts (N,); whole numbers without a point, so that 1.0 is the label 1."""
    numbers = table.columns[name] if table.columns[name].dtype != object else convert_numbers(table.columns[name])
    labels = format_texts(table.columns[name] if numbers is None else numbers)
    table.refuse(name, labels == "", "no label", _FILL_IN_TARGET)
    return labels


def _read_numbers(table: Table, name: str) -> Numbers:
    numbers = parse_numbers(table, name, "correct the value, or set data.target_holds: labels if it holds labels")
    table.refuse(name, numpy.isnan(numbers), "no number", _FILL_IN_TARGET)
    return numbers


def read_targets(table: Table, names: Sequence[str]) -> Numbers:
    """Read numeric targets, (N, K) float64. Raises DataError, with the position, for other values."""
    _check_target(table, names)
    return numpy.stack([_read_numbers(table, name) for name in names], 1)


def encode_labels(table: Table, name: str, labels: Sequence[str]) -> NDArray[numpy.int64]:
    """Encode labels as indices into `labels`, (N,). Raises DataError, with the position, for an unknown one."""
    _check_target(table, [name])
    indices = index_texts(labels)
    found = _read_labels(table, name)
    codes = numpy.array([indices.get(text, -1) for text in found], numpy.int64)
    if (unknown := codes < 0).any():
        label = found[unknown][0]
        known = f"{join_some(labels, 20)}{suggest_name(label, labels)}"
        message = f"the label '{label}' is not among those trained on: {known}"
        table.refuse(name, unknown, message, "correct the label, remove the row, or train with rows that have it")
    return codes


def index_texts(texts: Sequence[str]) -> dict[str, int]:
    """Index labels or categories by their clean form, which those of a run of an older version may not have."""
    return {clean_category(text): index for index, text in reversed(list(enumerate(texts)))}


def read_weights(table: Table, name: str) -> Numbers:
    """Read the rows' weights, (N,) float64. Raises DataError, with the position, for a missing or negative one."""
    if name not in table.columns:
        raise DataError(table.describe_missing(name), advice="give the column of weights that was trained with")
    weights = parse_numbers(table, name, "correct the weight, or remove the row")
    wrong = ~(weights >= 0)
    message = f"the weight is {format_cell(weights[wrong][0]) or 'missing'}" if wrong.any() else ""
    table.refuse(name, wrong, f"{message}; expected is a number from 0", "correct the weight, or remove the row")
    return weights


def _check_target(table: Table, names: Sequence[str]) -> None:
    for name in names:
        if name not in table.columns:
            raise DataError(table.describe_missing(name), advice="give the target that was trained on")
