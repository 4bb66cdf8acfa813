"""The columns of a table: what each one holds, and whether a model can use it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy
from numpy.typing import NDArray

from dltrain.data.dates import DateOrder, find_date_order, is_open_order
from dltrain.data.numbers import MISSING, NumberFormat, parse_number
from dltrain.data.risks import IDENTIFIER
from dltrain.data.tables.columns import convert_numbers, holds_numbers
from dltrain.data.tables.features import MANY_CATEGORIES, holds_names
from dltrain.data.tables.files import Table, format_cell, format_texts

ColumnKind = Literal["numbers", "categories", "dates", "text", "id", "names", "constant", "empty", "mixed"]

WORDS = 4
"""Words of a text on average, from which a column of different texts holds prose."""
MOSTLY_DIFFERENT, NEARLY_ALL = 0.5, 0.9
"""The shares of different texts from which texts can be prose, and are names."""
FEW_ROWS = 10
_CAMEL = re.compile(r".*[a-z](Id|ID)")
_DATED = re.compile(r"(?i)(.*[\W_])?(date|day|time|timestamp|datum|dob|at)")
_EXAMPLES, _LONGEST = 3, 24


@dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """What a column holds; `distinct` are its different values, `texts` (N,) its cells, "" for a missing one.

    `order` is that of dates, `open_order` whether their values leave it open. `values` (N,) are those of a column of
    numbers. `example` is a number that is written with separators or signs.
    """

    name: str
    kind: ColumnKind
    missing: int
    distinct: int
    texts: NDArray[Any]
    values: NDArray[numpy.float64] | None = None
    order: DateOrder | None = None
    open_order: bool = False
    example: str = ""

    @property
    def usable(self) -> bool:
        """Whether a model can read the column as it is, or its parts."""
        return self.kind in ("numbers", "categories", "dates")

    @property
    def whole(self) -> bool:
        """Whether all numbers are whole."""
        return self.values is not None and bool((self.values[~numpy.isnan(self.values)] % 1 == 0).all())

    def show_examples(self) -> str:
        """Some of the values, the most frequent first."""
        counted = Counter(text for text in self.texts.tolist() if text)
        shown = [_shorten(text) for text, _ in counted.most_common(_EXAMPLES)]
        return ", ".join(shown) + (", ..." if len(counted) > len(shown) else "")

    def count_values(self) -> dict[str, int]:
        """The rows of each value, the most frequent first."""
        if self.values is not None:
            known = self.values[~numpy.isnan(self.values)].tolist()
            return dict(Counter(map(format_cell, known)).most_common())
        return dict(Counter(text for text in self.texts.tolist() if text).most_common())


def _shorten(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 3].rstrip()}..."


def profile_columns(table: Table, formats: Mapping[str, NumberFormat]) -> dict[str, ColumnProfile]:
    """What each column of a table holds, by name; `formats` are those of numbers with separators or signs."""
    return {name: _profile(table, name, formats.get(name)) for name in table.columns}


def _profile(table: Table, name: str, form: NumberFormat | None) -> ColumnProfile:
    column = table.columns[name]
    texts, values = format_texts(column), _read_numbers(column, form)
    kind: ColumnKind
    if values is not None:
        known = values[~numpy.isnan(values)]
        distinct, missing = len(numpy.unique(known)), len(values) - len(known)
        first = name == next(iter(table.columns))
        kind = _name_numbers(name, known, distinct, first=first)
        if kind == "numbers" and _DATED.fullmatch(name) and (order := find_date_order(set(texts.tolist()))) is not None:
            return ColumnProfile(name=name, kind="dates", missing=missing, distinct=distinct, texts=texts, order=order)
        example = "" if form is None else form.example
        return ColumnProfile(
            name=name, kind=kind, missing=missing, distinct=distinct, texts=texts, values=values, example=example
        )
    counted = Counter(texts.tolist())
    distinct, missing = len(counted.keys() - {""}), counted[""]
    if distinct > 1 and ((order := find_date_order(counted)) is not None or is_open_order(counted)):
        absent = sum(number for text, number in counted.items() if text.lower() in MISSING)
        return ColumnProfile(
            name=name,
            kind="dates",
            missing=absent,
            distinct=distinct,
            texts=texts,
            order=order,
            open_order=order is None,
        )
    kind = _name_texts(table, name, texts, distinct)
    return ColumnProfile(name=name, kind=kind, missing=missing, distinct=distinct, texts=texts)


def _read_numbers(column: NDArray[Any], form: NumberFormat | None) -> NDArray[numpy.float64] | None:
    """The numbers of a column, (N,), NaN for a missing one; None if it holds others."""
    if column.dtype != object:
        return column
    if form is None:
        return convert_numbers(column)
    parsed = [form.parse(text) for text in column]
    return None if None in parsed else numpy.array(parsed, float)


def _name_numbers(name: str, known: NDArray[numpy.float64], distinct: int, *, first: bool) -> ColumnKind:
    if distinct < 2:
        return "constant" if distinct else "empty"
    if distinct < len(known) or (known % 1 != 0).any():
        return "numbers"
    counts_rows = first and len(known) >= FEW_ROWS and known[0] in (0, 1) and bool((numpy.diff(known) == 1).all())
    return "id" if is_identifier(name) or counts_rows else "numbers"


def _name_texts(table: Table, name: str, texts: NDArray[Any], distinct: int) -> ColumnKind:
    known = texts[texts != ""]
    if distinct < 2:
        return "constant" if distinct else "empty"
    share = distinct / len(known)
    words = sum(len(text.split()) for text in known) / len(known)
    if words >= WORDS and share >= MOSTLY_DIFFERENT and distinct >= FEW_ROWS:
        return "text"
    if is_identifier(name) and share >= MOSTLY_DIFFERENT:
        return "id"
    if holds_names(texts) or (share >= NEARLY_ALL and len(known) >= FEW_ROWS):
        return "names"
    return "mixed" if holds_numbers(table, name) else "categories"


def is_identifier(name: str) -> bool:
    """Whether a column is called as those are that number the rows."""
    return bool(IDENTIFIER.fullmatch(name.strip()) or _CAMEL.fullmatch(name.strip()))


def find_odd_text(profile: ColumnProfile) -> str:
    """A text of a column of numbers that is none."""
    return next((text for text in profile.texts if text and parse_number(text) is None), "")


PERSONAL = re.compile(
    r"(?i)(.*[\W_])?(patient|customer|client|user|subject|person|household|speaker|author|player|student|participant"
    r"|member|driver|session|machine|device)s?([\W_]?(id|no|nr|number|name|code))?"
)


def find_group(profiles: Mapping[str, ColumnProfile], rows: int) -> str | None:
    """A column whose equal values belong together, such as the patient of several rows; None if there is none."""
    for name, profile in profiles.items():
        named = PERSONAL.fullmatch(name.strip()) or (is_identifier(name) and profile.distinct > MANY_CATEGORIES)
        repeated = profile.distinct <= NEARLY_ALL * (rows - profile.missing)
        whole = profile.values is None or profile.whole
        if named and repeated and whole and profile.distinct >= 2 * FEW_ROWS and not profile.missing:
            return name
    return None
