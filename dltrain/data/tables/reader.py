"""Rows of tables as a model's inputs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from dltrain.data.cleaning import clean_text
from dltrain.data.delimited import Ragged
from dltrain.data.layout import Layout
from dltrain.data.objects import Cell, flatten, is_cell, is_frame, is_row, to_cell, to_columns, to_row
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

    def read_values(self, values: Iterable[Any]) -> Iterator[NamedInput]:
        """Read files and rows by name as `read` does, frames, rows as mappings of cells by column, and bare rows.

        A bare row is a sequence of cells, or an array, in the order of training's columns, and all of these.
        """
        number = 0
        for value in flatten(values, is_single=lambda value: is_frame(value) or is_row(value) or _is_bare_row(value)):
            if isinstance(value, (str, Path)):
                yield from self.read([str(value)], iter(()))
                continue
            try:
                columns = to_columns(value) if is_frame(value) else {k: [v] for k, v in self._to_row(value).items()}
                cells = {name: [self._to_cell(name, cell) for cell in column] for name, column in columns.items()}
                table = build_table(cells, "the frame given" if is_frame(value) else f"input {number}")
                given = list(self._rows(table, [f"input {number + row}" for row in range(len(table))]))
            except DataError as error:
                given = [NamedInput(f"input {number}", error, whole_file=is_frame(value))]
            number += len(given)
            yield from given

    def _to_row(self, value: Any) -> dict[str, Any]:
        """The cells of one row by column. Raises DataError for what is no row, or has not one cell for each column."""
        if is_row(value):
            return to_row(value)
        columns = list(dict.fromkeys(self._encoder.columns))
        if not _is_bare_row(value):
            raise DataError(f"found {type(value).__name__}, which is no row", advice=_ADVICE)
        cells = list(value)
        if len(cells) != len(columns):
            message = f"found a row of {len(cells)} cells; the model reads {len(columns)}: {', '.join(columns)}"
            raise DataError(message, advice=_ADVICE)
        return dict(zip(columns, cells, strict=True))

    def _to_cell(self, column: str, value: Any) -> Cell:
        """A cell of a table; a truth value as training's categories write it, a number for a column of numbers."""
        cell = to_cell(value)
        if cell not in ("true", "false") or isinstance(value, str):
            return cell
        categories = self._encoder.list_categories(column)
        if categories is None:
            return float(cell == "true")
        return next((text for text in categories if text.casefold() == cell), cell)

    def inputs(self, values: Sequence[Any]) -> tuple[Tensor, ...]:
        """Rows (N, F) float32."""
        return (torch.from_numpy(numpy.stack(values)),)

    def notes(self) -> Sequence[str]:
        return self._encoder.notes()


_ADVICE = "give rows as mappings, such as {'width': 2.5, 'colour': 'red'}, or a frame with the columns of training"


def _is_bare_row(value: Any) -> bool:
    """Whether a value is a sequence of numbers and texts, at least one of which is a number, or an array (F,)."""
    if hasattr(value, "__array__"):
        return numpy.ndim(value) == 1
    if not isinstance(value, (list, tuple)):
        return False
    return bool(value) and all(map(is_cell, value)) and not all(isinstance(cell, str) for cell in value)


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
            advice=_quote_commas(text) or "correct the row, or name a file",
        )
    return build_table({name: [value] for name, (_, _, value) in zip(names, pairs, strict=True)}, text)


def _quote_commas(text: str) -> str | None:
    """Advice where a value is likely to contain commas, such as place=Paris, Texas: a field without = follows one."""
    joined: list[str] = []
    for field in text.split(","):
        if "=" in field:
            joined.append(field.strip())
        elif joined and field.strip():
            joined[-1] += f",{field.rstrip()}"
        else:
            return None
    quoted = ",".join(f'"{field}"' if "," in field else field for field in joined)
    return None if '"' in text else f"quote a value that has a comma: '{quoted}'"
