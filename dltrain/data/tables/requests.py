"""Rows of tables in requests to `dltrain serve`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dltrain.data.tables.features import FeatureEncoder
from dltrain.errors import DataError

_SCALARS = (str, int, float, type(None))


class TableForm:
    """A row: an object of cells by column, or a list of cells in the order of training's columns."""

    text = "a row: an object of cells by column, or a list of cells in the columns' order; null is a missing cell"
    suffixes = (".csv", ".tsv", ".jsonl")

    def __init__(self, assets: Mapping[str, Any]) -> None:
        self._columns = list(dict.fromkeys(FeatureEncoder(assets["features"]).columns))
        features = {feature["name"]: feature for feature in assets["features"]}
        self.example = {column: _choose_cell(features.get(column)) for column in self._columns}

    def convert(self, value: Any) -> Any:
        if isinstance(value, list):
            if len(value) != len(self._columns):
                read = ", ".join(self._columns)
                message = f"found a row of {len(value)} cells; the model reads {len(self._columns)}: {read}"
                raise DataError(message, advice=_ADVICE)
            value = dict(zip(self._columns, value, strict=True))
        if not isinstance(value, dict):
            raise DataError(f"found {type(value).__name__}, which is no row", advice=_ADVICE)
        for column, cell in value.items():
            if not isinstance(cell, _SCALARS):
                raise DataError(f"column '{column}': found {type(cell).__name__}; allowed is a number, a text or null")
        return {column: _limit(cell) for column, cell in value.items()}


_ADVICE = 'give rows as objects, such as {"width": 2.5, "colour": "red"}; GET / shows an example'


def _limit(cell: Any) -> Any:
    """An integer of JSON may have more digits than a float; such a cell is infinite, which the reader reports."""
    if isinstance(cell, int) and not isinstance(cell, bool) and abs(cell) > 1 << 1000:
        return float("inf")
    return cell


def _choose_cell(feature: Mapping[str, Any] | None) -> Any:
    """A cell that training has seen: the first category, or the mean; of a date any."""
    if feature is None:
        return "2026-01-31"
    if categories := feature.get("categories"):
        return categories[0]
    return float(f"{feature['fill']:.3g}")
