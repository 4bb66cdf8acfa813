"""Series in requests to `dltrain serve`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy

from dltrain.data.series.scaling import count_rows
from dltrain.errors import DataError


class SeriesForm:
    """A series: an object of lists by column, a list of rows, or a list of numbers where there is one column."""

    suffixes = (".csv", ".tsv", ".jsonl")

    def __init__(self, assets: Mapping[str, Any]) -> None:
        self._columns: list[str] = list(assets["columns"])
        rows = count_rows(assets)
        self.text = f"a series of at least {rows} steps, oldest first: an object of lists by column, or a list of rows"
        self.example = {column: [0.5] * rows for column in self._columns}

    def convert(self, value: Any) -> Any:
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            value = {column: [row.get(column) for row in value] for column in self._columns}
        if isinstance(value, dict):
            lists = [column for column, cells in value.items() if not isinstance(cells, list)]
            if lists:
                raise DataError(f"column '{lists[0]}': expected is a list of numbers", advice=_ADVICE)
            return value
        try:
            array = numpy.array(value, numpy.float64)
        except (TypeError, ValueError, OverflowError):
            array = numpy.empty(())
        if not isinstance(value, list) or array.ndim not in (1, 2):
            raise DataError(f"found {type(value).__name__}; expected is a series of numbers", advice=_ADVICE)
        return array


_ADVICE = 'give a series as {"column": [1.5, 2.0, ...]}; GET / shows an example'
