"""The report of everything that is wrong with a config: where, what was found, what is allowed, the nearest name."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.errors import ConfigError

if TYPE_CHECKING:
    from dltrain.config.paths import Base

LINE_WIDTH = 100
"""Columns of an offending line that are shown; a longer one is clipped around the caret."""
MESSAGE_LENGTH = 400
"""A message may quote a name from the file, which may be of any length."""
FAULTS_SHOWN = 50
LONGEST_NAME = 100
"""A longer word is not a misspelt name."""


@dataclass(frozen=True)
class SourceText:
    """A text that settings come from: a file, one ``--set`` flag, or a tree without lines.

    `rank` orders sources within a report. Without `positions`, places in it are called by its name alone. `path` is
    the file where `name` is not. `base` is what paths in it are relative to; None: the working directory.
    """

    name: str
    lines: tuple[str, ...] = ()
    rank: int = 0
    positions: bool = True
    path: str = ""
    base: Base | None = None


@dataclass(frozen=True)
class Place:
    """A line and a column of a source, both from 1; line 0 is the source as a whole."""

    source: SourceText
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if self.line == 0 or not self.source.positions:
            return self.source.name
        return f"{self.source.name}:{self.line}:{self.column}"

    def shift(self, columns: int) -> Place:
        """The place that is this number of columns further right; a source as a whole has none."""
        return replace(self, column=self.column + columns) if self.line else self


@dataclass(frozen=True)
class Fault:
    """One thing wrong at one place; `allowed` and `nearest` say what would be right.

    A `cause` is one that other faults may follow from, such as a plug-in that cannot be imported; it is reported first.
    """

    place: Place
    message: str
    allowed: str | None = None
    nearest: str | None = None
    cause: bool = False

    def __str__(self) -> str:
        message = self.message if len(self.message) <= MESSAGE_LENGTH else self.message[:MESSAGE_LENGTH] + "..."
        lines = [f"{self.place}: error: {message}"]
        if 1 <= self.place.line <= len(self.place.source.lines):
            lines += _point_at(self.place.source.lines[self.place.line - 1], self.place.column)
        if self.allowed is not None:
            lines.append(f"    allowed: {self.allowed}")
        if self.nearest is not None:
            lines.append(f"    did you mean '{self.nearest}'?")
        return "\n".join(lines)


class Refused(Exception):
    """A fault after which reading cannot continue."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def build_report(faults: Iterable[Fault], source: str) -> ConfigError:
    """The error with all `faults`, causes first, then by position, ready to be raised."""

    def order(fault: Fault) -> tuple[bool, int, int, int]:
        return not fault.cause, fault.place.source.rank, fault.place.line, fault.place.column

    ordered = sorted(dict.fromkeys(faults), key=order)
    shown = [str(fault) for fault in ordered[:FAULTS_SHOWN]]
    if len(ordered) > FAULTS_SHOWN:
        shown.append(f"... and {len(ordered) - FAULTS_SHOWN} more")
    counted = "1 fault" if len(ordered) == 1 else f"{len(ordered)} faults"
    return ConfigError("\n".join([*shown, f"{counted} in {source}; nothing was started"]))


def find_nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` was probably meant to be: like it in spelling, or abbreviated by its initials."""
    if len(word) > LONGEST_NAME:
        return None
    by_form = {_normalize(choice): choice for choice in choices}
    near = difflib.get_close_matches(_normalize(word), by_form, n=1, cutoff=0.65)
    if near:
        return by_form[near[0]]
    for form, choice in by_form.items():
        if "_" in form and "".join(part[:1] for part in form.split("_")) == _normalize(word):
            return choice
    return None


def find_nearest_file(path: Path, shown: str, pattern: str = "*") -> str | None:
    """The file beside a missing one, called `shown`, that it was probably meant to be. Suffixes are not compared."""
    by_stem = {file.stem: file.name for file in list_folder_files(path.parent) if file.match(pattern)}
    near = find_nearest(path.stem, by_stem)
    return None if near is None else str(Path(shown).with_name(by_stem[near]))


def list_folder_files(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.is_file())[:1000]
    except OSError:
        return []


def _normalize(word: str) -> str:
    return word.lower().replace("-", "_")


def join_names(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "nothing"


def _point_at(line: str, column: int) -> list[str]:
    """The line, clipped and made harmless to a terminal, and the caret under `column`."""
    clean = "".join(character if character.isprintable() else " " for character in line)
    before, after = clean[: column - 1], clean[column - 1 :]
    if len(before) + len(after) > LINE_WIDTH:
        if len(before) > LINE_WIDTH // 2:
            before = "..." + before[-(LINE_WIDTH // 2) + 3 :]
        room = LINE_WIDTH - len(before)
        if len(after) > room:
            after = after[: room - 3] + "..."
    return [f"    {before}{after}".rstrip(), f"    {' ' * _count_columns(before)}^"]


def _count_columns(text: str) -> int:
    """Terminal columns that `text` takes: two for wide East Asian characters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
