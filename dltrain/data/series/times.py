"""The times of a series' rows: parse them, check that they rise, and find the gaps between them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.dates import DateOrder, find_date_order, parse_date
from dltrain.errors import DataError

LONGER = 1.5
"""A step is a gap if it is longer than this many usual steps. A month, quarter or year never is."""

USUAL_GAPS = 0.05
"""The share of training's steps from which on longer ones belong to the series, such as weekends."""

ENOUGH_STEPS = 5
"""The steps of a window that may all be long ones by chance are fewer."""

_CLOCKS_BACK = timedelta(hours=1)
_CHANGES_OF_CLOCKS = (3, 4, 9, 10, 11)
"""The months in which daylight saving time ends, in the south and in the north; it does so around a Sunday."""
_SATURDAY = 5

_OFFSET = re.compile(r":\d{2}(?:[.,]\d+)?\s*(?:[AaPp]\.?[Mm]\.?)?\s*(?:Z|UTC|([-+])(\d{2}):?(\d{2})?)")
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
_EPOCH = datetime(1970, 1, 1)

Moments = NDArray[numpy.float64]


class Gaps(NamedTuple):
    """Steps in time of a series that are longer than usual.

    `usual` is the median step. `after` (T - 1,) bool marks the rows that a gap follows; `longest` is the longest step,
    which follows row `row`.
    """

    usual: float
    after: NDArray[numpy.bool_]
    longest: float
    row: int

    def describe(self, times: Times) -> str:
        """Describe how often a step is longer than usual, and the longest."""
        count = int(self.after.sum())
        return (
            f"{count} of {len(self.after)} steps in time {'is' if count == 1 else 'are'} longer than the usual "
            f"{times.format_step(self.usual)}, the longest is {self.describe_longest(times)}"
        )

    def describe_longest(self, times: Times) -> str:
        return f"{times.format_step(self.longest)} after {times.texts[self.row]}"


@dataclass(frozen=True)
class Times:
    """The times of rows, (T,) float64: seconds since 1970 in UTC if they are dates, else the numbers themselves.

    `texts` are the times as the file has them.
    """

    moments: Moments
    texts: Sequence[str]
    dates: bool

    def measure_step(self, across_gaps: bool) -> dict[str, Any]:
        """What a model keeps of its training rows' steps: the `usual` one, and the `longest` that is no gap.

        With windows `across_gaps`, those are no gaps that are frequent. Empty for fewer than two rows.
        """
        if len(self.moments) < 2:
            return {}
        steps = numpy.diff(self.moments)
        usual = float(numpy.median(steps))
        longest = float(numpy.quantile(steps, 1 - USUAL_GAPS, method="lower")) if across_gaps else usual
        return {"step": {"usual": usual, "longest": max(usual, longest), "dates": self.dates}}

    def compare_step(self, step: Mapping[str, Any]) -> str | None:
        """Describe how the steps of these rows differ from those of training, as `measure_step` gives them."""
        if self.dates != step["dates"]:
            kinds = ("dates", "numbers") if self.dates else ("numbers", "dates")
            return f"the times of the last window are {kinds[0]}, those of training {kinds[1]}"
        usual, gaps = step["usual"], self.find_gaps(step["longest"])
        if gaps is None:
            return None
        steps = numpy.diff(self.moments)
        own = float(numpy.quantile(steps, 0.5, method="lower"))
        most = usual if len(steps) >= ENOUGH_STEPS else step["longest"]
        if not (usual <= LONGER * own and own <= LONGER * most):
            return (
                f"the usual step in time of the last window is {self.format_step(own)}, that of training is "
                f"{self.format_step(usual)}; forecasts are for training's"
            )
        if not gaps.after.any():
            return None
        return (
            f"the last window runs across a gap: {gaps.describe_longest(self)}, where training's usual step is "
            f"{self.format_step(usual)}"
        )

    def select(self, rows: slice) -> Times:
        return Times(self.moments[rows], self.texts[rows], self.dates)

    def find_gaps(self, usual: float | None = None) -> Gaps | None:
        """Find the steps longer than 1.5 `usual` ones, by default the median; None for fewer than two rows."""
        if len(self.moments) < 2:
            return None
        steps = numpy.diff(self.moments)
        usual = float(numpy.median(steps)) if usual is None else usual
        row = int(steps.argmax())
        return Gaps(usual, steps > LONGER * usual, longest=float(steps[row]), row=row)

    def format_step(self, step: float) -> str:
        return format_duration(step) if self.dates else f"{step:g}"


def format_duration(seconds: float) -> str:
    """Format a number of seconds in its largest units, such as "2 days 3 hours"; of months and years the days."""
    parts, left = [], seconds
    for unit, size in _UNITS[:3]:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count:.0f} {unit}{'' if count == 1 else 's'}")
    if left or not parts:
        parts.append(f"{left:g} second{'' if left == 1 else 's'}")
    return " ".join(parts[:2])


def parse_times(name: str, lines: Sequence[int], fields: Sequence[str]) -> Times:
    """Parse a time column.

    Raises DataError for a field that is no time, or not later than the one before it, and where some have an offset
    from UTC and others have none.
    """
    dates = not _is_number(fields[0])
    order = None if not dates or _parse_time(fields[0], True) is not None else find_date_order(fields)
    zoned = dates and _find_offset(fields[0]) is not None
    moments = numpy.zeros(len(fields))
    for row, (line, field) in enumerate(zip(lines, fields, strict=True)):
        now = _parse(field, dates, order)
        if now is None:
            allowed = "a date as ISO 8601 writes it, such as 2024-03-31T12:00" if dates else "a number"
            raise DataError(
                f"{name}, line {line}: the time is '{field}'; expected is {allowed}", advice="correct the line"
            )
        if dates and zoned != (_find_offset(field) is not None):
            has, other = ("has no", "has one") if zoned else ("has an", "has none")
            raise DataError(
                f"{name}, line {line}: the time '{field}' {has} offset from UTC, but '{fields[0]}' in line {lines[0]} "
                f"{other}",
                advice="write all times with an offset, or all of them without",
            )
        if row and not now > moments[row - 1]:
            message = f"{name}, line {line}: the time '{field}' is not later than in the row before"
            if dates and _is_clock_change(field, float(moments[row - 1]), now):
                raise DataError(
                    f"{message}; clocks may have been set back there, so that an hour occurs twice",
                    advice="write the times in UTC, or with their offset from UTC, such as +02:00",
                )
            if _all_fall(fields, dates, order):
                raise DataError(
                    f"{name}, column of times: each time is before the one in the row before: the newest is first",
                    advice="reverse the rows, since a series is read from the oldest",
                )
            raise DataError(message, advice="sort the rows by time, and remove repeated ones")
        moments[row] = now
    return Times(moments, [field.strip() for field in fields], dates)


def _parse(field: str, dates: bool, order: DateOrder | None) -> float | None:
    return _parse_time(field, dates) if order is None else _parse_day(field, order)


def _all_fall(fields: Sequence[str], dates: bool, order: DateOrder | None) -> bool:
    moments = [_parse(field, dates, order) for field in fields]
    return all(before is not None and after is not None and after < before for before, after in pairwise(moments))


def describe_order(column: str, fields: Sequence[str]) -> str | None:
    """Describe a column of dates that is not in rising order; None for other columns, and for one that is."""
    if not looks_like_dates(fields):
        return None
    order = None if _parse_time(fields[0], True) is not None else find_date_order(fields)
    moments = [_parse(field, True, order) for field in fields]
    known = numpy.array([moment for moment in moments if moment is not None])
    falls = int((numpy.diff(known) < 0).sum())
    if not falls:
        return None
    if falls == len(known) - 1:
        found = "falls from row to row, so that the newest row is first"
    else:
        found = f"is not in order: {falls} of {len(known) - 1} rows are before the row above"
    return f"column '{column}' {found}; a series is read from the oldest"


def _find_offset(field: str) -> timedelta | None:
    """The offset from UTC in a date's text; None without one."""
    try:
        return _parse_iso(field).utcoffset()
    except ValueError:
        match = _OFFSET.search(field)
    if match is None:
        return None
    sign, hours, minutes = match.groups()
    size = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return -size if sign == "-" else size


def _is_clock_change(field: str, before: float, now: float) -> bool:
    """Whether a local time that is not later than the one before may be of the hour that clocks repeat in autumn."""
    moment = _EPOCH + timedelta(seconds=now)
    return (
        ":" in field
        and _find_offset(field) is None
        and timedelta(seconds=before - now) <= _CLOCKS_BACK
        and moment.month in _CHANGES_OF_CLOCKS
        and moment.weekday() >= _SATURDAY
        and (moment.hour < 3 or moment.hour == 23)
    )


def looks_like_dates(fields: Sequence[str]) -> bool:
    """Whether all fields are dates, none of them a mere number."""
    numbers = any(_is_number(field) for field in fields)
    return not numbers and (
        all(_parse_time(field, True) is not None for field in fields) or find_date_order(fields) is not None
    )


def _is_number(field: str) -> bool:
    try:
        return bool(numpy.isfinite(float(field)))
    except ValueError:
        return False


def _parse_time(field: str, date: bool) -> float | None:
    """Parse a time; None if the field is none."""
    if not date:
        return float(field) if _is_number(field) else None
    try:
        moment = _parse_iso(field)
    except ValueError:
        return None
    return (moment.replace(tzinfo=None) - (moment.utcoffset() or timedelta()) - _EPOCH).total_seconds()


def _parse_iso(field: str) -> datetime:
    return datetime.fromisoformat(field.strip().replace("Z", "+00:00"))  # Python 3.10 does not know the Z


def _parse_day(field: str, order: DateOrder) -> float | None:
    """Parse a date that is not written as ISO 8601 says, such as 03/31/2024 or 1949-01; None if the field is none."""
    moment = parse_date(field, order)
    return None if moment is None else (moment - (_find_offset(field) or timedelta()) - _EPOCH).total_seconds()
