"""Tables in text files: .csv, .tsv and .jsonl, plain or gzipped, whose columns are found by their names.

A .csv file is quoted as RFC 4180 says: a field may hold commas, quotes and line ends. A .tsv file is lines of fields
between tabs, without any quoting: a quotation mark is a character like others. A .jsonl file has one JSON object a
line. The encoding is UTF-8, a byte order mark is skipped, and CRLF ends a line as LF does.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dltrain.data.text_files import LineSpan, TextFile, read_pieces
from dltrain.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl")

LONGEST_FIELD = 1 << 24
"""Characters of a field beyond which a quotation mark is taken to be missing."""

Field = str | None
Rows = Iterator[tuple[int, list[Field]]]
Ragged = list[tuple[int, DataError]]
"""The lines of rows with too many or too few fields, and what to say of each."""


@dataclass(frozen=True)
class DelimitedTable:
    """Rows of fields, each with the line from 1 that it begins in; `name` is what messages call the table.

    A field is None where a JSON object has no text, number, true or false.
    """

    name: str
    columns: tuple[str, ...]
    lines: list[int]
    rows: list[list[Field]]

    def column(self, name: str, option: str, advice: str | None = None) -> list[str]:
        """The fields of a column, which `option` names. Raises DataError where it is missing, twice there, or no text.

        The message has the nearest name, and for a column that is missing `advice`, or that to set the option.
        """
        if self.columns.count(name) != 1:
            raise self._absent(name, option, advice or f"set {option} to a column")
        place = self.columns.index(name)
        fields = []
        for line, row in zip(self.lines, self.rows, strict=True):
            field = row[place]
            if field is None:
                raise DataError(
                    f"{self.name}, line {line}: no value for '{name}'; expected is a text, a number, true or false",
                    advice="mend the line, or leave it out",
                )
            fields.append(field)
        return fields

    def _absent(self, name: str, option: str, advice: str) -> DataError:
        if name in self.columns:
            message = f"{self.name}: {self.columns.count(name)} columns are called '{name}'"
            return DataError(message, advice="rename all but one")
        near = get_close_matches(name, self.columns, 1)
        guess = f"\ndid you mean '{near[0]}'?" if near else ""
        found = ", ".join(repr(column) for column in self.columns)
        return DataError(f"{self.name}: no column '{name}' ({option}); found {found}{guess}", advice=advice)


def get_table_suffix(path: Path) -> str | None:
    """The suffix of `path` that says what kind of table it is, .gz left aside; None where it is none."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    return suffix if suffix in SUFFIXES else None


def read_delimited(file: TextFile, ragged: Ragged | None = None) -> DelimitedTable:
    """A whole file. Raises DataError for one that is no table, has no row, or is damaged, with its line.

    Rows with too many or too few fields are added to `ragged`, if it is given, and left out.
    """
    form = get_table_suffix(file.path)
    if form is None:
        raise DataError(
            f"{file.path}: ends in '{file.path.suffix}'; allowed are {', '.join(SUFFIXES)}, plain or .gz",
            advice="rename the file, or give another one",
        )
    text = "".join(piece.text for piece in read_pieces(LineSpan(file, 0, file.lines), "character"))
    return parse_delimited(text, str(file.path), form, ragged)


def parse_delimited(text: str, name: str, form: str, ragged: Ragged | None = None) -> DelimitedTable:
    """A text in one of the forms of SUFFIXES as a table, as `read_table` gives it."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if form == ".jsonl":
        return _from_objects(text, name)
    rows = _quoted(text, name) if form == ".csv" else _tabbed(text)
    _, header = next(rows, (0, []))
    columns = tuple((field or "").strip() for field in header)
    lines: list[int] = []
    fields: list[list[Field]] = []
    for line, row in rows:
        if not row:
            if len(columns) > 1:
                continue
            row = [""]  # in a table of one column, an empty line is an empty field
        if len(row) != len(columns):
            cause = "a separator within a field that is not quoted?" if len(row) > len(columns) else "cut short?"
            fault = DataError(
                f"{name}, line {line}: {len(row)} fields, but the first line has {len(columns)} ({cause})",
                advice="mend the line, or quote the field",
            )
            if ragged is None:
                raise fault
            ragged.append((line, fault))
            continue
        lines.append(line)
        fields.append(row)
    while fields and fields[-1] == [""]:
        del fields[-1], lines[-1]
    if not fields:
        raise DataError(f"{name}: no row in it; expected are the columns' names in the first line, and rows after it")
    return DelimitedTable(name, columns, lines, fields)


def _quoted(text: str, name: str) -> Rows:
    csv.field_size_limit(LONGEST_FIELD)  # the process's; the module's own bound is shorter than many a document
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True)
    line = 1
    try:
        for row in reader:
            yield line, list(row)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name}, line {line}: not CSV: {error}",
            advice="mend the row that begins there; is a quotation mark missing?",
        ) from None


def _tabbed(text: str) -> Rows:
    for line, row in enumerate(text.split("\n"), 1):
        yield line, list(row.split("\t")) if row else []


def _from_objects(text: str, name: str) -> DelimitedTable:
    columns: tuple[str, ...] = ()
    lines: list[int] = []
    rows: list[list[Field]] = []
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            found: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}, line {line}: not JSON: {error}", advice="mend the line") from None
        if not isinstance(found, dict):
            raise DataError(
                f"{name}, line {line}: expected a JSON object, found {content.strip()[:80]}", advice="mend the line"
            )
        columns = columns or tuple(found)
        lines.append(line)
        rows.append([_told(found.get(column)) for column in columns])
    if not rows:
        raise DataError(f"{name}: no row in it; expected is one JSON object a line")
    return DelimitedTable(name, columns, lines, rows)


def _told(value: Any) -> Field:
    """A JSON value as a table's field."""
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, int | float) else None
