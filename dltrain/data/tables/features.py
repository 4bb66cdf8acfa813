"""Input features: what is learned from the training rows, as plain JSON, and the encoding of tables by it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from dltrain.data.cleaning import clean_text
from dltrain.data.layout import Layout, restore_layout
from dltrain.data.tables.columns import (
    Roles,
    holds_numbers,
    index_texts,
    measure_deviation,
    parse_numbers,
    standardize_column,
)
from dltrain.data.tables.date_parts import restore_dates
from dltrain.data.tables.files import Table, format_texts
from dltrain.data.tables.formats import convert_columns, restore_formats
from dltrain.data.wording import join_some
from dltrain.errors import DataError

MANY_CATEGORIES = 50
"""A column of more different texts than this, and more than one for two rows, is assumed to hold names."""


def learn_features(table: Table, training: NDArray[Any], roles: Roles) -> list[dict[str, Any]]:
    """Learn from the `training` rows how each column becomes inputs, as plain JSON for `FeatureEncoder`.

    Raises DataError for a column without values, or with too many different texts, and UsageError as `Roles`.
    """
    features = []
    for name in roles.select_inputs(table):
        named = roles.categorical is not None and name in roles.categorical
        derived = name in table.derived
        by_content = roles.categorical is None or derived
        if named or (by_content and not holds_numbers(table, name)):
            learned = _learn_category(table, training, name, named=named or derived, missing=roles.missing)
        else:
            learned = _learn_quantity(table, training, name, roles)
        features.append({**learned, "date": dict(table.derived[name])} if derived else learned)
    return features


def _learn_quantity(table: Table, training: NDArray[Any], name: str, roles: Roles) -> dict[str, Any]:
    numbers = parse_numbers(table, name, _CORRECT_FEATURE.format(name=name))
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


def holds_names(texts: NDArray[Any]) -> bool:
    """Whether a column of texts (N,) has so many different ones that they are names, not categories."""
    return len(set(texts)) > max(MANY_CATEGORIES, len(texts) // 2)


def _learn_category(table: Table, training: NDArray[Any], name: str, *, named: bool, missing: str) -> dict[str, Any]:
    texts = format_texts(table.columns[name])
    if missing == "error":
        _check_known(table, name, texts == "", _FILL_IN)
    if not named and holds_names(texts):
        raise DataError(
            f"{table.name}: column '{name}' holds {len(set(texts))} different texts in {len(texts)} rows; each would "
            "become an input",
            advice="leave it out with data.ignore, or confirm it by naming it in data.categorical",
        )
    known = sorted(set(texts[training]) - {""})
    if not known:
        raise DataError(_EMPTY.format(table=table.name, name=name), advice="leave it out with data.ignore")
    return {"name": name, "kind": "category", "constant": len(known) == 1, "missing": missing, "categories": known}


_EMPTY = "{table}: column '{name}' holds no value in the training rows"
_CORRECT_FEATURE = (
    "correct the value, or name '{name}' in data.categorical if it holds categories, or leave it out with data.ignore"
)
_FILL_IN = "fill it in, or set data.missing: mean, or leave the column out with data.ignore"
_FILL_IN_LATER = "fill it in, or train with data.missing: mean"


def _check_known(table: Table, name: str, missing: NDArray[Any], hint: str) -> None:
    others = f" (and in {missing.sum() - 1} other rows)" if missing.sum() > 1 else ""
    table.refuse(name, missing, f"no value{others}", hint)


def restore_table_layout(assets: Mapping[str, Any], layout: Layout | None = None) -> Layout:
    """The layout of the files of a trained model; those of an older version kept quotation marks in .tsv files."""
    features = assets["features"]
    names = [*assets.get("target", {}).get("columns", ()), *(feature["name"] for feature in features)]
    texts = [text for feature in features for text in feature.get("categories", ())]
    return restore_layout(assets, [*names, *texts, *(assets.get("labels") or ())], layout)


def name_inputs(features: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name each input: a column, or a column and one of its categories."""
    names = []
    for feature in features:
        column = feature["name"]
        names += [f"{column}={one}" for one in feature["categories"]] if "categories" in feature else [column]
    return names


class FeatureEncoder:
    """Encodes tables as inputs by the `features` of a checkpoint's assets.

    `unknown` counts, by column, the categories not seen in training; they are zero in all of their inputs. `replaced`
    counts, by column, the missing values.
    """

    def __init__(self, features: Sequence[Mapping[str, Any]]) -> None:
        self._features = [{**feature, "name": clean_text(feature["name"])} for feature in features]
        self._formats = restore_formats(features)
        sources = [clean_text(feature.get("date", {}).get("column", feature["name"])) for feature in self._features]
        self.columns = list(dict.fromkeys(sources))
        self.unknown: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.replaced: Counter[str] = Counter()

    def inputs(self, table: Table) -> NDArray[numpy.float32]:
        """Encode a table, (N, F) float32. Raises DataError for a missing column, and for a value of another kind."""
        parts: list[NDArray[numpy.float32]] = []
        table = restore_dates(convert_columns(table, self._formats, known=True), self._features)
        for feature in self._features:
            if feature["name"] not in table.columns:
                columns = ", ".join(self.columns)
                message = table.describe_missing(feature["name"])
                raise DataError(message, advice=f"give the columns of training: {columns}")
            encode = self._encode_one_hot if "categories" in feature else self._scale
            parts.append(encode(table, feature))
        return numpy.concatenate(parts, 1)

    def _encode_one_hot(self, table: Table, feature: Mapping[str, Any]) -> NDArray[numpy.float32]:
        texts = format_texts(table.columns[feature["name"]])
        self._handle_missing(table, feature, texts == "")
        indices = index_texts(feature["categories"])
        places = numpy.array([indices.get(text, -1) for text in texts])
        rows = numpy.zeros((len(texts), len(feature["categories"])), numpy.float32)
        known = places >= 0
        rows[numpy.flatnonzero(known), places[known]] = 1
        if unknown := Counter(text for text in texts[~known] if text):
            self.unknown[feature["name"]] += unknown
        return rows

    def _scale(self, table: Table, feature: Mapping[str, Any]) -> NDArray[numpy.float32]:
        numbers = parse_numbers(table, feature["name"], "correct the value")
        missing = numpy.isnan(numbers)
        self._handle_missing(table, feature, missing)
        numbers = numpy.where(missing, feature["fill"], numbers)
        return standardize_column(table, feature["name"], numbers, mean=feature["mean"], std=feature["std"])[:, None]

    def _handle_missing(self, table: Table, feature: Mapping[str, Any], missing: NDArray[Any]) -> None:
        """Count missing values (N,), or refuse the first one."""
        if feature["missing"] == "error":
            _check_known(table, feature["name"], missing, _FILL_IN_LATER)
        elif missing.any():
            self.replaced[feature["name"]] += int(missing.sum())

    def list_categories(self, column: str) -> Sequence[str] | None:
        """The categories of a column; None for one of numbers, or one that is not read."""
        found = (feature.get("categories") for feature in self._features if feature["name"] == clean_text(column))
        return next(found, None)

    def notes(self) -> list[str]:
        """Report the categories that were not seen in training."""
        return describe_unknown(self.unknown)


def describe_unknown(unknown: Mapping[str, Mapping[str, int]], source: str = "") -> list[str]:
    """Report categories that were not seen in training, counted by column; `source` completes "column 'x'"."""
    notes = []
    for name, texts in unknown.items():
        found = join_some([repr(text) for text in sorted(texts)], 5) + (" is" if len(texts) == 1 else " are")
        notes.append(f"column '{name}'{source}: {found} not among the categories trained on; they were ignored")
    return notes
