"""What a series' user is shown before training: gaps in time, odd columns, the splits; and which windows are equal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy
import pytest

from dltrain.data.series.dataset import SeriesWindows
from dltrain.data.series.times import format_duration
from dltrain.dataset import Identifies, Summarizes
from dltrain.errors import DataError

START = datetime(2024, 1, 1)


def write_hours(path: Path, hours: Sequence[int]) -> None:
    rows = [f"{START + timedelta(hours=hour):%Y-%m-%d %H:%M},{numpy.sin(hour / 5):.4f}" for hour in hours]
    path.write_text("\n".join(["time,v", *rows]) + "\n")


def dataset(root: Path, **options: Any) -> SeriesWindows:
    options = {"file": "s.csv", "root": str(root), "time": "time", "window": 8, **options}
    return SeriesWindows("series", 0, None, **options)


def open_all(data: SeriesWindows) -> SeriesWindows:
    data.training(), data.validation(), data.test()
    return data


# --- gaps


def test_windows_across_a_gap_are_counted(tmp_path: Path) -> None:
    hours = [hour for hour in range(300) if not 100 <= hour < 150]
    write_hours(tmp_path / "s.csv", hours)
    data = open_all(dataset(tmp_path))
    crossing = [row for row in range(200 - 8) if hours[row + 8] - hours[row] != 8]
    assert data.crosses_gap(numpy.arange(200 - 8)).nonzero()[0].tolist() == crossing
    assert data.notice == (
        f"{tmp_path / 's.csv'}: 1 of 249 steps in time is longer than the usual 1 hour, the longest is 2 days 3 hours "
        "after 2024-01-05 03:00; 8 of 242 windows run across one as if it were not there "
        "(data.gaps=skip leaves them out)"
    )


def test_windows_across_a_gap_are_skipped(tmp_path: Path) -> None:
    hours = [hour for hour in range(300) if not 100 <= hour < 150]
    write_hours(tmp_path / "s.csv", hours)
    data = open_all(dataset(tmp_path, gaps="skip", validation=0.2, test=0.2))
    starts = [data.starts(split) for split in ("training", "validation", "test")]
    assert all(hours[row + 8] - hours[row] == 8 for row in numpy.concatenate(starts))
    assert sum(map(len, starts)) == 242 - 8
    assert "windows run across" not in str(data.notice)
    (left_out,) = data.summarize().treatments
    assert (left_out.count, left_out.total, left_out.option) == (8, 242, "data.gaps")


def test_gaps_may_be_an_error(tmp_path: Path) -> None:
    write_hours(tmp_path / "s.csv", [*range(40), *range(43, 90)])
    with pytest.raises(
        DataError, match=r"s.csv: 1 of 86 steps in time is longer than the usual 1 hour, the longest is 4"
    ):
        dataset(tmp_path, gaps="error").training()
    write_hours(tmp_path / "s.csv", range(90))
    assert open_all(dataset(tmp_path, gaps="error")).notice is None
    write_hours(tmp_path / "s.csv", [hour for day in range(20) for hour in range(24 * day, 24 * day + 6)])
    with pytest.raises(
        DataError, match=r"all \d+ windows of training run across gaps in time\nnext: lower data.window"
    ):
        dataset(tmp_path, gaps="skip").training()


@pytest.mark.parametrize("months", [1, 3, 12])
def test_months_quarters_and_years_are_no_gaps(months: int, tmp_path: Path) -> None:
    times = [f"{1960 + month // 12}-{month % 12 + 1:02}-01" for month in range(0, 60 * months, months)]
    (tmp_path / "s.csv").write_text("time,v\n" + "".join(f"{time},{row % 7}\n" for row, time in enumerate(times)))
    assert open_all(dataset(tmp_path)).notice is None
    del times[20]
    (tmp_path / "s.csv").write_text("time,v\n" + "".join(f"{time},{row % 7}\n" for row, time in enumerate(times)))
    assert "1 of 58 steps in time is longer than the usual" in str(open_all(dataset(tmp_path)).notice)


def test_durations() -> None:
    assert [format_duration(seconds) for seconds in (1, 0.25, 60, 90, 3600, 86400 + 61, 31 * 86400)] == [
        "1 second", "0.25 seconds", "1 minute", "1 minute 30 seconds", "1 hour", "1 day 1 minute", "31 days",
    ]  # fmt: skip


# --- odd columns


def test_columns_that_look_like_a_time_or_never_change(tmp_path: Path) -> None:
    rows = "".join(f"{1900 + row},{row % 5},3\n" for row in range(100))
    (tmp_path / "s.csv").write_text("Year,v,w\n" + rows)
    notice = str(dataset(tmp_path, time=None, target=["v"]).notice)
    assert notice == "None", "nothing has been read for a split yet"
    notice = str(open_all(dataset(tmp_path, time=None, target=["v"])).notice)
    assert notice == (
        "column 'w' is 3 in all training rows, so it carries no information; column 'Year' rises from row to row like "
        "a time, but is read as a value; if it is one, set data.time=Year"
    )
    assert "Year" not in str(open_all(dataset(tmp_path, time="Year", target=["v"])).notice)


# --- the summary


def test_the_summary_names_splits_columns_and_times(tmp_path: Path) -> None:
    write_hours(tmp_path / "s.csv", [*range(50), *range(60, 110)])
    data = open_all(dataset(tmp_path, validation=0.2))
    assert isinstance(data, Summarizes)
    summary = data.summarize()
    assert [(split.name, split.examples, split.files) for split in summary.splits] == [
        ("training", 62, ("s.csv",)), ("validation", 20, ("s.csv",)), ("test", 10, ("s.csv",)),
    ]  # fmt: skip
    assert summary.unit == "windows"
    assert summary.division == "one after the other: 70 rows of training, 20 rows of validation, 10 rows of test"
    time, value = summary.columns
    assert (time.name, time.role, time.kind) == ("time", "time", "dates")
    assert time.facts == {"first": "2024-01-01 00:00", "last": "2024-01-05 13:00"}
    training = data.series.values[:70]
    assert (value.name, value.role, value.kind) == ("v", "target", "numbers")
    assert value.facts["minimum"] == training.min()
    assert value.facts["mean"] == pytest.approx(training.mean())
    assert summary.facts == {
        "training rows": "2024-01-01 00:00 to 2024-01-04 07:00",
        "validation rows": "2024-01-04 08:00 to 2024-01-05 03:00",
        "test rows": "2024-01-05 04:00 to 2024-01-05 13:00",
        "usual step": "1 hour",
        "gaps": "1",
        "longest gap": "11 hours after 2024-01-03 01:00",
    }
    assert summary.to_plain()["splits"][0]["examples"] == 62


# --- identities


def test_equal_windows_have_equal_identities_in_whatever_file(tmp_path: Path) -> None:
    draw = numpy.random.default_rng(0)
    values = draw.integers(-1, 2, (400, 2)).astype(float)
    (tmp_path / "s.csv").write_text("a,b\n" + "".join(f"{a:g},{b:g}\n" for a, b in values))
    later = values[37:]
    (tmp_path / "t.csv").write_text("b,a\n" + "".join(f"{b:.3f},{a:.1f}\n" for a, b in later))
    options = {"time": None, "window": 2, "columns": ["a", "b"], "target": ["b"]}
    one, other = dataset(tmp_path, **options), dataset(tmp_path, file="t.csv", **options)
    assert isinstance(one, Identifies)
    known: dict[tuple[float, ...], int] = {}
    for data, rows in ((one, values), (other, later)):
        for split in ("training", "validation", "test"):
            hashes, starts = data.identities(split), data.starts(split)
            assert hashes.dtype == numpy.uint64
            for start, hashed in zip(starts, hashes.tolist(), strict=True):
                content = (*rows[start : start + 2].ravel(), rows[start + 2, 1])
                assert known.setdefault(content, hashed) == hashed
    assert len(set(known.values())) == len(known) > 50
