"""Series files as a forecasting model's inputs: the last window of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from dltrain.data.delimited import parse_delimited
from dltrain.data.layout import restore_layout
from dltrain.data.objects import describe_object, flatten, is_cell, is_frame, is_row, is_text, to_columns, to_row
from dltrain.data.series.files import Series, read_series, restore_series_formats, select_series
from dltrain.data.series.scaling import count_rows, standardize_series
from dltrain.data.series.values import ColumnSource, combine_columns, read_array
from dltrain.errors import DataError
from dltrain.kinds import NamedInput

_NOTED = 5
"""The notes about single files that are shown."""


def _is_series(value: Any) -> bool:
    """Whether a value is one series: a frame, a mapping, an array, or a list of numbers."""
    if is_frame(value) or is_row(value) or hasattr(value, "__array__"):
        return True
    return isinstance(value, (list, tuple)) and all(map(is_cell, value)) and not any(map(is_text, value))


class SeriesReader:
    """Reads the last window of .csv, .tsv, .jsonl and .npz files, and of a CSV table on standard input for `-`.

    The columns are those of the training file; others are left out.
    """

    def __init__(self, assets: Mapping[str, Any]) -> None:
        self._assets = assets
        self._layout = restore_layout(assets, assets["columns"])
        self._options: dict[str, Any] = {
            "numbers": restore_series_formats(assets),
            "missing": assets.get("missing", "error"),
        }
        self._notes: list[str] = []

    def read(self, names: Sequence[str], lines: Iterator[str]) -> Iterator[NamedInput]:
        for name in names:
            try:
                yield NamedInput(name, self._last_window(name, self._series(name, lines)))
            except DataError as error:
                yield NamedInput(name, error)

    def read_values(self, values: Iterable[Any]) -> Iterator[NamedInput]:
        """Read files by name, frames and mappings with the columns of training, and arrays (T, C), or (T,) for one."""
        for number, value in enumerate(flatten(values, is_single=_is_series)):
            if isinstance(value, (str, Path)):
                yield from self.read([str(value)], iter(()))
                continue
            name = f"input {number}"
            try:
                yield NamedInput(name, self._last_window(name, self._convert(name, value)))
            except DataError as error:
                yield NamedInput(name, error)

    def _convert(self, name: str, value: Any) -> Series:
        """The columns of training, in their order. Raises DataError for missing ones and for what is no number."""
        names = self._assets["columns"]
        expected = f"expected are numbers, the columns {', '.join(names)}"
        if is_frame(value) or isinstance(value, Mapping):
            columns = to_columns(value) if is_frame(value) else to_row(value)
            if lacking := [column for column in names if column not in columns]:
                raise DataError(f"{name}: no column '{lacking[0]}'; {expected}", advice="give the columns of training")
            value = [columns[column] for column in names]
        try:
            array = numpy.array(value, numpy.float64)
        except (TypeError, ValueError):
            raise DataError(f"{name}: found {describe_object(value)}; {expected}") from None
        array = array.T if isinstance(value, list) and array.ndim == 2 else array
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or array.shape[1] != len(names):
            raise DataError(f"{name}: found an array of shape {array.shape}; {expected}", advice="one row a step")
        source = ColumnSource(name, "column '{}'".format, "step {}".format, known=True)
        read = [read_array(*column) for column in zip(names, array.T, strict=True)]
        numbers, filled = combine_columns(source, read, self._options["missing"])
        return Series(numbers, tuple(names), "", filled=filled)

    def _series(self, name: str, lines: Iterator[str]) -> Series:
        columns, time = self._assets["columns"], self._assets["time"]
        if name == "-":
            table = parse_delimited("".join(lines), "standard input", ".csv", layout=self._layout)
            return select_series(table, columns, time, **self._options)
        return read_series(Path(name), columns, time, layout=self._layout, **self._options)

    def _last_window(self, name: str, series: Series) -> numpy.ndarray[Any, Any]:
        rows = count_rows(self._assets)
        if len(series.values) < rows:
            raise DataError(
                f"{name}: {len(series.values)} rows, but the model reads {rows}", advice="give a longer series"
            )
        self._note_times(name, series, rows)
        self._notes += [f"{name}: {order}" for order in series.disorder.values()]
        if series.filled is not None and (count := int(series.filled[-rows:].sum())):
            self._notes.append(
                f"{name}: {count} of {series.filled[-rows:].size} values of the last window are missing, and repeat "
                "the one before (data.missing=previous)"
            )
        return standardize_series(self._assets, series.values[-rows:])

    def _note_times(self, name: str, series: Series, rows: int) -> None:
        step = self._assets.get("step")  # models without times, and those of earlier versions, have none
        if step is None or series.times is None:
            return
        difference = series.times.select(slice(-rows, None)).compare_step(step)
        if difference is not None:
            self._notes.append(f"{name}: {difference}")

    def inputs(self, values: Sequence[Any]) -> tuple[Tensor, ...]:
        """Windows (N, rows, columns)."""
        return (torch.from_numpy(numpy.stack(values)),)

    def notes(self) -> Sequence[str]:
        """What is unusual about the windows read so far, of some files."""
        others = len(self._notes) - _NOTED
        return (*self._notes[:_NOTED], *([f"{others} more notes of this kind"] if others > 0 else []))
