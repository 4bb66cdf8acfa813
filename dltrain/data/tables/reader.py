"""Rows of tables as a model's inputs."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from dltrain.data.cleaning import clean_text
from dltrain.data.delimited import Ragged
from dltrain.data.layout import Layout
from dltrain.data.tables.features import FeatureEncoder, restore_table_layout
from dltrain.data.tables.files import Table, build_table, parse_table, read_table
from dltrain.errors import DataError
from dltrain.kinds import NamedInput


class TableReader:
    """Reads the rows of tables, by the columns that training read; others are left out.

    A name is a file as `read_table` takes it, `-` for a table on standard input, the columns' names in its first line,
    or one row, such as `x=6` or `width=2.5,colour=red`, quoted as CSV where a comma is part of a value. Rows of tables
    are called FILE:LINE, or FILE:ROW where there are no lines.
    """

    def __init__(self, assets: Mapping[str, Any]) -> None:
        self._encoder = FeatureEncoder(assets["features"])
        self._layout = restore_table_layout(assets)

    def read(self, names: Sequence[str], lines: Iterator[str]) -> Iterator[NamedInput]:
        for name in names:
            ragged: Ragged = []
            one_row = "=" in name and not Path(name).exists()
            try:
                if one_row:
                    yield from self._rows(parse_row(name), [name])
                else:
                    table = _read(name, lines, ragged, self._layout)
                    yield from self._rows(table, [f"{name}:{table.number(row)}" for row in range(len(table))])
            except DataError as error:
                yield NamedInput(name, error, whole_file=not one_row)
            yield from (NamedInput(f"{name}:{line}", error) for line, error in ragged)

    def _rows(self, table: Table, names: Sequence[str]) -> Iterator[NamedInput]:
        """The table's rows by their names; where one is at fault, the others all the same."""
        try:
            rows = list(self._encoder.inputs(table))
        except DataError:
            lacks = [column for column in self._encoder.columns if column not in table.columns]
            if lacks:
                raise
            rows = [self._row(table, row) for row in range(len(table))]
        for name, row in zip(names, rows, strict=True):
            yield NamedInput(name, row)

    def _row(self, table: Table, row: int) -> Any:
        try:
            return self._encoder.inputs(table.select(numpy.array([row])))[0]
        except DataError as error:
            return error

    def inputs(self, values: Sequence[Any]) -> tuple[Tensor, ...]:
        """Rows (N, F) float32."""
        return (torch.from_numpy(numpy.stack(values)),)

    def notes(self) -> Sequence[str]:
        return self._encoder.notes()


def _read(name: str, lines: Iterator[str], ragged: Ragged, layout: Layout) -> Table:
    if name != "-":
        return read_table(Path(name), ragged, layout)
    try:
        return parse_table("".join(lines), "standard input", ragged, layout)
    except UnicodeDecodeError as error:
        raise DataError(f"standard input: not text: {error.reason}", advice="give it as UTF-8") from None


def parse_row(text: str) -> Table:
    """A row as the command line gives it: NAME=VALUE, NAME=VALUE. Raises DataError for what is not.

    A comma between two digits is part of a number where no NAME= follows it: a=1,5,b=2.
    """
    try:
        (fields,) = csv.reader([text], strict=True, skipinitialspace=True)
    except (csv.Error, ValueError):
        fields = []
    joined: list[str] = []
    for field in fields:
        if joined and joined[-1][-1:].isdigit() and field[:1].isdigit() and "=" not in field:
            joined[-1] += f",{field}"
        else:
            joined.append(field)
    pairs = [field.partition("=") for field in joined]
    names = [clean_text(name) for name, equals, _ in pairs if equals]
    if not pairs or len(set(names)) < len(pairs):
        raise DataError(
            f"{text}: not a row; allowed is NAME=VALUE for each column, between commas, such as width=2.5,colour=red",
            advice="correct the row, or name a file",
        )
    return build_table({name: [value] for name, (_, _, value) in zip(names, pairs, strict=True)}, text)
