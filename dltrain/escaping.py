"""Text of unknown origin, such as file names and labels, shown so that it can only be read: never as a command.

Where it goes decides: a terminal obeys control characters, a line and a table end at some of them, and a spreadsheet
computes cells. For HTML there is `dltrain.report.markup.escape`, which uses this module; JSON escapes by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_CONTROLS = (
    *range(0x20), *range(0x7F, 0xA0),
    0x2028, 0x2029,  # separators of lines and paragraphs
    *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # bidirectional embeddings, overrides and isolates
)  # fmt: skip
_SURROGATES = range(0xD800, 0xE000)
"""What stands for the bytes of a name that is not UTF-8 is 0xDC80 to 0xDCFF."""
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")


def _name_character(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    named = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
    return named.get(code) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


_ALL = {code: _name_character(code) for code in chain(_CONTROLS, _SURROGATES)}
_LAID_OUT = {code: name for code, name in _ALL.items() if code not in (0x09, 0x0A)}
_BREAKS = {code: _ALL[code] for code in (*range(0x09, 0x0E), 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029)}


def show_controls(text: str) -> str:
    r"""A text of lines for a terminal: control characters but \t and \n, and those that turn the order, as \x1b."""
    return text.translate(_LAID_OUT)


def show_all_controls(text: object) -> str:
    r"""As `show_controls`, for a name by itself: \t and \n are visible too."""
    return str(text).translate(_ALL)


def keep_on_line(text: object) -> str:
    r"""A name within a line for people: what would end the line or the column is visible, as \n; the rest unchanged."""
    return str(text).translate(_BREAKS)


def format_fields(fields: Iterable[object], *, terminal: bool = False) -> str:
    r"""A line of tab-separated fields without its end.

    A field with a tab or a line break, or one that starts with a quote, is quoted as in CSV, so that any name can be
    read back. For a `terminal` control characters are visible instead.
    """
    return "\t".join(map(show_all_controls if terminal else _quote_field, fields))


def _quote_field(field: object) -> str:
    text = str(field)
    quoted = text.startswith('"') or any(character in text for character in "\t\n\r")
    return '"' + text.replace('"', '""') + '"' if quoted else text


def guard_formula(cell: object) -> object:
    """A cell of CSV that no spreadsheet takes for a formula: such a text gets an apostrophe, a number does not."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def open_console(out: TextIO) -> Console:
    """A console for a progress bar, whose control sequences the terminal obeys; names need `show_controls` first."""
    from rich.console import Console

    return Console(file=getattr(out, "obeyed", out))
