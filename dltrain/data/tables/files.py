"""Read tables of named columns from text files, Parquet, NumPy archives and configs."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from dltrain.data import delimited
from dltrain.data.arrays import read_arrays, read_content
from dltrain.data.cleaning import clean_category, clean_text
from dltrain.data.layout import Layout
from dltrain.data.numbers import PlainNumber
from dltrain.data.text_files import find_file, scan_file
from dltrain.data.wording import suggest_name
from dltrain.errors import FIND_DATA, DataError, UsageError

Column = NDArray[Any]
"""(N,) of float64, NaN for a missing number, or of objects: texts as in the file, "" for a missing one."""

SUFFIXES = (*delimited.SUFFIXES, ".parquet", ".npz")


@dataclass(frozen=True)
class Table:
    """Columns of N values each, by name; `name` is the table's name in messages, `sha256` the hash of its content.

    `lines` (N,) are the first lines of the rows, from 1; None if there are no lines. `files` (N,) are the names of the
    rows' files, if there are several. `forms` describe the separators and quoting that were found, by file.
    `separators` are those of the files, if they have any. `derived` are columns made of other ones: the parts of dates,
    each with its "column", "part" and "order".
    """

    name: str
    columns: Mapping[str, Column]
    sha256: str
    lines: NDArray[numpy.int64] | None = None
    files: Column | None = None
    forms: Mapping[str, str] = field(default_factory=dict)
    separators: frozenset[str] = frozenset()
    derived: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def select(self, chosen: NDArray[Any]) -> Table:
        columns = {name: values[chosen] for name, values in self.columns.items()}
        lines, files = (None if rows is None else rows[chosen] for rows in (self.lines, self.files))
        return replace(self, columns=columns, lines=lines, files=files)

    def number(self, row: int) -> int:
        """Return a row's line in a text file, or its number, from 1."""
        return row + 1 if self.lines is None else int(self.lines[row])

    def name_row(self, row: int) -> str:
        """Name a row: FILE:LINE, or FILE:ROW where there are no lines."""
        return f"{self.name if self.files is None else self.files[row]}:{self.number(row)}"

    def locate(self, row: int, column: str) -> str:
        """Describe the position of a value, for messages."""
        file = self.name if self.files is None else self.files[row]
        return f"{file}, {'row' if self.lines is None else 'line'} {self.number(row)}, column '{column}'"

    def refuse(self, column: str, wrong: NDArray[Any], message: str, advice: str) -> None:
        """Raises DataError for the first row of a column that is `wrong` (N,) bool, if any, with its position."""
        if wrong.any():
            raise DataError(f"{self.locate(int(wrong.argmax()), column)}: {message}", advice=advice)

    def describe_missing(self, column: str) -> str:
        """Report that a column is missing, with the available columns and the nearest name."""
        return f"{self.name}: no column '{column}'; found {', '.join(self.columns)}{suggest_name(column, self.columns)}"


def read_table(path: Path, ragged: delimited.Ragged | None = None, layout: Layout = delimited.FOUND) -> Table:
    """Read the table in a .csv, .tsv, .jsonl (plain or .gz), .parquet or .npz file.

    Rows with too many or too few fields are added to `ragged` if given, and left out. Raises DataError for a file that
    is missing, damaged or no table, and UsageError for Parquet without pyarrow.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _from_parquet(path)
    if suffix == ".npz":
        arrays, sha256 = read_arrays(path)
        _check_unique(str(path), [clean_text(name) for name in arrays])
        columns = {clean_text(name): _from_array(path, name, array) for name, array in arrays.items()}
        return _check_lengths(Table(str(path), columns, sha256))
    if delimited.get_table_suffix(path) is None:
        raise DataError(
            f"{path}: ends in '{path.suffix}'; a table is a .csv, .tsv or .jsonl file, plain or .gz, or a .parquet or "
            ".npz file",
            advice="rename the file, or give another one",
        )
    found = find_file(path)
    if found is None:
        raise DataError(f"{path.name} (plain or .gz): no such file in {path.absolute().parent}", advice=FIND_DATA)
    file = scan_file(found)
    return _from_text(delimited.read_delimited(file, ragged, layout), file.sha256)


def parse_table(
    text: str, name: str, ragged: delimited.Ragged | None = None, layout: Layout = delimited.FOUND
) -> Table:
    """Parse lines of text, as of a .tsv file if the first line, the column names, has a tab, else as of a .csv file.

    `ragged` and `layout` are as for `read_table`.
    """
    form = ".tsv" if "\t" in text.partition("\n")[0] else ".csv"
    clean = text.removeprefix("\ufeff").replace("\r\n", "\n")
    parsed = delimited.parse_delimited(clean, name, form, ragged, layout=layout)
    return _from_text(parsed, hashlib.sha256(text.encode()).hexdigest())


def build_table(values: Mapping[str, Sequence[str | float]], name: str) -> Table:
    """Build a table from columns in a config, numbers or texts. Raises DataError for columns of different lengths."""
    _check_unique(name, [clean_text(column) for column in values])
    columns = {clean_text(column): _make_column(cells) for column, cells in values.items()}
    return _check_lengths(Table(name, columns, hashlib.sha256(json.dumps(dict(values)).encode()).hexdigest()))


def join_tables(tables: Sequence[Table]) -> Table:
    """Join the rows of all tables, in the columns of the first. Raises DataError for a missing column."""
    first = tables[0]
    if len(tables) == 1:
        return first
    for table in tables:
        for column in first.columns:
            if column not in table.columns:
                raise DataError(table.describe_missing(column), advice=f"give files with the columns of {first.name}")
    columns = {column: _join_columns([table.columns[column] for table in tables]) for column in first.columns}
    numbers = [[table.number(row) for row in range(len(table))] for table in tables]
    files = numpy.concatenate([numpy.full(len(table), table.name, object) for table in tables])
    hashes = hashlib.sha256("".join(table.sha256 for table in tables).encode())
    return Table(
        first.name,
        columns,
        hashes.hexdigest(),
        lines=numpy.concatenate(numbers),
        files=files,
        forms={name: form for table in tables for name, form in table.forms.items()},
        separators=frozenset().union(*(table.separators for table in tables)),
    )


def _join_columns(parts: Sequence[Column]) -> Column:
    if len({part.dtype for part in parts}) > 1:
        parts = [part if part.dtype == object else _make_column([*part.tolist(), ""])[:-1] for part in parts]
    return numpy.concatenate(parts)


def format_texts(column: Column) -> Column:
    """Format numbers, and clean texts; "" for a missing value."""
    if column.dtype == object:
        cleaned = {text: clean_category(text) for text in set(column)}
        return numpy.array([cleaned[text] for text in column], object)
    return numpy.array([format_cell(number) for number in column.tolist()], object)


def format_cell(number: float) -> str:
    """Format a number: a whole one without a point, "" for NaN."""
    if number != number:
        return ""
    return str(int(number)) if number.is_integer() and abs(number) < 1e16 else repr(number)


def _make_column(cells: Sequence[str | float]) -> Column:
    if all(isinstance(cell, (int, float)) for cell in cells):
        return numpy.array(cells, float)
    texts = [cell if isinstance(cell, str) else PlainNumber(format_cell(float(cell))) for cell in cells]
    return numpy.array(texts, object)


def _check_lengths(table: Table) -> Table:
    lengths = {name: len(column) for name, column in table.columns.items()}
    if not lengths or not max(lengths.values()):
        raise DataError(f"{table.name}: the table is empty; expected are columns with names, and at least one row")
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataError(
            f"{table.name}: columns of different lengths ({listed})", advice="give each column as many values"
        )
    return table


def _check_unique(table: str, names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise DataError(f"{table}: {times} columns are called '{name}'", advice="rename all but one")


def _from_text(table: delimited.DelimitedTable, sha256: str) -> Table:
    names = [clean_text(name) for name in table.columns]
    if "" in names:
        raise DataError(
            f"{table.name}: column {names.index('') + 1} has no name in the first line",
            advice="name it, or leave it out (an index that pandas wrote: to_csv(index=False))",
        )
    _check_unique(table.name, names)
    delimited.check_one_column(table.name, names)
    table.check_header()
    columns = {
        name: numpy.array(["" if field is None else field for field in cells], object)
        for name, cells in zip(names, zip(*table.rows, strict=True), strict=True)
    }
    forms = {} if table.form is None else {table.name: table.form}
    separators = frozenset(table.separator or "")
    return Table(table.name, columns, sha256, numpy.array(table.lines), forms=forms, separators=separators)


def _from_array(path: Path, name: str, array: NDArray[Any]) -> Column:
    if array.ndim != 1 or array.dtype.kind not in "biufU":
        raise DataError(
            f"{path}: '{name}' has shape {array.shape} and type {array.dtype}; a column is (rows,) numbers or texts",
            advice="save each column under a separate name",
        )
    if array.dtype.kind == "b":
        return numpy.where(array, "true", "false").astype(object)
    return array.astype(object) if array.dtype.kind == "U" else array.astype(float)


def _from_parquet(path: Path) -> Table:
    content = read_content(path)
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UsageError(
            f"{path}: reading Parquet needs pyarrow, which is not installed",
            advice="pip install pyarrow, or give a .csv file",
        ) from None
    try:
        found = parquet.read_table(BytesIO(content))
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file that can be read ({error})", advice="write it again") from None
    names = [clean_text(name) for name in found.column_names]
    _check_unique(str(path), names)
    columns = {name: _from_values(values.to_pylist()) for name, values in zip(names, found.columns, strict=True)}
    return _check_lengths(Table(str(path), columns, hashlib.sha256(content).hexdigest()))


def _from_values(values: Sequence[Any]) -> Column:
    """Convert a column of Parquet: numbers, or texts including true and false."""
    if all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values):
        return numpy.array([numpy.nan if value is None else value for value in values], float)
    named = {True: "true", False: "false"}
    texts = ["" if value is None else named[value] if isinstance(value, bool) else str(value) for value in values]
    return numpy.array(texts, object)
