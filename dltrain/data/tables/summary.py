"""What was read of a table: its splits, its columns, and the changes made to its values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from dltrain.batch import Examples
from dltrain.data.numbers import parse_number
from dltrain.data.tables.columns import Roles
from dltrain.data.tables.features import name_inputs
from dltrain.data.tables.files import Table
from dltrain.data.wording import join_some
from dltrain.dataset import ColumnSummary, SplitName, SplitSummary, Treatment

_NAMED = 5
_NUMERIC = re.compile(r"""["']?\s*[-+]?\s*[$€£¥]?\s*(\d{1,3}([.,'\s]\d{3})+|\d+)([.,]\d+)?\s*[$€£¥%]?\s*["']?""")
"""A number as spreadsheets write it: quoted, with thousands separators, a decimal comma, currency or percent sign."""


@dataclass(frozen=True, kw_only=True)
class EncodedSplit:
    """The rows of a split, and by column the missing values that were replaced and the unknown categories, counted."""

    rows: Examples
    replaced: Mapping[str, int]
    unknown: Mapping[str, Counter[str]]


def summarize_split(
    name: SplitName, encoded: EncodedSplit, files: Sequence[str], labels: Sequence[str] | None
) -> SplitSummary:
    classes: Mapping[str, int] = {}
    if labels is not None:
        counts = numpy.bincount(encoded.rows.targets.numpy(), minlength=len(labels))
        classes = dict(zip(labels, counts.tolist(), strict=True))
    return SplitSummary(name=name, examples=encoded.rows.count, files=tuple(files), classes=classes)


def summarize_inputs(features: Sequence[Mapping[str, Any]], training: EncodedSplit) -> Iterator[ColumnSummary]:
    """Summarise the columns that are inputs, by their encoded training rows."""
    inputs, targets = training.rows.inputs.numpy(), training.rows.targets.numpy()
    first = 0
    for feature in features:
        values = inputs[:, first : first + len(name_inputs([feature]))]
        first += values.shape[1]
        categories = "categories" in feature
        codes = (values * numpy.arange(1, values.shape[1] + 1)).sum(1) if categories else values[:, 0]
        facts: dict[str, Any] = {"missing": training.replaced.get(feature["name"], 0)}
        if categories:
            facts["distinct"] = len(feature["categories"])
            if (text := find_numeric_text(feature["categories"])) is not None:
                facts["numbers_as"] = text
        else:
            facts |= {"distinct": len(numpy.unique(codes)), "mean": feature["fill"]}
            if targets.ndim == 2 and targets.shape[1] == 1:
                facts["correlation"] = _correlate(codes, targets[:, 0])
        if targets.ndim == 1:
            facts["determines_target"] = len(numpy.unique(codes)) == len(numpy.unique(_pair(codes, targets), axis=0))
        yield ColumnSummary(
            name=feature["name"], role="input", kind="categories" if categories else "numbers", facts=facts
        )


def find_numeric_text(categories: Sequence[str]) -> str | None:
    """Find a category that is a number with separators or signs, such as 1,234 or 5 %, if all of them are numbers."""
    decorated = [text for text in categories if parse_number(text) is None]
    return decorated[0] if len(categories) > 1 and decorated and all(map(_NUMERIC.fullmatch, categories)) else None


def _pair(codes: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
    return numpy.stack([codes, targets.astype(codes.dtype)], 1)


def _correlate(values: NDArray[Any], targets: NDArray[Any]) -> float | None:
    """Correlate inputs and a target (N,) each; None where one of them is constant."""
    x, y = (each.astype(numpy.float64) - each.astype(numpy.float64).mean() for each in (values, targets))
    scale = numpy.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else None


def summarize_others(
    table: Table, roles: Roles, features: Sequence[Mapping[str, Any]], training: EncodedSplit
) -> Iterator[ColumnSummary]:
    """Summarise the columns of the training rows that are no input."""
    targets = training.rows.targets.numpy()
    kind = "labels" if targets.ndim == 1 else "numbers"
    for name, values in zip(roles.target, numpy.atleast_2d(targets.T), strict=True):
        yield ColumnSummary(name=name, role="target", kind=kind, facts={"distinct": len(numpy.unique(values))})
    if roles.group is not None:
        groups = len(set(table.columns[roles.group].tolist()))
        yield ColumnSummary(name=roles.group, role="group", kind="categories", facts={"distinct": groups})
    if roles.weight is not None:
        yield ColumnSummary(name=roles.weight, role="weight", kind="numbers")
    for name in roles.dates:
        yield ColumnSummary(name=name, role="dates", kind="dates")
    used = {*(feature["name"] for feature in features), *roles.target, *roles.dates, roles.group, roles.weight}
    for name, column in table.columns.items():
        if name not in used:
            yield ColumnSummary(name=name, role="ignored", kind="text" if column.dtype == object else "numbers")


def list_treatments(features: Sequence[Mapping[str, Any]], splits: Mapping[SplitName, EncodedSplit]) -> list[Treatment]:
    """List the replaced values and the unknown categories of each split."""
    means = {feature["name"]: feature.get("fill") for feature in features}
    found = []
    for split, encoded in splits.items():
        for name, count in encoded.replaced.items():
            mean = means[name]
            value = "no category" if mean is None else f"the training rows' mean, {mean:.6g}"
            what = f"column '{name}': no value in {split}; replaced by {value}"
            found.append(Treatment(what=what, count=count, total=encoded.rows.count, option="data.missing"))
        for name, texts in encoded.unknown.items():
            which = join_some([repr(text) for text in sorted(texts)], _NAMED)
            what = f"column '{name}': {which} in {split}, not among the categories trained on; ignored"
            found.append(Treatment(what=what, count=texts.total(), total=encoded.rows.count))
    return found
