"""Columns of dates as columns of their parts: years, months, days, weekdays, hours, and the days that have passed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import numpy

from dltrain.data.cleaning import clean_text
from dltrain.data.dates import DateOrder, find_date_order, is_open_order, parse_date
from dltrain.data.numbers import MISSING
from dltrain.data.tables.files import Column, Table, format_texts
from dltrain.errors import DataError, UsageError

DatePart = Literal["year", "month", "day", "weekday", "hour", "days"]
PARTS: Sequence[DatePart] = ("year", "month", "day", "weekday", "hour", "days")

_MONTHS = tuple(datetime(2000, month, 1).strftime("%m %B") for month in range(1, 13))
_WEEKDAYS = ("1 Monday", "2 Tuesday", "3 Wednesday", "4 Thursday", "5 Friday", "6 Saturday", "7 Sunday")
_START = datetime(1970, 1, 1)

_NUMBERS: Mapping[str, Callable[[datetime], float]] = {
    "year": lambda date: float(date.year),
    "day": lambda date: float(date.day),
    "days": lambda date: (date - _START).total_seconds() / 86400,
}
_CATEGORIES: Mapping[str, Callable[[datetime], str]] = {
    "month": lambda date: _MONTHS[date.month - 1],
    "weekday": lambda date: _WEEKDAYS[date.weekday()],
    "hour": lambda date: f"{date.hour:02}:00",
}


@dataclass(frozen=True)
class DateColumns:
    """The options of dates: `columns` hold them, in this `order`; `parts` are read, by default those that differ."""

    columns: Sequence[str] = ()
    order: DateOrder | Literal["auto"] = "auto"
    parts: Sequence[DatePart] | None = None


def split_dates(table: Table, dates: DateColumns) -> Table:
    """Add to a table the columns of the parts of its dates, each called as its column and the part: "sold year".

    A missing date has missing parts. Raises DataError for a value that is no date, with its position, and where dates
    may start with the day or the month; UsageError for a missing column.
    """
    for name in dates.columns:
        if name not in table.columns:
            raise UsageError(table.describe_missing(name), advice="correct data.dates")
        texts = table.columns[name] if table.columns[name].dtype == object else format_texts(table.columns[name])
        order = _find_order(table, name, texts) if dates.order == "auto" else dates.order
        moments = _parse_column(table, name, texts, order=order)
        made = {part: make_part(moments, part) for part in dates.parts or PARTS}
        if dates.parts is None:
            made = {part: column for part, column in made.items() if _differs(column)} or {"days": made["days"]}
        for part, column in made.items():
            table = _add_part(table, f"{name} {part}", column, {"column": name, "part": part, "order": order})
    return table


def restore_dates(table: Table, features: Sequence[Mapping[str, Any]]) -> Table:
    """Add the parts of dates that are among the `features` of a trained model, as training had them."""
    parsed: dict[str, Sequence[datetime | None]] = {}
    for feature in features:
        if (date := feature.get("date")) is None or feature["name"] in table.derived:
            continue
        name = clean_text(date["column"])
        if name not in table.columns:
            raise DataError(table.describe_missing(name), advice=f"give the column of dates '{name}', as in training")
        if name not in parsed:
            column = table.columns[name]
            texts = column if column.dtype == object else format_texts(column)
            parsed[name] = _parse_column(table, name, texts, order=date["order"])
        table = _add_part(table, feature["name"], make_part(parsed[name], date["part"]), date)
    return table


def make_part(moments: Sequence[datetime | None], part: str) -> Column:
    """A part of dates (N,): numbers, NaN for a missing date; or texts, "" for one, of months, weekdays and hours."""
    if part in _NUMBERS:
        return numpy.array([numpy.nan if each is None else _NUMBERS[part](each) for each in moments], float)
    return numpy.array(["" if each is None else _CATEGORIES[part](each) for each in moments], object)


def _add_part(table: Table, name: str, column: Column, origin: Mapping[str, str]) -> Table:
    if name in table.columns and name not in table.derived:
        raise DataError(
            f"{table.name}: column '{name}' has the name of a part of the dates in '{origin['column']}'",
            advice="rename the column",
        )
    columns, derived = {**table.columns, name: column}, {**table.derived, name: origin}
    return replace(table, columns=columns, derived=derived)


def _differs(column: Column) -> bool:
    values = column[~numpy.isnan(column)] if column.dtype != object else column[column != ""]
    return len(values) > 0 and bool((values != values[0]).any())


def _find_order(table: Table, name: str, texts: Column) -> DateOrder:
    counted = Counter(texts.tolist())
    if (order := find_date_order(counted)) is not None:
        return order
    if is_open_order(counted):
        shown = next(text for text in counted if text.strip().lower() not in MISSING)
        raise DataError(
            f"{table.name}: column '{name}' does not show whether its dates start with the day or the month, such as "
            f"'{shown.strip()}'",
            advice="set data.date_order=day or data.date_order=month",
        )
    best: DateOrder = max(("year", "day", "month"), key=lambda each: _count_dates(counted, each))
    return best  # the first text that is no date is then reported with its position


def _count_dates(texts: Mapping[str, int], order: DateOrder) -> int:
    return sum(count for text, count in texts.items() if parse_date(text, order) is not None)


def _parse_column(table: Table, name: str, texts: Column, *, order: DateOrder) -> list[datetime | None]:
    """Parse a column, (N,), None for a missing date. Raises DataError, with the position, for another text."""
    known: dict[str, datetime | None] = {}
    for row, text in enumerate(texts):
        if text in known:
            continue
        known[text] = None if text.strip().lower() in MISSING else parse_date(text, order)
        if known[text] is None and text.strip().lower() not in MISSING:
            starts = {"year": "the year, such as 2024-03-31", "day": "the day, such as 31.03.2024"}
            raise DataError(
                f"{table.locate(row, name)}: '{text.strip()[:60]}' is not a date that starts with "
                f"{starts.get(order, 'the month, such as 03/31/2024')}",
                advice="correct the value, or leave the column out of data.dates, or set data.date_order",
            )
    return [known[text] for text in texts]
