"""Read tables in text files: .csv, .tsv and .jsonl, plain or gzipped, with named columns.

A .csv file is quoted as in RFC 4180: a field may hold separators, quotes and line ends; other separators than commas
are found, or set. A .tsv file has lines of fields between tabs; a quotation mark is an ordinary character, unless all
of them are found to quote fields (`dltrain.data.layout`). A .jsonl file has one JSON object a line. The encoding is
UTF-8, a byte order mark is skipped, and lines end with LF or CRLF.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dltrain.data.layout import CHARACTERS, FieldForm, Layout, split_lines
from dltrain.data.numbers import PlainNumber
from dltrain.data.text_files import LineSpan, TextFile, read_text_pieces
from dltrain.data.wording import suggest_name
from dltrain.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl")

LONGEST_FIELD = 1 << 24
"""Characters of a field beyond which a quotation mark is assumed to be missing."""

FOUND = Layout()
Field = str | None
Rows = Iterator[tuple[int, list[Field]]]
Ragged = list[tuple[int, DataError]]
"""The lines of rows with too many or too few fields, and an error for each."""


@dataclass(frozen=True)
class DelimitedTable:
    """Rows of fields, each with its first line, from 1; `name` is the table's name in messages.

    A field is None if a JSON object has no text, number, true or false there. `form` describes separators and quoting
    that were found and are not usual for the file's suffix; `separator` is None where there is none.
    """

    name: str
    columns: tuple[str, ...]
    lines: list[int]
    rows: list[list[Field]]
    form: str | None = None
    separator: str | None = None

    def column(self, name: str, option: str, advice: str | None = None, *, absent: str | None = None) -> list[str]:
        """Return the fields of a column, named by `option`. Raises DataError if it is missing, repeated, or not text.

        The message suggests the nearest name, and for a missing column `advice`, or setting the option. With `absent`,
        this is returned for a field that is not text.
        """
        if name not in self.columns:
            found = ", ".join(repr(column) for column in self.columns)
            raise DataError(
                f"{self.name}: no column '{name}' ({option}); found {found}{suggest_name(name, self.columns)}",
                advice=advice or f"set {option} to a column",
            )
        if self.columns.count(name) > 1:
            message = f"{self.name}: {self.columns.count(name)} columns are called '{name}'"
            raise DataError(message, advice="rename all but one")
        index = self.columns.index(name)
        fields = []
        for line, row in zip(self.lines, self.rows, strict=True):
            field = absent if row[index] is None else row[index]
            if field is None:
                raise DataError(
                    f"{self.name}, line {line}: no value for '{name}'; expected is a text, a number, true or false",
                    advice="correct the line, or leave it out",
                )
            fields.append(field)
        return fields

    def check_header(self) -> None:
        """Raises DataError if the first line holds numbers instead of names."""
        if all(_is_number(name) for name in self.columns):
            raise DataError(
                f"{self.name}: its first line holds numbers ({', '.join(self.columns[:5])}), not the columns' names",
                advice="add a first line with names",
            )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def get_table_suffix(path: Path) -> str | None:
    """Return the suffix of `path` without .gz if it is one of SUFFIXES, else None."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    return suffix if suffix in SUFFIXES else None


def read_delimited(file: TextFile, ragged: Ragged | None = None, layout: Layout = FOUND) -> DelimitedTable:
    """Read a whole file. Raises DataError for one that is no table, has no row, or is damaged, with the line.

    Rows with too many or too few fields are added to `ragged` if given, and left out.
    """
    form = get_table_suffix(file.path)
    if form is None:
        raise DataError(
            f"{file.path}: ends in '{file.path.suffix}'; allowed are {', '.join(SUFFIXES)}, plain or .gz",
            advice="rename the file, or give another one",
        )
    text = "".join(piece.text for piece in read_text_pieces(LineSpan(file, 0, file.lines), "character"))
    return parse_delimited(text, str(file.path), form, ragged, layout=layout)


def parse_delimited(
    text: str, name: str, form: str, ragged: Ragged | None = None, *, layout: Layout = FOUND
) -> DelimitedTable:
    """Parse a text in one of the formats of SUFFIXES, as `read_delimited` does."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if "\n" not in text.rstrip("\n"):
        text = text.replace("\r", "\n")  # as old Macintosh programs end lines
    if form == ".jsonl":
        return _read_jsonl(text, name)
    csv.field_size_limit(LONGEST_FIELD)  # for the whole process; the default is shorter than many documents
    shape = FieldForm(text, form, layout)
    rows = _read_quoted(text, name, shape.separator) if shape.quoted else _split_fields(text, shape.separator)
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
            check_one_column(name, columns)
            fault = _describe_ragged(f"{name}, line {line}", len(row), len(columns), shape.quoted)
            if ragged is None:
                raise fault
            ragged.append((line, fault))
            continue
        if row == header and len(columns) > 1:
            raise DataError(
                f"{name}, line {line}: the columns' names again, as where files were joined",
                advice="remove the line, or name each file by itself",
            )
        lines.append(line)
        fields.append(row)
    while fields and fields[-1] == [""]:
        del fields[-1], lines[-1]
    if not fields:
        raise DataError(f"{name}: no row in it; expected are the columns' names in the first line, and rows after it")
    return DelimitedTable(name, columns, lines, fields, form=shape.found, separator=shape.separator)


def _describe_ragged(where: str, found: int, expected: int, quoted: bool) -> DataError:
    """The error for a row with too many or too few fields."""
    cause = "a separator within a field that is not quoted?" if found > expected else "cut short?"
    return DataError(
        f"{where}: {found} fields, but the first line has {expected} ({cause})",
        advice="correct the line, or quote the field" + ("" if quoted else " and set data.quoting=standard"),
    )


def check_one_column(name: str, columns: Sequence[str]) -> None:
    """Raises DataError for a first line that looks like several columns and was read as one."""
    for option, separator in CHARACTERS.items():
        if len(columns) == 1 and separator in columns[0] and option in ("semicolon", "tab"):
            raise DataError(
                f"{name}: its first line is one column, '{columns[0][:60]}'; its rows are not all of one length when "
                f"'{separator}' separates them",
                advice=f"correct the rows, or set data.separator={option}",
            )


def _split_fields(text: str, separator: str) -> Rows:
    return ((line, list(row.split(separator)) if row else []) for line, row in enumerate(text.split("\n"), 1))


def _read_quoted(text: str, name: str, separator: str) -> Rows:
    reader = csv.reader(split_lines(text), delimiter=separator, strict=True)
    line = 1
    try:
        for row in reader:
            yield line, list(row)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name}, line {line}: not CSV: {error}",
            advice="correct the row that starts there; is a quotation mark missing?",
        ) from None


def _read_jsonl(text: str, name: str) -> DelimitedTable:
    columns: tuple[str, ...] = ()
    lines: list[int] = []
    rows: list[list[Field]] = []
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            found: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}, line {line}: not JSON: {error}", advice="correct the line") from None
        if not isinstance(found, dict):
            raise DataError(
                f"{name}, line {line}: expected a JSON object, found {content.strip()[:80]}", advice="correct the line"
            )
        columns = columns or tuple(found)
        lines.append(line)
        rows.append([_convert_field(found.get(column)) for column in columns])
    if not rows:
        raise DataError(f"{name}: no row in it; expected is one JSON object a line")
    return DelimitedTable(name, columns, lines, rows)


def _convert_field(value: Any) -> Field:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return json.dumps(value)
    return PlainNumber(json.dumps(value)) if isinstance(value, int | float) else None
