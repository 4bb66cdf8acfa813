"""What a series holds, for the user to check: its splits, its columns, its gaps, and what is odd about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy

from dltrain.data.layout import list_forms
from dltrain.data.series.files import Series
from dltrain.data.series.scaling import count_rows, is_relative
from dltrain.dataset import ColumnSummary, DataSummary, SplitName, SplitSummary, Treatment

if TYPE_CHECKING:
    from dltrain.data.series.dataset import SeriesWindows

SPLITS: tuple[SplitName, ...] = ("training", "validation", "test")
OUTSIDE = 0.1
"""The share of a split's target values beyond the range of training from which on that is reported."""

_NAMES_OF_TIME = re.compile(r"time|date|datetime|timestamp|ds|t|step|index|year|epoch|unnamed: 0|", re.IGNORECASE)


class Borders(NamedTuple):
    """First row of validation, first row of test, and the row after the last; training starts with row 0."""

    validation: int
    test: int
    end: int

    def rows(self, split: SplitName) -> tuple[int, int]:
        """The first row of a split, whose first windows may reach back further, and the row after its last."""
        edges = (0, *self)
        number = SPLITS.index(split)
        return edges[number], edges[number + 1]


def describe_concerns(source: str, data: SeriesWindows, splits: Sequence[SplitName]) -> list[str]:
    """What may make the results of some splits wrong without an error: gaps, constant columns, values never seen."""
    series, notes = data.series, []
    if series.times is not None and data.gaps is not None and data.gaps.after.any():
        windows = numpy.concatenate([data.starts(split) for split in splits])
        across = int(data.crosses_gap(windows).sum())
        notes.append(f"{source}: {data.gaps.describe(series.times)}")
        if across:
            notes[-1] += (
                f"; {across} of {len(windows)} windows run across one as if it were not there "
                "(data.gaps=skip leaves them out)"
            )
    notes += [note for split in splits if split != "training" for note in _describe_filled(data, split)]
    notes += [f"{order} (data.time={name} checks that)" for name, order in series.disorder.items()]
    training = series.values[: data.borders.validation]
    constant = numpy.equal(training.min(0), training.max(0)).tolist()
    for name, value, same in zip(series.columns, training[0], constant, strict=True):
        if same:
            notes.append(f"column '{name}' is {value:.7g} in all training rows, so it carries no information")
    if data.takes_all_columns:
        notes += _describe_time_columns(series)
    if is_relative(data.assets):
        return notes
    ranges = [note for split in splits if split != "training" for note in _describe_range(data, split)]
    if ranges:
        ranges[-1] += "; data.normalize=window learns changes in place of levels"
    return notes + ranges


def _list_forms(data: SeriesWindows) -> list[Treatment]:
    series = data.series
    forms = {} if series.form is None else {data.file: (series.form, len(series.values))}
    return [*list_forms(forms), *series.treatments, *_list_filled(series)]


def _list_filled(series: Series) -> list[Treatment]:
    counts = [] if series.filled is None else series.filled.sum(0).tolist()
    total = len(series.values)
    return [
        Treatment(
            what=f"missing values of '{name}': repeat the one before", count=n, total=total, option="data.missing"
        )
        for name, n in zip(series.columns, counts, strict=bool(counts))
        if n
    ]


def _describe_filled(data: SeriesWindows, split: SplitName) -> list[str]:
    """Notes on target values of a split that are missing, so that forecasts are compared with the value before."""
    filled, (first, end) = data.series.filled, data.borders.rows(split)
    if filled is None:
        return []
    counts = {name: int(filled[first:end, data.assets["columns"].index(name)].sum()) for name in data.assets["targets"]}
    return [
        f"{count} of {end - first} {split} values of '{name}' are missing in the file; forecasts of them are compared "
        "with the value before"
        for name, count in counts.items()
        if count
    ]


def _describe_range(data: SeriesWindows, split: SplitName) -> list[str]:
    """A note on the target whose values of a split are outside the range of training most often, if many are."""
    first, end = data.borders.rows(split)
    targets = [data.assets["columns"].index(name) for name in data.assets["targets"]]
    training, values = data.series.values[: data.borders.validation, targets], data.series.values[first:end, targets]
    low, high = training.min(0), training.max(0)
    outside = ((values < low) | (values > high)).sum(0)
    worst, others = int(outside.argmax()), int((outside > OUTSIDE * len(values)).sum()) - 1
    if others < 0:
        return []
    also = f" (and of {others} other target{'' if others == 1 else 's'})" if others else ""
    return [
        f"{outside[worst]} of {len(values)} {split} values of '{data.assets['targets'][worst]}'{also} are outside the "
        f"range of training, {low[worst]:.7g} to {high[worst]:.7g}"
    ]


def _describe_time_columns(series: Series) -> list[str]:
    """Notes on columns that are called as times are, and rise or fall from row to row."""
    steps, notes = numpy.diff(series.values, axis=0), []
    for name, least, most in zip(series.columns, steps.min(0), steps.max(0), strict=True):
        if not _NAMES_OF_TIME.fullmatch(name):
            continue
        if least > 0:
            notes.append(
                f"column '{name}' rises from row to row like a time, but is read as a value; if it is one, set "
                f"data.time={name}"
            )
        elif most < 0:
            notes.append(
                f"column '{name}' falls from row to row like a time with the newest row first, but is read as a value; "
                f"a series is read from the oldest: reverse the rows, and set data.time={name}"
            )
    return notes


def summarize_series(source: str, data: SeriesWindows) -> DataSummary:
    """The splits with their times, the columns with their ranges, gaps, and windows left out."""
    rows = {split: data.borders.rows(split) for split in SPLITS}
    used = [split for split in SPLITS if rows[split][1] > rows[split][0]]
    files = tuple(data.fingerprint)
    windows = numpy.concatenate([data.list_starts(split) for split in used])
    crossing = int(data.crosses_gap(windows).sum())
    left_out = Treatment(what="left out: across a gap in time", count=crossing, total=len(windows), option="data.gaps")
    return DataSummary(
        unit="windows",
        division="one after the other: "
        + ", ".join(f"{rows[split][1] - rows[split][0]} rows of {split}" for split in used),
        splits=tuple(
            SplitSummary(name=split, examples=len(data.starts(split)) if split in used else 0, files=files)
            for split in SPLITS
        ),
        columns=_summarize_columns(data),
        treatments=(*_list_forms(data), *((left_out,) if data.skips_gaps and crossing else ())),
        facts={
            **{f"{split} rows": _describe_rows(data.series, *rows[split]) for split in used},
            **_describe_times(data),
            **_describe_learned(data),
        },
    )


def _summarize_columns(data: SeriesWindows) -> tuple[ColumnSummary, ...]:
    series, training = data.series, slice(0, data.borders.validation)
    columns = []
    for number, (name, values) in enumerate(zip(series.columns, series.values[training].T, strict=True)):
        facts = {
            "minimum": float(values.min()),
            "mean": float(values.mean()),
            "maximum": float(values.max()),
            "missing": 0 if series.filled is None else int(series.filled[training, number].sum()),
            "distinct": len(numpy.unique(values)),
        }
        role = "target" if name in data.assets["targets"] else "input"
        columns.append(ColumnSummary(name=name, role=role, kind="numbers", facts=facts))
    if (times := series.times) is not None:
        kind = "dates" if times.dates else "numbers"
        ends = {"first": times.texts[0], "last": times.texts[-1]}
        columns.insert(0, ColumnSummary(name=data.assets["time"], role="time", kind=kind, facts=ends))
    return tuple(columns)


def _describe_rows(series: Series, first: int, end: int) -> str:
    if series.times is None:
        return f"{first + 1} to {end}"
    return f"{series.times.texts[first]} to {series.times.texts[end - 1]}"


def _describe_learned(data: SeriesWindows) -> dict[str, str]:
    """The season, and how values are normalised, where either is not what the config alone says."""
    assets, facts = data.assets, {}
    if season := assets.get("season"):
        rows = count_rows(assets)
        reach = "" if season <= rows else f"; longer than the {rows} rows that a forecast is made from"
        facts["season"] = f"{season} steps{reach}"
    if is_relative(assets):
        differences = f"differences at lags {assets['difference']}" if assets["difference"] else "values"
        facts["normalisation"] = (
            f"{differences} {'of each window' if assets['normalize'] == 'window' else 'of training'}"
        )
    return facts


def _describe_times(data: SeriesWindows) -> dict[str, str]:
    times, gaps = data.series.times, data.gaps
    if times is None or gaps is None:
        return {}
    described = {"usual step": times.format_step(gaps.usual)}
    if gaps.after.any():
        described |= {"gaps": str(int(gaps.after.sum())), "longest gap": gaps.describe_longest(times)}
    return described
