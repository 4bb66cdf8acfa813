"""Manifests, tables of sound files and their transcripts: Common Voice's releases, and the user's own.

A .tsv file has tab-separated fields without any quoting, as Common Voice writes it: a quotation mark is a character
like others. A .csv file is quoted as RFC 4180 says; a .jsonl file has one JSON object per line. Columns are
found by name, since Common Voice's releases differ in their columns and their order.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dltrain.errors import DataError

DURATIONS = "clip_durations.tsv"
CLIPS = "clips"


class Clip(NamedTuple):
    """One line of a manifest: the sound file `name`, at `path`, its transcript and its speaker.

    `speaker` is "" if not stated. `seconds` is a length stated elsewhere, or None. `fault` says what is wrong with the
    line itself; its other fields are then filled as far as they could be read.
    """

    name: str
    path: Path
    text: str
    speaker: str
    line: int
    seconds: float | None = None
    fault: str | None = None


class ManifestLine(NamedTuple):
    """The requested fields of one line, in that order, "" for missing ones; `fault` says what is wrong with it."""

    number: int
    fields: dict[str, str]
    fault: str | None = None


def read_common_voice(folder: Path, split: str) -> list[Clip]:
    """Read the clips of a locale's table FOLDER/SPLIT.tsv, with the lengths in clip_durations.tsv if it exists.

    Raises DataError for a table that cannot be read or has no clip.
    """
    path = folder / f"{split}.tsv"
    seconds = _read_durations(folder / DURATIONS) if (folder / DURATIONS).exists() else {}
    clips = []
    for line in _read_lines(path, ("path", "sentence"), ("client_id",)):
        name, text, speaker = line.fields.values()
        if name and not Path(name).suffix:  # the first releases left it out
            name += ".mp3"
        clip = Clip(name, folder / CLIPS / name, text, speaker, line=line.number, fault=line.fault)
        clips.append(clip._replace(seconds=seconds.get(name)))
    return check_not_empty(clips, path)


def read_manifest(path: Path) -> list[Clip]:
    """Read the clips of a .tsv, .csv or .jsonl file with the columns path and text, and optionally speaker.

    Paths are relative to the manifest's folder. Raises DataError as `read_common_voice` does.
    """
    clips = []
    for line in _read_lines(path, ("path", "text"), ("speaker",)):
        name, text, speaker = line.fields.values()
        clips.append(Clip(name, path.parent / name, text, speaker, line=line.number, fault=line.fault))
    return check_not_empty(clips, path)


def check_not_empty(clips: list[Clip], path: Path) -> list[Clip]:
    if not clips:
        raise DataError(
            f"{path}: names no clip; expected is one per line, after the line with the column names",
            advice="add clips to it, or name another one",
        )
    return clips


def _read_durations(path: Path) -> dict[str, float]:
    """Read the seconds of each clip; the column is `duration[ms]` or `duration`, in milliseconds."""
    _, header = next(_read_rows(path), (0, []))
    column = next((name for name in header if name.startswith("duration")), "duration[ms]")
    seconds = {}
    for line in _read_lines(path, ("clip", column), ()):
        try:
            seconds[line.fields["clip"]] = float(line.fields[column]) / 1000
        except ValueError:
            found = line.fault or f"the duration is {line.fields[column]!r}, expected milliseconds"
            raise DataError(
                f"{path}, line {line.number}: {found}", advice="correct it, or remove the file, which is optional"
            ) from None
    return seconds


def _read_lines(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[ManifestLine]:
    """Read the given columns of each line of a table. Raises DataError."""
    if path.suffix == ".jsonl":
        return _read_objects(path, required, optional)
    if path.suffix not in (".tsv", ".csv"):
        raise DataError(
            f"{path}: ends in '{path.suffix}'; a manifest is a .tsv, .csv or .jsonl file",
            advice="rename it, or name another one",
        )
    return _read_table(path, required, optional)


def _decode_lines(path: Path) -> Iterator[str]:
    """Decode lines of UTF-8 text, which end at line feeds only."""
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(f"{path}, line {number}: not UTF-8: byte 0x{byte:02x}. Save the file as UTF-8.") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error})", advice="correct its name, or its permissions"
        ) from None


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    lines = _decode_lines(path)
    if path.suffix == ".tsv":
        for number, line in enumerate(lines, 1):
            if text := line.rstrip("\r\n"):
                yield number, text.split("\t")
        return
    reader = csv.reader(lines, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: not CSV: {error}",
            advice="close the quotes, and double those within a field",
        ) from None


def _read_table(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[ManifestLine]:
    rows = _read_rows(path)
    _, header = next(rows, (0, []))
    missing = [name for name in required if name not in header]
    if missing:
        columns = ", ".join(header) or "nothing: the file is empty"
        between = "tabs" if path.suffix == ".tsv" else "commas"
        raise DataError(
            f"{path}: no column {' and no column '.join(repr(name) for name in missing)} in its first line; "
            f"found {columns}",
            advice=f"name the columns in its first line, with {between} between them",
        )
    positions = {name: header.index(name) for name in (*required, *optional) if name in header}
    blank = dict.fromkeys((*required, *optional), "")
    for number, row in rows:
        found = {name: row[position] for name, position in positions.items() if position < len(row)}
        fault = None
        if len(row) != len(header):
            cause = "a tab within a field?" if path.suffix == ".tsv" else "a comma outside quotes?"
            cause = cause if len(row) > len(header) else "cut short?"
            fault = f"line {number} of {path.name} has {len(row)} columns, its first line {len(header)} ({cause})"
        yield ManifestLine(number, {**blank, **found}, fault)


def _read_objects(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[ManifestLine]:
    for number, line in enumerate(_decode_lines(path), 1):
        if not line.strip():
            continue
        try:
            found: Any = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: not JSON: {error}", advice="write one JSON object per line"
            ) from None
        names = (*required, *optional)
        if not isinstance(found, dict) or any(not isinstance(found.get(name, ""), str) for name in names):
            raise DataError(
                f"{path}, line {number}: expected an object with texts for {', '.join(names)}, "
                f"found {line.strip()[:80]}",
                advice="correct the line, or remove it",
            )
        missing = [name for name in required if name not in found]
        fault = f"line {number} of {path.name} has no {' and no '.join(missing)}" if missing else None
        yield ManifestLine(number, {name: found.get(name, "") for name in names}, fault)
