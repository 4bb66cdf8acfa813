"""How a text file separates and quotes its fields: found from its content, or set by an option."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from dltrain.dataset import Treatment

Separator = Literal["auto", "comma", "semicolon", "tab", "pipe"]
Quoting = Literal["auto", "standard", "none"]

CHARACTERS: Mapping[str, str] = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_LOOKED_AT = 20
"""Rows, with the header, that must have the same number of fields for a separator to be found."""


@dataclass(frozen=True)
class Layout:
    """The options of a file's form; auto: found from the content of each file."""

    separator: Separator = "auto"
    quoting: Quoting = "auto"

    def to_assets(self) -> dict[str, Any]:
        """What a model's assets hold: nothing if all of it is found from the content."""
        return {} if self == Layout() else {"layout": asdict(self)}


class FieldForm:
    """The separator and the quoting of one file; `found` describes what is not usual for its suffix."""

    def __init__(self, text: str, suffix: str, layout: Layout) -> None:
        usual = "\t" if suffix == ".tsv" else ","
        if layout.separator != "auto":
            self.separator = CHARACTERS[layout.separator]
        else:
            self.separator = usual if suffix == ".tsv" else _find_separator(text)
        unquoted = suffix == ".tsv" and self.separator == "\t"
        self.quoted = not unquoted if layout.quoting != "none" else False
        notes = [f"separated by {_NAMES[self.separator]}"] if self.separator != usual else []
        if unquoted and layout.quoting != "none" and (layout.quoting == "standard" or _is_quoted(text)):
            self.quoted = True
            notes.append("quoted")
        self.found = ", ".join(notes) or None


def list_forms(forms: Mapping[str, tuple[str, int]]) -> list[Treatment]:
    """What was found of the form of each file, by name, with its number of rows."""
    return [
        Treatment(
            what=f"{Path(name).name}: {form}",
            count=count,
            total=count,
            unit="rows",
            option="data.separator" if form.startswith("separated") else "data.quoting",
        )
        for name, (form, count) in forms.items()
    ]


def restore_layout(assets: Mapping[str, Any], texts: Iterable[str], layout: Layout | None = None) -> Layout:
    """The layout of a model's files; quotation marks are text if those of training's `texts` are part of them."""
    layout = layout or Layout(**assets.get("layout", {}))
    kept = layout.quoting == "auto" and any(len(text) > 1 and text[0] == text[-1] == '"' for text in texts)
    return Layout(layout.separator, "none") if kept else layout


def split_lines(text: str) -> Iterator[str]:
    """The lines of a text with their ends, without a copy of all of it."""
    return (match[0] for match in re.finditer(r"[^\n]*\n|[^\n]+", text))


def _find_separator(text: str) -> str:
    """The separator that splits the first rows into equal numbers of fields, several; the comma where none does."""
    widths = {each: _measure_width(text, each) for each in CHARACTERS.values()}
    if widths[","] > 1 or max(widths.values()) < 2:
        return ","
    return max(widths, key=lambda each: widths[each])


def _measure_width(text: str, separator: str) -> int:
    """The number of fields of each of the first rows; 0 if it differs."""
    try:
        rows = csv.reader(split_lines(text), delimiter=separator, strict=True)
        widths = {len(row) for row in islice(rows, _LOOKED_AT) if row}
    except csv.Error:
        return 0
    return widths.pop() if len(widths) == 1 else 0


_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^"\t\n]*))(\t|\n|\Z)')


def _is_quoted(text: str) -> bool:
    """Whether fields between tabs are quoted as in RFC 4180: each quotation mark belongs to a quoted field, and

    lines alone are no rows of equal length, or all values of a column are quoted, or marks in a field are doubled.
    """
    if '"' not in text or (rows := _read_quoted(text)) is None or len({len(row) for row in rows}) != 1:
        return False
    lines = [line for line in text.split("\n") if line]
    if len({line.count("\t") for line in lines}) > 1:
        return True
    fields = [field for row in rows for field in row if field.startswith('"')]
    if any("\t" in field or "\n" in field for field in fields):
        return False  # lines alone are rows as well, and a lone mark is an ordinary character
    whole = [[field for field in column if field] for column in zip(*rows[1:], strict=True)] + [rows[0]]
    return any('""' in field[1:-1] for field in fields) or any(
        column and all(field.startswith('"') for field in column) for column in whole
    )


def _read_quoted(text: str) -> list[list[str]] | None:
    """The rows of fields with their marks, empty lines left out; None if a mark does not belong to a quoted field."""
    rows, row, place = [], [], 0
    while place < len(text):
        match = _FIELD.match(text, place)
        if match is None:
            return None
        row.append(match[0].removesuffix(match[3]) if match[3] else match[0])
        place = match.end()
        if match[3] != "\t" or place == len(text):
            if match[3] == "\t":
                row.append("")
            if row != [""]:
                rows.append(row)
            row = []
    return rows
