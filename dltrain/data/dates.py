"""Dates as people and programs write them, with or without a time of day."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from typing import Literal

from dltrain.data.numbers import MISSING

DateOrder = Literal["year", "day", "month"]
"""What a date starts with: 2024-03-31, 31.03.2024 or 03/31/2024. Dates with a month's name, and 20240331, fit all."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CLOCK = (
    r"(?:(?:T|,?\s+)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?\s*(?P<half>[AaPp]\.?[Mm]\.?)?"
    r"\s*(?:Z|UTC|[-+]\d{2}:?\d{2})?)?"
)
_NAME = r"(?P<name>[A-Za-z]{3})[a-z]*\.?"
_YEAR_FIRST = re.compile(
    rf"(?P<year>\d{{4}})(?P<mark>[-/.])(?P<month>\d{{1,2}})(?:(?P=mark)(?P<day>\d{{1,2}}){_CLOCK})?"
)
_YEAR_LAST = re.compile(rf"(?P<first>\d{{1,2}})(?P<mark>[-/.])(?P<second_>\d{{1,2}})(?P=mark)(?P<year>\d{{4}}){_CLOCK}")
_COMPACT = re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})")
_NAMED = (
    re.compile(rf"(?P<day>\d{{1,2}})[-. ]*{_NAME}[-, ]*(?P<year>\d{{4}}){_CLOCK}"),
    re.compile(rf"{_NAME}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<year>\d{{4}}){_CLOCK}"),
)


def parse_date(text: str, order: DateOrder = "year") -> datetime | None:
    """Parse a date with the time of day as it is written, whatever its zone; None for another text.

    A month such as 2024-03 is its first day. `order` says what 03/04/2024 starts with; dates that start with the year
    are parsed with any order.
    """
    text = text.strip()
    match = _YEAR_FIRST.fullmatch(text) or _COMPACT.fullmatch(text)
    if match is not None:
        return _make_date(match, int(match["month"]), int(match["day"] or 1))
    if (match := _YEAR_LAST.fullmatch(text)) is not None:
        first, second = int(match["first"]), int(match["second_"])
        if order == "year" and match["mark"] != ".":
            return None
        return _make_date(match, second, first) if order != "month" else _make_date(match, first, second)
    for pattern in _NAMED:
        match = pattern.fullmatch(text)
        if match is not None and match["name"].lower() in _MONTHS:
            return _make_date(match, _MONTHS.index(match["name"].lower()) + 1, int(match["day"]))
    return None


def _make_date(match: re.Match[str], month: int, day: int) -> datetime | None:
    found = match.groupdict()
    hour = int(found.get("hour") or 0)
    if half := found.get("half"):
        hour = hour % 12 + (12 if half[0] in "pP" else 0)
    clock = {unit: int(found.get(unit) or 0) for unit in ("minute", "second")}
    try:
        return datetime(int(match["year"]), month, day, hour, **clock)  # type: ignore[arg-type]
    except ValueError:
        return None


def find_date_order(texts: Collection[str]) -> DateOrder | None:
    """Find the order in which all texts that are not missing are dates; None if there is none, or two.

    Dates with points, such as 03.04.2024, start with the day.
    """
    known = {text.strip() for text in texts} - {""}
    known = {text for text in known if text.lower() not in MISSING}
    if not known:
        return None
    fits: list[DateOrder] = [order for order in ("year", "day", "month") if _fit_all(known, order)]
    if "year" in fits:
        return "year" if not any(_YEAR_LAST.fullmatch(text) for text in known) else "day"
    return fits[0] if len(fits) == 1 else None


def is_open_order(texts: Collection[str]) -> bool:
    """Whether all texts are dates, and all of them could start with the day as well as with the month."""
    known = {text.strip() for text in texts if text.strip().lower() not in MISSING}
    return bool(known) and find_date_order(known) is None and all(_fit_all(known, order) for order in ("day", "month"))


def _fit_all(texts: Collection[str], order: DateOrder) -> bool:
    return all(parse_date(text, order) is not None for text in texts)
