"""The columns of a table as a model's inputs, and its target as numbers or classes; what is learned is plain JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy
from numpy.typing import NDArray

from dltrain.data.tables.files import Column, Table, format_cell, format_texts
from dltrain.errors import DataError, UsageError

Assets = Mapping[str, Any]
Numbers = NDArray[numpy.float64]
Holds = Literal["auto", "numbers", "labels"]

LARGEST = float(numpy.finfo(numpy.float32).max)
"""The largest number that a model can be given."""
MISSING = ("", "na", "n/a", "nan", "null", "none", "?")
"""What stands in a column of numbers, in lower case, where there is none."""
MANY_CATEGORIES = 50
"""A column of more different texts than this, more than one for two rows, is taken for names, not for categories."""


@dataclass(frozen=True)
class Roles:
    """What each column of a table is for, and how it becomes numbers; the options of the same names."""

    target: tuple[str, ...]
    target_holds: Holds = "auto"
    features: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] | None = None
    group: str | None = None
    missing: Literal["error", "mean"] = "error"
    normalize: Literal["standard", "none"] = "standard"
    normalize_target: Literal["standard", "none"] = "standard"

    def __post_init__(self) -> None:
        self._check_target_apart()
        if self.features is not None and self.ignore:
            raise UsageError("data.features and data.ignore are both given", advice="give one of the two")
        if self.group is not None and self.group in (*self.target, *(self.features or ())):
            raise UsageError(f"data.group: '{self.group}' is the target or a feature too; it can be only one of these")
        for option in ("target", "features", "categorical"):
            names = getattr(self, option) or ()
            if twice := [name for name in names if names.count(name) > 1]:
                raise UsageError(f"data.{option}: '{twice[0]}' is named twice; name each column once")

    def _check_target_apart(self) -> None:
        for name in self.target:
            if name in (self.features or ()):
                raise UsageError(
                    f"data.features: '{name}' is the target; a model that is given the answer learns nothing",
                    advice="leave it out of data.features",
                )
            if name in (self.categorical or ()):
                raise UsageError(
                    f"data.categorical: '{name}' is the target, not an input",
                    advice="leave it out of data.categorical; data.target_holds: labels makes it classes",
                )

    def inputs(self, table: Table) -> list[str]:
        """The columns that are read. Raises UsageError where one that was named is not there, or none is left."""
        for option in ("target", "features", "ignore", "categorical", "group"):
            named = getattr(self, option) or ()
            for name in (named,) if isinstance(named, str) else named:
                if name not in table.columns:
                    raise UsageError(f"{table.absent(name)}", advice=f"mend data.{option}")
        apart = (*self.target, *self.ignore, self.group)
        chosen = [name for name in self.features or table.columns if name not in apart]
        if not chosen:
            raise UsageError(f"{table.name}: no column is left to learn from; found {', '.join(table.columns)}")
        if lost := [name for name in self.categorical or () if name not in chosen]:
            raise UsageError(f"data.categorical: '{lost[0]}' is not among the features: {', '.join(chosen)}")
        return chosen


def parse_numbers(table: Table, name: str, hint: str) -> Numbers:
    """A column (N,) float64, NaN where a number is missing. Raises DataError, naming the place, for other texts and
    what is infinite or larger than LARGEST; `hint` says what the user may do.
    """
    column = table.columns[name]
    numbers = column if column.dtype != object else _converted(column)
    if numbers is None:
        row, text = next((row, text) for row, text in enumerate(column) if _number(text) is None)
        raise DataError(f"{table.place(row, name)}: '{text.strip()[:60]}' is not a number", advice=hint)
    if len(rows := numpy.flatnonzero(numpy.isinf(numbers))):
        raise DataError(
            f"{table.place(int(rows[0]), name)}: the number is infinite; expected is a finite one", advice=hint
        )
    if len(rows := numpy.flatnonzero(numpy.abs(numbers) > LARGEST)):
        raise DataError(
            f"{table.place(int(rows[0]), name)}: {numbers[rows[0]]:g} is too large; expected is a number between "
            f"{-LARGEST:.2g} and {LARGEST:.2g}",
            advice=hint,
        )
    return numbers


def measure_deviation(numbers: Numbers) -> float:
    """The standard deviation of numbers (N,); 1 where they are so near to each other that it cannot be told from 0."""
    return float(numbers.std()) or 1.0


def standardize_column(table: Table, name: str, numbers: Numbers, mean: float, std: float) -> NDArray[numpy.float32]:
    """A column's `numbers` (N,) by the mean and standard deviation of its training rows, (N,) float32.

    Raises DataError, naming the place, for a number so far from these that float32 cannot hold the distance.
    """
    with numpy.errstate(over="ignore"):
        scaled = ((numbers - mean) / std).astype(numpy.float32)
    if len(rows := numpy.flatnonzero(~numpy.isfinite(scaled))):
        raise DataError(
            f"{table.place(int(rows[0]), name)}: {numbers[rows[0]]:g} is too far from the training rows' numbers (mean "
            f"{mean:g}, standard deviation {std:g})",
            advice="mend the value, or remove the row",
        )
    return scaled


def _converted(column: Column) -> Numbers | None:
    """Texts as numbers; None where one of them is none."""
    if not any("_" in text for text in column):  # which Python allows in numbers
        try:
            return column.astype(float)
        except ValueError:
            pass
    numbers = [_number(text) for text in column]
    return None if None in numbers else numpy.array(numbers, float)


def _number(text: str) -> float | None:
    """NaN for what stands for a missing number, None for another text."""
    if text.strip().lower() in MISSING:
        return numpy.nan
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def holds_numbers(table: Table, name: str) -> bool:
    """Whether a column is one of numbers: all of its values that are not missing are, or most of them.

    In the latter case reading it will name the one that is not, which is better than taking numbers for categories.
    """
    column = table.columns[name]
    if column.dtype != object or _converted(column) is not None:
        return True
    numbers = [_number(text) for text in column]
    texts = sum(number is None for number in numbers)
    return texts < sum(number is not None and number == number for number in numbers)


def learn_features(table: Table, training: NDArray[Any], roles: Roles) -> list[dict[str, Any]]:
    """How each column becomes inputs, by the `training` rows of the table, as plain JSON; see `encoded`.

    Raises DataError for a column that holds no value, or texts which are all different, and UsageError as `Roles`.
    """
    features = []
    for name in roles.inputs(table):
        named = roles.categorical is not None and name in roles.categorical
        if named or (roles.categorical is None and not holds_numbers(table, name)):
            features.append(_category(table, training, name, named, roles.missing))
        else:
            features.append(_quantity(table, training, name, roles))
    return features


def _quantity(table: Table, training: NDArray[Any], name: str, roles: Roles) -> dict[str, Any]:
    numbers = parse_numbers(table, name, _MEND_FEATURE.format(name=name))
    if roles.missing == "error":
        _check_known(table, name, numpy.isnan(numbers), _FILL_IN)
    known = numbers[training][~numpy.isnan(numbers[training])]
    if not len(known):
        raise DataError(_EMPTY.format(table=table.name, name=name), advice="leave it out with data.ignore")
    constant = bool(known.min() == known.max())
    mean = float(known[0]) if constant else float(known.mean())
    return {
        "name": name,
        "kind": "number",
        "constant": constant,
        "missing": roles.missing,
        "fill": mean,
        "mean": mean if roles.normalize == "standard" else 0.0,
        "std": measure_deviation(known) if roles.normalize == "standard" and not constant else 1.0,
    }


def _category(table: Table, training: NDArray[Any], name: str, named: bool, missing: str) -> dict[str, Any]:
    texts = format_texts(table.columns[name])
    if missing == "error":
        _check_known(table, name, texts == "", _FILL_IN)
    different = len(set(texts))
    if not named and different > max(MANY_CATEGORIES, len(texts) // 2):
        raise DataError(
            f"{table.name}: column '{name}' holds {different} different texts in {len(texts)} rows; each would become "
            "an input",
            advice="leave it out with data.ignore, or name it in data.categorical to have it so",
        )
    known = sorted(set(texts[training]) - {""})
    if not known:
        raise DataError(_EMPTY.format(table=table.name, name=name), advice="leave it out with data.ignore")
    return {
        "name": name,
        "kind": "category",
        "constant": len(known) == 1,
        "missing": missing,
        "categories": known,
    }


_EMPTY = "{table}: column '{name}' holds no value in the training rows"
_MEND_FEATURE = (
    "mend the value, or name '{name}' in data.categorical if it holds categories, or leave it out with data.ignore"
)
_FILL_IN = "fill it in, or set data.missing: mean, or leave the column out with data.ignore"
_FILL_IN_LATER = "fill it in, or train with data.missing: mean"


def _check_known(table: Table, name: str, missing: NDArray[Any], hint: str) -> None:
    if len(rows := numpy.flatnonzero(missing)):
        others = f" (and in {len(rows) - 1} other rows)" if len(rows) > 1 else ""
        raise DataError(f"{table.place(int(rows[0]), name)}: no value{others}", advice=hint)


def name_inputs(features: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each input is: a column, or a column and one of its categories."""
    names = []
    for feature in features:
        column = feature["name"]
        names += [f"{column}={one}" for one in feature["categories"]] if "categories" in feature else [column]
    return names


class FeatureEncoder:
    """Turns tables into inputs as the `features` of a checkpoint's assets say.

    `unknown` gathers, by column, the categories that training did not know; these are zero in all of their inputs.
    """

    def __init__(self, features: Sequence[Mapping[str, Any]]) -> None:
        self._features = features
        self.columns = [feature["name"] for feature in features]
        self.unknown: defaultdict[str, set[str]] = defaultdict(set)

    def inputs(self, table: Table) -> NDArray[numpy.float32]:
        """(N, F) float32. Raises DataError where a column is not there, and for each value that is none of its kind."""
        parts: list[NDArray[numpy.float32]] = []
        for feature in self._features:
            if feature["name"] not in table.columns:
                columns = ", ".join(self.columns)
                raise DataError(f"{table.absent(feature['name'])}", advice=f"give the columns of training: {columns}")
            parts.append(self._one_hot(table, feature) if "categories" in feature else _scaled(table, feature))
        return numpy.concatenate(parts, 1)

    def _one_hot(self, table: Table, feature: Mapping[str, Any]) -> NDArray[numpy.float32]:
        texts = format_texts(table.columns[feature["name"]])
        if feature["missing"] == "error":
            _check_known(table, feature["name"], texts == "", _FILL_IN_LATER)
        places = {category: place for place, category in enumerate(feature["categories"])}
        rows = numpy.zeros((len(texts), len(places)), numpy.float32)
        for row, text in enumerate(texts):
            if text in places:
                rows[row, places[text]] = 1
            elif text:
                self.unknown[feature["name"]].add(text)
        return rows

    def notes(self) -> list[str]:
        """What the user should know of the categories that training did not know."""
        return [
            f"column '{name}': {_some(sorted(texts))} not among the categories trained on; none of them was counted"
            for name, texts in self.unknown.items()
        ]


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return ", ".join(map(repr, texts[:5])) + more + (" is" if len(texts) == 1 else " are")


def _scaled(table: Table, feature: Mapping[str, Any]) -> NDArray[numpy.float32]:
    numbers = parse_numbers(table, feature["name"], "mend the value")
    missing = numpy.isnan(numbers)
    if feature["missing"] == "error":
        _check_known(table, feature["name"], missing, _FILL_IN_LATER)
    numbers = numpy.where(missing, feature["fill"], numbers)
    return standardize_column(table, feature["name"], numbers, feature["mean"], feature["std"])[:, None]


def find_classes(table: Table, roles: Roles) -> list[str] | None:
    """The labels of a table's target, numbers in their order and texts in that of the alphabet; None for numbers.

    Without being told, texts, and columns of nothing but 0 and 1, are labels. Raises UsageError for several columns of
    labels.
    """
    if roles.target_holds == "numbers":
        return None
    roles.inputs(table)
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
        return sorted(set(_labels(table, name)))
    numbers = numpy.unique(_known_numbers(table, name))
    if roles.target_holds == "labels" or set(numbers) <= {0.0, 1.0}:
        return [format_cell(number) for number in numbers.tolist()]
    return None


def _labels(table: Table, name: str) -> Column:
    """A target's texts (N,); numbers as people write them, so that 1.0 is the label 1."""
    numbers = table.columns[name] if table.columns[name].dtype != object else _converted(table.columns[name])
    labels = format_texts(table.columns[name] if numbers is None else numbers)
    if len(rows := numpy.flatnonzero(labels == "")):
        raise DataError(f"{table.place(int(rows[0]), name)}: no label", advice="fill it in, or remove the row")
    return labels


def _known_numbers(table: Table, name: str) -> Numbers:
    numbers = parse_numbers(table, name, "mend the value, or set data.target_holds: labels if the target holds labels")
    if len(rows := numpy.flatnonzero(numpy.isnan(numbers))):
        raise DataError(f"{table.place(int(rows[0]), name)}: no number", advice="fill it in, or remove the row")
    return numbers


def read_targets(table: Table, names: Sequence[str]) -> Numbers:
    """(N, K) float64. Raises DataError, naming the place, for what is no number that a model can be given."""
    _check_target(table, names)
    return numpy.stack([_known_numbers(table, name) for name in names], 1)


def encode_labels(table: Table, name: str, labels: Sequence[str]) -> NDArray[numpy.int64]:
    """The place of each row's label among `labels`, (N,). Raises DataError, naming the place, for another label."""
    _check_target(table, [name])
    places = {label: place for place, label in enumerate(labels)}
    found = _labels(table, name)
    codes = numpy.array([places.get(text, -1) for text in found], numpy.int64)
    if len(rows := numpy.flatnonzero(codes < 0)):
        label = found[rows[0]]
        near = get_close_matches(label, labels, 1)
        guess = f"\ndid you mean '{near[0]}'?" if near else ""
        raise DataError(
            f"{table.place(int(rows[0]), name)}: the label '{label}' is not among those trained on: "
            f"{', '.join(labels[:20])}{', ...' * (len(labels) > 20)}{guess}",
            advice="mend the label, or remove the row, or train with rows that have it",
        )
    return codes


def _check_target(table: Table, names: Sequence[str]) -> None:
    for name in names:
        if name not in table.columns:
            raise DataError(f"{table.absent(name)}", advice="give the target that was trained on")
