"""Numbers as spreadsheets write them: decimal commas, thousands separators, signs, negatives in parentheses."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

from dltrain.dataset import Treatment
from dltrain.errors import DataError

Decimal = Literal["auto", "point", "comma"]
Mark = Literal["point", "comma"]

MISSING = ("", "na", "n/a", "nan", "null", "none", "?")
"""Texts, in lower case, that stand for a missing number."""

_SAMPLE = 200
"""Different texts of a column to look at, before all of them are."""
_BLANKS = " \u00a0\u2009\u202f"
_CURRENCY = r"[$£¥¢฿\u20a0-\u20c0]|US\$|R\$|EUR|USD|GBP|CHF|JPY|CNY|INR|kr|zł|Kč"
_SIGNED = re.compile(
    rf"(?P<minus>[-+\u2212]?)\s*(?P<before>{_CURRENCY})?\s*(?P<later>[-+\u2212]?)\s*"
    rf"(?P<body>[\d.,][\d.,'’{_BLANKS}]*?(?:[eE][-+]?\d+)?)\s*(?P<after>{_CURRENCY})?\s*(?P<percent>%)?"
)
_PARENTHESES = re.compile(rf"(?P<before>{_CURRENCY})?\s*\((?P<inner>[^()]+)\)\s*(?P<after>{_CURRENCY}|%)?")
_MARKS: Mapping[Mark, tuple[str, str]] = {"point": (".", ","), "comma": (",", ".")}
"""The decimal mark, and the other one, which then separates thousands."""
_BODIES = {
    mark: re.compile(
        rf"(?P<whole>0|[1-9]\d*|[1-9]\d{{0,2}}(?P<group>[{other}'’{_BLANKS}])\d{{3}}(?:(?P=group)\d{{3}})*|)"
        rf"(?:[{own}](?P<fraction>\d+))?(?P<exponent>[eE][-+]?\d+)?"
    )
    for mark, (own, other) in _MARKS.items()
}
_FEW = 5
_THOUSANDS, _SMALL = re.compile(r"-?[1-9]\d{0,2}\.\d{3}"), re.compile(r"-?\d{1,3}")
_NUMBERED = re.compile(r"\(\d+\)")
_LONG = re.compile(rf"\d+(?:[{_BLANKS}]\d{{3}}){{2,}}")


class PlainNumber(str):
    """A number that was none as text before: of JSON, or of a config; its point is a decimal point in any column."""


class ReadNumber(NamedTuple):
    """A text as a number by the decimal mark, each None where it is none, and its signs."""

    point: float | None
    comma: float | None
    currency: str = ""
    percent: bool = False


def parse_number(text: str) -> float | None:
    """Parse a number: NaN for a missing one, None for another text."""
    if text.strip().lower() in MISSING:
        return math.nan
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def read_number(text: str) -> ReadNumber:
    """Read a text that is not missing by both decimal marks."""
    plain = parse_number(text)
    if isinstance(text, PlainNumber) or (plain is not None and "." not in text):
        return ReadNumber(plain, plain)
    match = _match_signed(text)
    if match is None or (match["minus"] and match["later"]) or (match["before"] and match["after"]):
        return ReadNumber(plain, None)
    sign = -1.0 if (match["minus"] or match["later"]) in ("-", "\u2212") else 1.0
    scale = 0.01 if match["percent"] else 1.0
    values = [_parse_body(match["body"], mark) for mark in _MARKS]
    point, comma = (None if value is None else _scale(sign * value, scale) for value in values)
    currency = match["before"] or match["after"] or ""
    return ReadNumber(point if plain is None else plain, comma, currency, bool(match["percent"]))


def _match_signed(text: str) -> re.Match[str] | None:
    """Match a number with its signs; parentheses around it are a minus, as accounts write (1,234) and $(5)."""
    text = text.strip()
    if (match := _PARENTHESES.fullmatch(text)) is not None:
        text = f"-{match['before'] or ''}{match['inner'].strip()}{match['after'] or ''}"
    return _SIGNED.fullmatch(text)


def _is_negative_of_accounts(text: str) -> bool:
    return _PARENTHESES.fullmatch(text.strip()) is not None


def _scale(value: float, scale: float) -> float:
    return value if scale == 1 else value / 100  # exact where the quotient is


def _parse_body(body: str, mark: Mark) -> float | None:
    match = _BODIES[mark].fullmatch(body)
    if match is None or not (match["whole"] or match["fraction"]):
        return None
    whole = "".join(letter for letter in match["whole"] if letter.isdigit())
    return float(f"{whole or 0}.{match['fraction'] or 0}{match['exponent'] or ''}")


@dataclass(frozen=True)
class NumberFormat:
    """How the numbers of a column are written; `example` is one of them."""

    decimal: Mark
    currency: str = ""
    percent: bool = False
    example: str = ""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    def parse(self, text: str) -> float | None:
        """Parse a number: NaN for a missing one, None for what is not written so. 12% is 0.12."""
        if text.strip().lower() in MISSING:
            return math.nan
        found = read_number(text)
        value = found.comma if self.decimal == "comma" else found.point
        if found.currency not in ("", self.currency) or (found.percent != self.percent and value != 0):
            return None
        return value

    def refuse(self, where: str, text: str, known: bool) -> DataError:
        """The error for a text that is not written so; `known`: training's are."""
        found, shown = read_number(text), text.strip()[:60]
        like = f"; the {'numbers of training' if known else 'others'} are written like '{self.example}'"
        other = "point" if self.decimal == "comma" else "comma"
        if found.percent != self.percent and found.point is not None:
            lacks = "has a percent sign" if found.percent else "has no percent sign"
            return DataError(
                f"{where}: '{shown}' {lacks}{like}", advice="write all of them with it, or none (12% is 0.12)"
            )
        if found.currency not in ("", self.currency):
            return DataError(
                f"{where}: '{shown}' is in another currency{like}",
                advice="convert it, or name the column in data.categorical, or leave it out with data.ignore",
            )
        if found.point is None and found.comma is None:
            return DataError(
                f"{where}: '{shown}' is not a number{like}",
                advice="correct the value, or leave the column out with data.ignore, or name it in data.categorical",
            )
        advice = f"write it so, or {'train with' if known else 'set'} data.decimal={other} if that is its decimal mark"
        return DataError(f"{where}: '{shown}' is not a number with a decimal {self.decimal}{like}", advice=advice)


class NumberColumn:
    """The texts of a column as numbers, by both decimal marks."""

    def __init__(self, texts: Counter[str]) -> None:
        self.texts = Counter({text: count for text, count in texts.items() if text.strip().lower() not in MISSING})
        self.total = self.texts.total()
        self.read = {text: read_number(text) for text in self.texts}
        self.decorated = next(
            (text for text in self.texts if parse_number(text) is None and self._is_number(text)), None
        )
        self.fits: dict[Mark, int] = {"point": self._count(0), "comma": self._count(1)}

    def _is_number(self, text: str) -> bool:
        return self.read[text][:2] != (None, None)

    def _count(self, place: int) -> int:
        return sum(count for text, count in self.texts.items() if self.read[text][place] is not None)

    @property
    def mostly_numbers(self) -> bool:
        return 2 * max(self.fits.values()) > self.total

    @property
    def mark(self) -> Mark | None:
        """The decimal mark that fits more texts than the other; None where both fit."""
        if self.fits["point"] == self.fits["comma"]:
            return None
        return "point" if self.fits["point"] > self.fits["comma"] else "comma"

    @property
    def ambiguous(self) -> str | None:
        """A text whose value depends on the decimal mark, where no other text decides."""
        if self.mark is not None:
            return None
        return next((text for text, found in self.read.items() if None not in found[:2] and found[0] != found[1]), None)

    @property
    def looks_like_codes(self) -> bool:
        """Whether all are groups of digits between blanks, equally long, as phone numbers are; or integers like (1)."""
        if self.texts and all(_NUMBERED.fullmatch(text.strip()) for text in self.texts):
            return True
        return len({len(text.strip()) for text in self.texts}) == 1 and all(
            _LONG.fullmatch(text.strip()) for text in self.texts
        )

    def make_format(self, mark: Mark) -> NumberFormat:
        """The format of most of the numbers."""
        signs = Counter[tuple[str, bool]]()
        for text, count in self.texts.items():
            found = self.read[text]
            if self._is_number(text) and found.point != 0:
                signs[found.currency, found.percent] += count
        currency = next((sign for (sign, _), _ in signs.most_common() if sign), "")
        percent = sum(count for (_, sign), count in signs.items() if sign) * 2 > signs.total()
        example = next(iter(self._changed(mark)), self.decorated or next(iter(self.texts), ""))
        return NumberFormat(mark, currency, percent, example=example.strip())

    def _changed(self, mark: Mark) -> Iterator[str]:
        """The texts that are other numbers, or none, without the format."""
        for text, found in self.read.items():
            value = found.comma if mark == "comma" else found.point
            if value is not None and (isinstance(text, PlainNumber) or parse_number(text) != value):
                yield text

    def describe(self, name: str, form: NumberFormat) -> Treatment | None:
        """Report how the column is read; None if no text of it needs that."""
        changed = list(self._changed(form.decimal))
        if not changed:
            return None
        comma = form.decimal == "comma"
        bodies = [match["body"] for text in changed if (match := _match_signed(text))]
        kinds = [
            *(["thousands separators"] if any(_has_groups(body, form.decimal) for body in bodies) else []),
            *(["decimal commas"] if comma and any("," in body for body in bodies) else []),
            *(["negatives in parentheses"] if any(map(_is_negative_of_accounts, changed)) else []),
            *(["currency signs"] if form.currency else []),
            *(["percent signs (12% is 0.12)"] if form.percent else []),
        ]
        what = f"column '{name}': numbers with {' and '.join(kinds) or 'signs'}, such as '{changed[0].strip()}'"
        count = sum(self.texts[text] for text in changed)
        return Treatment(what=what, count=count, total=self.total, option="data.decimal")


def _has_groups(body: str, mark: Mark) -> bool:
    match = _BODIES[mark].fullmatch(body)
    return match is not None and match["group"] is not None


class FoundFormats(NamedTuple):
    """The formats of columns, how they are reported, and a text of each column whose decimal mark is not decided."""

    formats: dict[str, NumberFormat]
    treatments: list[Treatment]
    ambiguous: dict[str, str]


def find_formats(columns: Mapping[str, NumberColumn], decimal: Decimal, separators: Collection[str]) -> FoundFormats:
    """Find how the numbers of a table's columns are written; `columns` are those of numbers, all or most of them.

    Where both decimal marks fit a column, `decimal` decides, then the other columns, then commas between fields: who
    writes decimal commas separates fields by semicolons. Columns of plain numbers have no format.
    """
    marks = {column.mark for column in columns.values()} - {None}
    usual: Mark | None = decimal if decimal != "auto" else marks.pop() if len(marks) == 1 else None
    if usual is None and not marks and "," in separators:
        usual = "point"
    found = FoundFormats({}, [], {})
    for name, column in columns.items():
        mark = column.mark or usual
        if column.decorated is None and decimal == "auto" and mark != "comma":
            continue
        if mark is None and column.ambiguous is not None:
            found.ambiguous[name] = column.ambiguous
            continue
        form = column.make_format(mark or "point")
        found.formats[name] = form
        if (treatment := column.describe(name, form)) is not None:
            found.treatments.append(treatment)
    return found


def describe_ambiguous(table: str, ambiguous: Mapping[str, str]) -> str:
    """Describe columns whose decimal mark is not decided."""
    listed = ", ".join(f"'{name}' (such as '{text.strip()}')" for name, text in ambiguous.items())
    return (
        f"{table}: the numbers of column {listed} may have thousands separators or decimal "
        f"{'commas' if any(',' in text for text in ambiguous.values()) else 'points'}"
    )


AMBIGUOUS_ADVICE = (
    "set data.decimal=point if these separate thousands in 1,234, or data.decimal=comma if 1,234 is 1.234"
)


def find_thousands(texts: Collection[str]) -> str | None:
    """A number such as 50.495 of a column of plain numbers that has integers, and no other digits after a point.

    Points are then likely to separate thousands; decimals also have one or two digits, or all of them have three.
    """
    points = [text for text in texts if "." in text]
    if (
        len(points) < _FEW
        or len(points) == len(texts)
        or not all(_THOUSANDS.fullmatch(text.strip()) for text in points)
    ):
        return None
    whole = [text.strip() for text in texts if "." not in text and text.strip().lower() not in MISSING]
    return points[0] if whole and all(_SMALL.fullmatch(text) for text in whole) else None


def may_be_numbers(texts: Counter[str]) -> bool:
    """Whether the first different texts of a column are numbers to a large part."""
    known = list(islice((text for text in texts if text.strip().lower() not in MISSING), _SAMPLE))
    return 4 * sum(read_number(text)[:2] != (None, None) for text in known) > len(known)
