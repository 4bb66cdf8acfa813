"""Rows of tables as a model's inputs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from dltrain.data.cleaning import clean_text
from dltrain.data.delimited import Ragged
from dltrain.data.kept import list_kept_cells
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

    def __init__(self, assets: Mapping[str, Any], keep: Sequence[str] = ()) -> None:
        self._encoder, self._keep = FeatureEncoder(assets["features"]), keep
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
        kept = list_kept_cells(table.columns, self._keep, table.name, len(names))
        try:
            rows = list(self._encoder.inputs(table))
        except DataError:
            lacks = [column for column in self._encoder.columns if column not in table.columns]
            if lacks:
                raise
            rows = [self._row(table, row) for row in range(len(table))]
        for name, row, cells in zip(names, rows, kept, strict=True):
            yield NamedInput(name, row, kept=cells)

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
        for part in self._collect(values):
            if isinstance(part, str):
                yield from self.read([part], iter(()))
                continue
            given = [NamedInput(f"input {number}", part)]
            if not isinstance(part, DataError):
                given = self._read_columns(part, number)
            number += len(given)
            yield from given

    def _collect(self, values: Iterable[Any]) -> Iterator[str | DataError | dict[str, list[Any]]]:
        """The names of files, why a value is no row, and columns: of a frame, or of rows that have the same ones."""
        rows: list[dict[str, Any]] = []
        for value in flatten(values, is_single=lambda value: is_frame(value) or is_row(value) or _is_bare_row(value)):
            row = None if isinstance(value, (str, Path)) or is_frame(value) else self._to_row(value)
            if rows and not (isinstance(row, dict) and row.keys() == rows[0].keys()):
                yield _join_rows(rows)
                rows = []
            if isinstance(row, dict):
                rows.append(row)
            elif row is not None:
                yield row
            else:
                yield to_columns(value) if is_frame(value) else str(value)
        if rows:
            yield _join_rows(rows)

    def _read_columns(self, columns: Mapping[str, Sequence[Any]], number: int) -> list[NamedInput]:
        """The rows of columns, of which the first is `input NUMBER`."""
        count = max(map(len, columns.values()), default=1)
        names = [f"input {number + row}" for row in range(count)]
        try:
            cells = {name: [self._to_cell(name, cell) for cell in column] for name, column in columns.items()}
            table = replace(build_table(cells, "the rows given"), files=numpy.array(names, object))
            return list(self._rows(table, names))
        except DataError as error:
            return [NamedInput(name, error) for name in names]

    def _to_row(self, value: Any) -> dict[str, Any] | DataError:
        """The cells of one row by column, or why it is none: it has not one cell for each column, say."""
        if is_row(value):
            return to_row(value) or DataError("found a row without cells", advice=_ADVICE)
        columns = list(dict.fromkeys(self._encoder.columns))
        if not _is_bare_row(value):
            return DataError(f"found {type(value).__name__}, which is no row", advice=_ADVICE)
        cells = list(value)
        if len(cells) != len(columns):
            message = f"found a row of {len(cells)} cells; the model reads {len(columns)}: {', '.join(columns)}"
            return DataError(message, advice=_ADVICE)
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


def _join_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


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
