"""Read series of numbers in time order from .csv, .tsv, .jsonl and .npz files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.arrays import read_arrays
from dltrain.data.delimited import FOUND, SUFFIXES, DelimitedTable, get_table_suffix, read_delimited
from dltrain.data.layout import Layout
from dltrain.data.numbers import (
    AMBIGUOUS_ADVICE,
    Decimal,
    NumberColumn,
    NumberFormat,
    describe_ambiguous,
    find_formats,
    parse_number,
)
from dltrain.data.series.times import Times, describe_order, parse_times
from dltrain.data.series.values import (
    ColumnSource,
    Marks,
    MissingValues,
    Values,
    combine_columns,
    read_array,
    read_texts,
)
from dltrain.data.substitute import Sample
from dltrain.data.text_files import scan_file
from dltrain.data.wording import suggest_name
from dltrain.dataset import Treatment
from dltrain.errors import DataError, UsageError

Numbering = Decimal | Mapping[str, NumberFormat]
"""The decimal mark of a new model's numbers, or the formats of a trained one's."""

SAMPLE = Sample(
    name="EEG sample (matplotlib)",
    replaces="your data",
    contents="four channels of a real electroencephalogram, 800 samples each",
)
_EEG_STEPS, _EEG_CHANNELS = 800, 4


class Series(NamedTuple):
    """Numbers in time order, (T, C) float64, the names of their columns, and the SHA-256 of the file's content.

    `times` are None without a time column. `form` is what was found of the file's form, if it is not usual.
    `formats` are those of numbers that are written with separators or signs, `treatments` report them. `filled` (T, C)
    marks values that are missing in the file and repeat the one before, None if there are none. `disorder` describes
    columns of dates that are not read and not in rising order, where no time column is named.
    """

    values: Values
    columns: tuple[str, ...]
    sha256: str
    times: Times | None = None
    form: str | None = None
    formats: Mapping[str, NumberFormat] = MappingProxyType({})
    treatments: Sequence[Treatment] = ()
    filled: Marks | None = None
    disorder: Mapping[str, str] = MappingProxyType({})


def read_series(
    path: Path,
    columns: Sequence[str] | None,
    time: str | None,
    *,
    layout: Layout = FOUND,
    numbers: Numbering = "auto",
    missing: MissingValues = "error",
) -> Series:
    """Read the named columns of a file, in that order; all except `time` if none are named.

    `time` is the time column, which must increase from row to row. `numbers` are the decimal mark, or the formats of a
    trained model's numbers. `missing` values are an error, or repeat the one before. Raises DataError for an unreadable
    file, a missing column, and for all values that are no finite numbers, with the first line of each column.
    """
    if path.suffix.lower() == ".npz":
        return _select_arrays(path, columns, time, missing, known=isinstance(numbers, Mapping))
    if get_table_suffix(path) is None:
        raise DataError(
            f"{path}: ends in '{path.suffix}'; allowed are {', '.join(SUFFIXES)} (plain or .gz) and .npz",
            advice="rename the file, or give another one",
        )
    file = scan_file(path)
    table = read_delimited(file, layout=layout)
    return select_series(table, columns, time, numbers=numbers, missing=missing)._replace(sha256=file.sha256)


def select_series(
    table: DelimitedTable,
    columns: Sequence[str] | None,
    time: str | None,
    *,
    numbers: Numbering = "auto",
    missing: MissingValues = "error",
) -> Series:
    """Select the named columns of a table as `read_series` does, without a hash."""
    table.check_header()
    times = None if time is None else parse_times(table.name, table.lines, table.column(time, "data.time"))
    names = _choose_columns(table.columns, columns, time)
    fields = {name: table.column(name, "data.columns", absent="") for name in names}
    formats, treatments = (numbers, ()) if isinstance(numbers, Mapping) else _find_formats(table, fields, numbers)
    known = isinstance(numbers, Mapping)
    source = ColumnSource(table.name, "column '{}'".format, lambda row: f"line {table.lines[row]}", known=known)
    read = [read_texts(name, fields[name], formats.get(name)) for name in names]
    values, filled = combine_columns(source, read, missing)
    series = Series(values, names, "", times, form=table.form, filled=filled)
    disorder = _find_disorder(table, names) if time is None else {}
    return series._replace(formats=formats, treatments=treatments, disorder=disorder)


def _find_disorder(table: DelimitedTable, read: Sequence[str]) -> dict[str, str]:
    others = [name for name in table.columns if name not in read and table.columns.count(name) == 1]
    found = {name: describe_order(name, table.column(name, "data.time", absent="")) for name in others}
    return {name: order for name, order in found.items() if order is not None}


def _find_formats(
    table: DelimitedTable, fields: Mapping[str, list[str]], decimal: Decimal
) -> tuple[Mapping[str, NumberFormat], Sequence[Treatment]]:
    """Find how the numbers are written. Raises DataError where the decimal mark is open."""
    if decimal == "auto" and all(parse_number(field) is not None for each in fields.values() for field in each):
        return {}, ()
    columns = {name: NumberColumn(Counter(each)) for name, each in fields.items()}
    usable = {name: column for name, column in columns.items() if column.mostly_numbers}
    found = find_formats(usable, decimal, table.separator or "")
    if found.ambiguous:
        raise DataError(describe_ambiguous(table.name, found.ambiguous), advice=AMBIGUOUS_ADVICE)
    return found.formats, found.treatments


def restore_series_formats(assets: Mapping[str, Any]) -> dict[str, NumberFormat]:
    """The formats of a trained model's numbers, by column."""
    return {name: NumberFormat(**form) for name, form in assets.get("formats", {}).items()}


def _choose_columns(found: Sequence[str], columns: Sequence[str] | None, time: str | None) -> tuple[str, ...]:
    return tuple(name for name in found if name != time) if columns is None else tuple(columns)


def _select_arrays(
    path: Path, columns: Sequence[str] | None, time: str | None, missing: MissingValues, *, known: bool
) -> Series:
    """Select columns: an array (T,) is one of its own name, an array (T, C) holds NAME[0], NAME[1] and so on."""
    arrays, sha256 = read_arrays(path)
    found: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        if array.ndim == 2:
            found |= {f"{name}[{column}]": array[:, column] for column in range(array.shape[1])}
        elif array.ndim == 1:
            found[name] = array
    times = None if time is None else _read_times(path, found, time)
    names = _choose_columns(tuple(found), columns, time)
    chosen = {name: _get_array(path, found, name, "data.columns") for name in names}
    lengths = {name: len(array) for name, array in chosen.items()}
    if times is not None:
        lengths[f"{time}"] = len(times.moments)
    if not names or not min(lengths.values()):
        raise DataError(f"{path}: no array (T,) or (T, C) with a number in it", advice="give another file")
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataError(f"{path}: columns of different lengths ({listed})", advice="name those to read in data.columns")
    source = ColumnSource(f"{path}", "'{}'".format, "item {}".format, known=known)
    values, filled = combine_columns(source, [read_array(name, array) for name, array in chosen.items()], missing)
    return Series(values, names, sha256, times, filled=filled)


def _read_times(path: Path, found: Mapping[str, NDArray[Any]], time: str) -> Times:
    column = read_array(time, _get_array(path, found, time, "data.time"))
    source = ColumnSource(f"{path}", "'{}'".format, "item {}".format, known=True)
    moments = combine_columns(source, [column], "error")[0][:, 0]
    late = numpy.flatnonzero(~(moments[1:] > moments[:-1]))
    if len(late):
        raise DataError(
            f"{path}, '{time}', item {late[0] + 1}: {moments[late[0] + 1]} is not later than the item before",
            advice="sort the items by time, and remove repeated ones",
        )
    return Times(moments, [f"{moment:.15g}" for moment in moments], dates=False)


def _get_array(path: Path, found: Mapping[str, NDArray[Any]], name: str, option: str) -> NDArray[Any]:
    if name not in found:
        raise DataError(
            f"{path}: no column '{name}' ({option}); found {', '.join(map(repr, found)) or 'none'}"
            f"{suggest_name(name, found)}",
            advice=f"set {option} to a column",
        )
    return found[name]


def read_eeg() -> Series:
    """Read four channels of a real electroencephalogram, 800 samples each, from matplotlib's sample data."""
    from matplotlib import get_data_path

    path = Path(get_data_path()) / "sample_data" / "eeg.dat"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the EEG sample comes with matplotlib, but {path} cannot be read ({error.strerror})",
            advice="install matplotlib 3.9 or later from PyPI, or give the real file",
        ) from error
    values = numpy.frombuffer(content, "<f8").reshape(_EEG_STEPS, _EEG_CHANNELS)
    columns = tuple(f"channel {number}" for number in range(_EEG_CHANNELS))
    return Series(values.copy(), columns, hashlib.sha256(content).hexdigest())
