"""Draft a config for a series: a table whose rows follow each other in time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from dltrain.data.dates import parse_date
from dltrain.data.series.files import read_series
from dltrain.data.series.seasons import find_season
from dltrain.data.series.times import Times, format_duration, parse_times
from dltrain.data.wording import join_some
from dltrain.errors import DataError, UsageError
from dltrain.starting.columns import ColumnProfile
from dltrain.starting.draft import Draft, choose_epochs, count, join_names, keep_given, make_name
from dltrain.starting.tables import InspectedTable, inspect_table, tabulate
from dltrain.starting.targets import find_column, find_usual

REGULAR, ROWS = 0.9, 20
"""The share of steps in time that must be usual ones, and the rows that a table must have, to be taken for a series."""
_TIMES = re.compile(
    r"(?i)(.*[\W_])?(time|timestamp|date|day|month|week|quarter|year|hour|minute|second|t|step|datum|ds)"
)
MOST_WINDOW, USUAL_WINDOW, WINDOWS = 168, 16, 12
"""The longest window, that without a season, and how often a window must fit into the rows at least."""
FEW_VALUES = 1000
"""Rows up to which a linear model is chosen."""


@dataclass(frozen=True, kw_only=True)
class TimeColumn:
    """A column of times that rise from row to row, and how regular their steps are, 0 to 1."""

    name: str
    times: Times
    regular: float


def find_time_column(found: InspectedTable) -> TimeColumn | None:
    """Find the first column of times, dates or numbers with a usual name, that rises from row to row."""
    for name, profile in found.profiles.items():
        dated = profile.kind == "dates" and not profile.missing
        counted = profile.values is not None and not profile.missing and _TIMES.fullmatch(name.strip())
        if (not dated and not counted) or profile.distinct < len(found.table):
            continue
        try:
            times = parse_times(found.path.name, range(len(found.table)), profile.texts.tolist())
        except DataError:
            continue
        steps = numpy.diff(times.moments)
        usual = float(numpy.median(steps)) if len(steps) else 0.0
        near = (steps > usual / 1.5) & (steps < 1.5 * usual)
        return TimeColumn(name=name, times=times, regular=float(near.mean()) if len(steps) else 0.0)
    return None


def find_falling_dates(found: InspectedTable) -> str | None:
    """A column of dates whose newest row is the first, as downloads of stock prices have it."""
    for name, profile in found.profiles.items():
        if profile.kind != "dates" or profile.missing or profile.order is None or len(profile.texts) < 2:
            continue
        dates = [parse_date(text, profile.order) for text in profile.texts]
        if all(later is not None and now is not None and later < now for now, later in pairwise(dates)):
            return name
    return None


def looks_like_series(found: InspectedTable, time: TimeColumn | None, asked: str | None) -> bool:
    """Whether a table is a series: regular steps in time, and numbers in the target's and in most other columns."""
    if time is None or time.regular < REGULAR or len(found.table) < ROWS:
        return False
    others = [
        profile
        for name, profile in found.profiles.items()
        if name != time.name and profile.kind not in ("constant", "empty")
    ]
    numbers = [profile.name for profile in others if _is_readable(profile)]
    if asked is not None and asked not in numbers:
        return False
    return 2 * len(numbers) > len(others)


def _is_readable(profile: ColumnProfile) -> bool:
    return profile.kind == "numbers" and not profile.missing


def draft_series(path: Path, asked: str | None) -> Draft:
    """Draft a config that forecasts a table's column. Raises UsageError without a time column or without numbers."""
    if path.suffix.lower() == ".npz":
        return _draft_arrays(path, asked)
    found = inspect_table(path)
    return compose_series(found, find_time_column(found), asked)


def compose_series(found: InspectedTable, time: TimeColumn | None, asked: str | None) -> Draft:
    """The draft of a series; without a time column the rows are taken to follow each other regularly."""
    if time is None and (falling := find_falling_dates(found)) is not None:
        raise UsageError(
            f"{found.path}: the dates in '{falling}' fall from row to row; a series has the oldest row first",
            advice="sort the rows by time, and run it again",
        )
    names = [name for name in found.profiles if time is None or name != time.name]
    readable = [name for name in names if _is_readable(found.profiles[name])]
    if not readable:
        raise UsageError(
            f"{found.path}: no column of numbers without missing values to forecast; found {join_some(names, 10)}",
            advice="fill in missing values, or give another file",
        )
    target = _choose_forecast(found, readable, asked)
    why = "as you asked" if asked else "chosen by its name" if find_usual(readable) else "the last column of numbers"
    dropped = [name for name in names if name not in readable]
    values = numpy.stack([_get_values(found.profiles[name]) for name in readable], 1)
    roles = {name: "target" if name == target else "read" for name in readable}
    return _compose(
        found.path,
        values[:, [readable.index(target)]],
        {
            **found.options,
            "time": None if time is None else time.name,
            "columns": readable if dropped else None,
            "target": None if len(readable) == 1 else [target],
        },
        target=target,
        comments={"data.target": f"{why}; --target names another"},
        facts=[f"{found.path.name}: {count(len(values), 'row')}", *_describe_time(time)],
        columns=tabulate(found.profiles, roles if time is None else {**roles, time.name: "time"}),
        doubts=[f"left out, since a series holds numbers without gaps: {join_names(dropped)}"] if dropped else [],
    )


def _get_values(profile: ColumnProfile) -> NDArray[numpy.float64]:
    assert profile.values is not None
    return profile.values


def _choose_forecast(found: InspectedTable, readable: Sequence[str], asked: str | None) -> str:
    if asked is None:
        return find_usual(readable) or readable[-1]
    name = find_column(str(found.path), found.profiles, asked)
    if name not in readable:
        profile = found.profiles[name]
        reason = f"{count(profile.missing, 'value')} missing" if profile.missing else "it holds no numbers"
        raise UsageError(
            f"{found.path}: column '{name}' cannot be forecast: {reason}",
            advice=f"choose --target from {join_some(list(readable), 10)}, or give `--as table`",
        )
    return name


def _describe_time(time: TimeColumn | None) -> list[str]:
    if time is None:
        return ["no time column: the rows are taken to follow each other regularly"]
    gaps, texts = time.times.find_gaps(), time.times.texts
    facts = [f"time '{time.name}': {texts[0]} to {texts[-1]}"]
    if gaps is not None:
        step = format_duration(gaps.usual) if time.times.dates else f"{gaps.usual:g}"
        facts[0] += f", a row every {step}"
        if gaps.after.any():
            facts.append(gaps.describe(time.times))
    return facts


def _draft_arrays(path: Path, asked: str | None) -> Draft:
    """The draft of a series in an .npz file."""
    series = read_series(path, None, None)
    target = series.columns[-1] if asked is None else find_column(str(path), series.columns, asked)
    return _compose(
        path,
        series.values[:, [series.columns.index(target)]],
        {"target": None if len(series.columns) == 1 else [target]},
        target=target,
        comments={"data.target": "the last column; --target names another" if asked is None else "as you asked"},
        facts=[f"{path.name}: {count(len(series.values), 'row')}, {count(len(series.columns), 'column')}"],
        columns=[],
        doubts=[],
    )


def _compose(
    path: Path,
    values: NDArray[Any],
    options: Mapping[str, Any],
    *,
    target: str,
    comments: Mapping[str, str],
    facts: Sequence[str],
    columns: Sequence[Sequence[str]],
    doubts: Sequence[str],
) -> Draft:
    rows, season = len(values), find_season(values[: round(0.8 * len(values))])
    window = choose_window(rows, season)
    linear = rows < FEW_VALUES
    batch = 32 if rows < 20000 else 128
    found = f"it repeats every {season} steps" if season else "no season was found"
    model = {"name": "autoregression"} if linear else {"name": "series_rnn", "cell": "gru", "hidden": 32}
    epochs = choose_epochs(round(0.7 * rows) // batch, 3000, least=10, most=100)
    return Draft(
        kind="series",
        name=make_name(path),
        title=f"forecast '{target}', one step ahead, from the {window} rows before",
        settings={
            "task": {"name": "sequence_regression"},
            "seed": 0,
            "data": keep_given(
                {
                    "name": "series",
                    "file": path,
                    **options,
                    "window": window,
                    "horizon": 1,
                    "normalize": "auto",
                    "validation": 0.15,
                    "test": 0.15,
                    "batch_size": batch,
                }
            ),
            "model": model,
            "optimizer": {"name": "adam", "learning_rate": 0.003},
            "trainer": {"epochs": epochs, "patience": max(5, epochs // 5), "clip_norm": 1.0, "device": "auto"},
        },
        comments={
            **comments,
            "data.window": f"rows that the model reads; {found}",
            "data.horizon": "rows that it forecasts at once",
            "data.normalize": "a series with a trend is forecast relative to each window's last value",
            "data.test": "the last rows; validation is before them",
            **({"model.name": "linear, solved at once: the rows are few; series_rnn is a network"} if linear else {}),
        },
        facts=[*facts, f"'{target}': {values.min():g} to {values.max():g}; {found}"],
        columns=columns,
        doubts=doubts,
    )


def choose_window(rows: int, season: int | None) -> int:
    """Rows that the model reads: a season and a bit more, or the usual number; fewer of a short series."""
    wished = USUAL_WINDOW if season is None else max(4, min(MOST_WINDOW, season + 2))
    return max(2, min(wished, rows // WINDOWS))
