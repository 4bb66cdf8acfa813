"""Series of numbers in time order, from .csv, .tsv, .jsonl and .npz files."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.delimited import SUFFIXES, DelimitedTable, get_table_suffix, read_delimited
from dltrain.data.tables.columns import LARGEST
from dltrain.data.text_files import scan_file
from dltrain.errors import DataError, UsageError

Values = NDArray[numpy.float64]

EEG_NAME = "EEG sample (matplotlib)"
_BOUNDS = f" between {-LARGEST:.2g} and {LARGEST:.2g}"
_ZIP_MAGIC = b"PK"
_EEG_STEPS, _EEG_CHANNELS = 800, 4


class Series(NamedTuple):
    """Numbers in time order, (T, C) float64, the names of their columns, and the SHA-256 of the file's content."""

    values: Values
    columns: tuple[str, ...]
    sha256: str


def read_series(path: Path, columns: Sequence[str] | None, time: str | None) -> Series:
    """The named columns of a file, in that order; all but `time` where none are named.

    `time` is the column that says when, and must rise from row to row. Raises DataError for a file that cannot be
    read, a column that is not there, and what is no finite number, with its line.
    """
    if path.suffix.lower() == ".npz":
        return _from_arrays(path, columns, time)
    if get_table_suffix(path) is None:
        raise DataError(
            f"{path}: ends in '{path.suffix}'; allowed are {', '.join(SUFFIXES)} (plain or .gz) and .npz",
            advice="rename the file, or give another one",
        )
    file = scan_file(path)
    return select_series(read_delimited(file), columns, time)._replace(sha256=file.sha256)


def select_series(table: DelimitedTable, columns: Sequence[str] | None, time: str | None) -> Series:
    """The named columns of a table as `read_series` gives them, without a hash."""
    if all(_finite(name) for name in table.columns):
        raise DataError(
            f"{table.name}: its first line holds numbers ({', '.join(table.columns[:5])}), not the columns' names",
            advice="add a first line with names",
        )
    if time is not None:
        _check_rising(table.name, table.lines, table.column(time, "data.time"))
    names = _chosen(table.columns, columns, time)
    values = [_numbers(table, name, table.column(name, "data.columns")) for name in names]
    return Series(numpy.stack(values, 1), names, "")


def _chosen(found: Sequence[str], columns: Sequence[str] | None, time: str | None) -> tuple[str, ...]:
    return tuple(name for name in found if name != time) if columns is None else tuple(columns)


def _numbers(table: DelimitedTable, name: str, fields: Sequence[str]) -> Values:
    try:
        numbers = numpy.array([float(field) for field in fields])
        if (numpy.abs(numbers) <= LARGEST).all():
            return numbers
    except ValueError:
        pass
    line, field = next((line, one) for line, one in zip(table.lines, fields, strict=True) if not _usable(one))
    shown = f"'{field}'" if field.strip() else "nothing"
    bounds = _BOUNDS if _finite(field) else ""
    raise DataError(
        f"{table.name}, line {line}, column '{name}': expected is a number{bounds}, found {shown}",
        advice="mend the field, or name the columns to read in data.columns, or the one that says when in data.time",
    )


def _finite(field: str) -> bool:
    try:
        return bool(numpy.isfinite(float(field)))
    except ValueError:
        return False


def _usable(field: str) -> bool:
    return _finite(field) and abs(float(field)) <= LARGEST


def _check_rising(name: str, lines: Sequence[int], fields: Sequence[str]) -> None:
    """Raises DataError where a row is not later than the one before it."""
    before: float | datetime | None = None
    dates = not _finite(fields[0])
    for line, field in zip(lines, fields, strict=True):
        now = _moment(field, dates)
        if now is None:
            allowed = "a date as ISO 8601 writes it, such as 2024-03-31T12:00" if dates else "a number"
            raise DataError(
                f"{name}, line {line}: the time is '{field}'; expected is {allowed}", advice="mend the line"
            )
        if before is not None and not now > before:  # type: ignore[operator]
            raise DataError(
                f"{name}, line {line}: the time '{field}' is not later than in the row before",
                advice="sort the rows by time, and leave out repeated ones",
            )
        before = now


def _moment(field: str, date: bool) -> float | datetime | None:
    """A time to compare with others; None where the field is none."""
    if not date:
        return float(field) if _finite(field) else None
    try:
        moment = datetime.fromisoformat(field.strip().replace("Z", "+00:00"))  # Python 3.10 does not know the Z
    except ValueError:
        return None
    return moment.replace(tzinfo=None) - (moment.utcoffset() or timedelta())


def _from_arrays(path: Path, columns: Sequence[str] | None, time: str | None) -> Series:
    """An array (T,) is a column of its own name, an array (T, C) the columns NAME[0], NAME[1] and so on."""
    found: dict[str, NDArray[Any]] = {}
    try:
        content = path.read_bytes()
        if not content.startswith(_ZIP_MAGIC):
            raise zipfile.BadZipFile("no zip file")
        with numpy.load(io.BytesIO(content), allow_pickle=False) as arrays:
            for name in arrays.files:
                array = arrays[name]
                if array.ndim == 2:
                    found |= {f"{name}[{place}]": array[:, place] for place in range(array.shape[1])}
                elif array.ndim == 1:
                    found[name] = array
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not an .npz file that can be read ({error})", advice="write it anew") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    if time is not None:
        moments = _array(path, found, time, "data.time")
        late = numpy.flatnonzero(~(moments[1:] > moments[:-1]))
        if len(late):
            raise DataError(
                f"{path}, '{time}', item {late[0] + 1}: {moments[late[0] + 1]} is not later than the item before",
                advice="sort the items by time, and leave out repeated ones",
            )
    names = _chosen(tuple(found), columns, time)
    values = [_array(path, found, name, "data.columns") for name in names]
    lengths = {name: len(array) for name, array in zip(names, values, strict=True)}
    if not names or not min(lengths.values()):
        raise DataError(f"{path}: no array (T,) or (T, C) with a number in it", advice="give another file")
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataError(f"{path}: columns of different lengths ({told})", advice="name those to read in data.columns")
    return Series(numpy.stack(values, 1), names, hashlib.sha256(content).hexdigest())


def _array(path: Path, found: dict[str, NDArray[Any]], name: str, option: str) -> Values:
    if name not in found:
        near = get_close_matches(name, found, 1)
        guess = f"\ndid you mean '{near[0]}'?" if near else ""
        raise DataError(
            f"{path}: no column '{name}' ({option}); found {', '.join(map(repr, found)) or 'none'}{guess}",
            advice=f"set {option} to a column",
        )
    array = found[name]
    usable = numpy.abs(array) <= LARGEST if array.dtype.kind in "fiub" else numpy.zeros(1, bool)
    if not usable.all():
        wrong = int(numpy.flatnonzero(~usable)[0])
        bounds = _BOUNDS if _finite(str(array[wrong])) else ""
        raise DataError(
            f"{path}, '{name}', item {wrong}: expected is a number{bounds}, found {array[wrong]!s:.40}",
            advice="mend the item, or name the columns to read in data.columns",
        )
    return array.astype(numpy.float64)


def read_eeg() -> Series:
    """Four channels of a real electroencephalogram, 800 samples each, that come with matplotlib for its examples."""
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
