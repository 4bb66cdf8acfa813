"""Rows of tables with a text and its label each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dltrain.data.delimited import read_delimited
from dltrain.data.text_files import TextFile
from dltrain.errors import DataError


class LabelledRow(NamedTuple):
    """A text and its label; rows of a `group` stay in one split, `source` is the file and line."""

    text: str
    label: str
    group: str
    source: str


Rows = Sequence[LabelledRow]


def read_rows(file: TextFile, columns: Mapping[str, str | None]) -> list[LabelledRow]:
    """Read the rows of a file; `columns` are those of "text", "label" and "group". Raises DataError without a label."""
    table = read_delimited(file)
    texts, labels, groups = (
        [""] * len(table.rows) if column is None else table.column(column, f"data.{option}")
        for option, column in columns.items()
    )
    rows = []
    for line, text, label, group in zip(table.lines, texts, labels, groups, strict=True):
        source = f"{file.path}, line {line}"
        if not label:
            message = f"{source}: the label ({columns['label']}) is empty"
            raise DataError(message, advice="fill it in, or leave the row out")
        rows.append(LabelledRow(text, label, group, source))
    return rows
