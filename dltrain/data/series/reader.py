"""Series files as a forecasting model's inputs: the last window of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from dltrain.data.delimited import parse_delimited
from dltrain.data.layout import restore_layout
from dltrain.data.series.files import Series, read_series, restore_series_formats, select_series
from dltrain.data.series.scaling import count_rows, standardize_series
from dltrain.errors import DataError
from dltrain.kinds import NamedInput


class SeriesReader:
    """Reads the last window of .csv, .tsv, .jsonl and .npz files, and of a CSV table on standard input for `-`.

    The columns are those of the training file; others are left out.
    """

    def __init__(self, assets: Mapping[str, Any]) -> None:
        self._assets = assets
        self._layout = restore_layout(assets, assets["columns"])
        self._formats = restore_series_formats(assets)

    def read(self, names: Sequence[str], lines: Iterator[str]) -> Iterator[NamedInput]:
        for name in names:
            try:
                yield NamedInput(name, self._last_window(name, self._series(name, lines)))
            except DataError as error:
                yield NamedInput(name, error)

    def _series(self, name: str, lines: Iterator[str]) -> Series:
        columns, time = self._assets["columns"], self._assets["time"]
        if name == "-":
            table = parse_delimited("".join(lines), "standard input", ".csv", layout=self._layout)
            return select_series(table, columns, time, numbers=self._formats)
        return read_series(Path(name), columns, time, layout=self._layout, numbers=self._formats)

    def _last_window(self, name: str, series: Series) -> numpy.ndarray[Any, Any]:
        rows = count_rows(self._assets)
        if len(series.values) < rows:
            raise DataError(
                f"{name}: {len(series.values)} rows, but the model reads {rows}", advice="give a longer series"
            )
        return standardize_series(self._assets, series.values[-rows:])

    def inputs(self, values: Sequence[Any]) -> tuple[Tensor, ...]:
        """Windows (N, rows, columns)."""
        return (torch.from_numpy(numpy.stack(values)),)

    def notes(self) -> Sequence[str]:
        return ()
