"""Rows that other programs read: lines of tab-separated fields on stdout, and CSV."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from dltrain.escaping import format_fields, guard_formula

CsvSafe = Annotated[
    bool, typer.Option("--csv-safe", help="In CSV, put ' before texts that a spreadsheet would take for a formula.")
]


def format_row(fields: Iterable[object]) -> str:
    """A line of tab-separated fields for stdout. A name with a tab or a line break is quoted, on a terminal shown."""
    return format_fields(fields, terminal=sys.stdout.isatty())


def format_csv(rows: Iterable[Sequence[object]], *, safe: bool = False) -> str:
    """Rows as CSV (RFC 4180, but lines end with a line feed), with `safe` without formulas; None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([guard_formula(cell) for cell in row] if safe else row for row in rows)
    return text.getvalue()


def list_cells(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[Sequence[object]]:
    """A header and the rows below it, as cells in the order of `columns`."""
    return [columns, *([row[column] for column in columns] for row in rows)]
