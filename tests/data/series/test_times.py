"""Times of a series: clock changes, offsets from UTC, and what a trained model notes about new ones."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dltrain.data.series.dataset import SeriesWindows
from dltrain.data.series.reader import SeriesReader
from dltrain.data.series.times import parse_times
from dltrain.errors import DataError

START = datetime(2024, 1, 1)


def parse(fields: list[str]) -> list[float]:
    return parse_times("s.csv", range(2, len(fields) + 2), fields).moments.tolist()


def list_local(zone: str, first: datetime, minutes: int, form: str) -> list[str]:
    """Local times of a day, every some minutes, as a clock on the wall shows them."""
    moments = [first.replace(tzinfo=timezone.utc) + timedelta(minutes=minutes * n) for n in range(24 * 60 // minutes)]
    return [moment.astimezone(ZoneInfo(zone)).strftime(form) for moment in moments]


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M", "%Y-%m-%dT%H:%M:%S"])
@pytest.mark.parametrize("minutes", [15, 60])
@pytest.mark.parametrize(
    ("zone", "first"),
    [
        ("Europe/Berlin", datetime(2024, 10, 26, 16)),
        ("America/New_York", datetime(2024, 11, 2, 20)),
        ("Australia/Sydney", datetime(2024, 4, 6, 10)),
    ],
)
def test_the_hour_that_clocks_repeat_is_named(zone: str, first: datetime, minutes: int, form: str) -> None:
    with pytest.raises(DataError) as caught:
        parse(list_local(zone, first, minutes, form))
    assert "is not later than in the row before; clocks may have been set back there" in str(caught.value)
    assert str(caught.value).endswith("\nnext: write the times in UTC, or with their offset from UTC, such as +02:00")


@pytest.mark.parametrize("fields", [
    ["2024-06-05 10:00", "2024-06-05 11:00", "2024-06-05 11:00"],
    ["2024-10-27 10:00", "2024-10-27 11:00", "2024-10-27 08:00"],
    ["2024-10-26", "2024-10-27", "2024-10-27"],
])  # fmt: skip
def test_other_repeated_times_are_no_clock_change(fields: list[str]) -> None:
    with pytest.raises(DataError, match="not later than in the row before\nnext: sort the rows by time, and remove"):
        parse(fields)


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%S%z", "%d.%m.%Y %H:%M:%S %z"])
def test_times_with_offsets_are_moments(form: str) -> None:
    moments = parse(list_local("Europe/Berlin", datetime(2024, 10, 26, 16), 60, form))
    assert np.diff(moments).tolist() == [3600] * 23
    assert moments[0] == datetime(2024, 10, 26, 16, tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (
            ["2024-01-01T10:00", "2024-01-01T11:00Z"],
            "line 3: the time '2024-01-01T11:00Z' has an offset from UTC, but ",
        ),
        (["2024-01-01T10:00+01:00", "2024-01-01T11:00"], "line 3: the time '2024-01-01T11:00' has no offset from UTC"),
        (["2024-01-01T10+02:00", "2024-01-01T11"], "line 3: the time '2024-01-01T11' has no offset from UTC, but "),
        (["13.1.2024 10:00 UTC", "13.1.2024 11:00"], "line 3: the time '13.1.2024 11:00' has no offset from UTC"),
    ],
)
def test_times_with_and_without_offset_do_not_mix(fields: list[str], fault: str) -> None:
    with pytest.raises(DataError) as caught:
        parse(fields)
    assert fault in str(caught.value)
    assert f"'{fields[0]}' in line 2" in str(caught.value)
    assert str(caught.value).endswith("\nnext: write all times with an offset, or all of them without")


# --- what predict notes


def write(path: Path, times: list[float], *, dates: bool = True) -> Path:
    """Rows at some hours after START, or at the numbers themselves."""
    texts = [f"{START + timedelta(hours=time)}" if dates else f"{time}" for time in times]
    path.write_text("t,v\n" + "".join(f"{text},{np.sin(row / 3)}\n" for row, text in enumerate(texts)))
    return path


def list_notes(root: Path, trained: list[float], new: list[float], **options: object) -> tuple[str, ...]:
    write(root / "s.csv", trained)
    data = SeriesWindows("s", 0, None, file="s.csv", root=str(root), time="t", **{"window": 6, **options})  # type: ignore[arg-type]
    reader = SeriesReader(json.loads(json.dumps(data.assets)))
    (read,) = reader.read([str(write(root / "new.csv", new))], iter(()))
    assert isinstance(read.value, np.ndarray)
    return tuple(note.removeprefix(f"{root}/") for note in reader.notes())


HOURS = [float(hour) for hour in range(200)]


def test_a_window_like_trainings_needs_no_note(tmp_path: Path) -> None:
    assert list_notes(tmp_path, HOURS, HOURS[100:140]) == ()
    gap_before = [*HOURS[:50], *HOURS[90:120]]
    assert list_notes(tmp_path, HOURS, gap_before) == (), "only the last window counts"


def test_a_gap_in_the_last_window_is_noted(tmp_path: Path) -> None:
    assert list_notes(tmp_path, HOURS, [*HOURS[:50], *HOURS[53:56]]) == (
        "new.csv: the last window runs across a gap: 4 hours after 2024-01-03 01:00:00, where training's usual step is "
        "1 hour",
    )


@pytest.mark.parametrize(("step", "text"), [(24, "1 day"), (0.25, "15 minutes")])
def test_another_step_is_noted(step: float, text: str, tmp_path: Path) -> None:
    assert list_notes(tmp_path, HOURS, [step * n for n in range(20)]) == (
        f"new.csv: the usual step in time of the last window is {text}, that of training is 1 hour; forecasts are for "
        "training's",
    )


def test_gaps_that_training_ran_across_as_a_rule_are_not_noted(tmp_path: Path) -> None:
    days = [24.0 * day for day in range(400) if day % 7 < 5]
    assert list_notes(tmp_path, days, days[:41]) == ()
    weekend = days[:41]
    assert (weekend[-1] - weekend[-2]) / 24 == 3, "the last two rows are Friday and Monday"
    (note,) = list_notes(tmp_path, days, weekend, gaps="skip", window=3)
    assert "runs across a gap: 3 days" in note


def test_months_and_numbers(tmp_path: Path) -> None:
    months = [(datetime(2000 + n // 12, n % 12 + 1, 1) - START).days * 24.0 for n in range(120)]
    assert list_notes(tmp_path, months, months[30:60]) == ()
    write(tmp_path / "n.csv", [0.5 * n for n in range(100)], dates=False)
    data = SeriesWindows("s", 0, None, file="n.csv", root=str(tmp_path), time="t", window=6)
    reader = SeriesReader(data.assets)
    list(reader.read([str(write(tmp_path / "new.csv", [2.0 * n for n in range(10)], dates=False))], iter(())))
    assert "of the last window is 2, that of training is 0.5" in reader.notes()[0]
    list(reader.read([str(write(tmp_path / "dates.csv", HOURS))], iter(())))
    assert "the times of the last window are dates, those of training numbers" in reader.notes()[1]


def test_models_of_earlier_versions_note_nothing(tmp_path: Path) -> None:
    write(tmp_path / "s.csv", HOURS)
    data = SeriesWindows("s", 0, None, file="s.csv", root=str(tmp_path), time="t", window=6)
    reader = SeriesReader({name: value for name, value in data.assets.items() if name != "step"})
    list(reader.read([str(write(tmp_path / "new.csv", [24.0 * n for n in range(20)]))], iter(())))
    assert reader.notes() == ()


# --- the order of rows


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%Y-%m-%d %H:%M"])
def test_rows_from_the_newest_to_the_oldest_are_named(form: str) -> None:
    fields = [f"{START - timedelta(days=n):{form}}" for n in range(20)]
    with pytest.raises(DataError, match=r"before the one in the row before: the newest is first\nnext: rev"):
        parse(fields)
    with pytest.raises(DataError, match="line 3: the time '4' is not later than in the row before"):
        parse(["5", "4", "6"])
    with pytest.raises(DataError, match="the newest is first"):
        parse(["5", "4", "3"])


def read_beside_dates(root: Path, days: list[int], **options: object) -> SeriesWindows:
    rows = [f"{START + timedelta(days=day):%Y-%m-%d},{row % 7},{day}" for row, day in enumerate(days)]
    (root / "s.csv").write_text("Date,v,n\n" + "\n".join(rows) + "\n")
    data = SeriesWindows("s", 0, None, file="s.csv", root=str(root), window=4, **options)  # type: ignore[arg-type]
    data.training()
    return data


def test_dates_that_are_not_read_show_the_order_of_rows(tmp_path: Path) -> None:
    days = list(range(100))
    assert read_beside_dates(tmp_path, days, columns=["v"]).notice is None
    assert read_beside_dates(tmp_path, sorted([*days, *days]), columns=["v"]).notice is None
    falling = read_beside_dates(tmp_path, days[::-1], columns=["v"])
    text = "column 'Date' falls from row to row, so that the newest row is first; a series is read from the oldest"
    assert falling.notice == f"{text} (data.time=Date checks that)"
    reader = SeriesReader(falling.assets)
    list(reader.read([str(tmp_path / "s.csv")], iter(())))
    assert reader.notes() == (f"{tmp_path / 's.csv'}: {text}",)
    mixed = read_beside_dates(tmp_path, [*days[50:], *days[:50]], columns=["v"])
    assert mixed.notice == (
        "column 'Date' is not in order: 1 of 99 rows are before the row above; a series is read from the oldest "
        "(data.time=Date checks that)"
    )


def test_numbers_that_fall_like_a_time_are_reported(tmp_path: Path) -> None:
    rows = [f"{2000 - row},{row % 7}" for row in range(100)]
    (tmp_path / "s.csv").write_text("year,v\n" + "\n".join(rows) + "\n")
    data = SeriesWindows("s", 0, None, file="s.csv", root=str(tmp_path), window=4, target=["v"])
    data.training()
    assert data.notice == (
        "column 'year' falls from row to row like a time with the newest row first, but is read as a value; a series "
        "is read from the oldest: reverse the rows, and set data.time=year"
    )
