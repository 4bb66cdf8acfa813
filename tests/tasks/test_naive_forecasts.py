"""Baselines of a series and the scaled error, by their definitions; and seasons that are found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest

from dltrain.data.series.dataset import SeriesWindows
from dltrain.data.series.seasons import find_season
from dltrain.runs.finding import find_checkpoint
from dltrain.runs.loading import load_trained
from dltrain.runtime.interrupts import Interrupts
from dltrain.tasks.forecasting import SequenceRegression
from support.commands import good
from support.runs import run_once

Write = Callable[[Mapping[str, Any]], Path]


def monthly(rows: int = 240) -> numpy.ndarray[Any, Any]:
    steps, noise = numpy.arange(rows), numpy.random.default_rng(0).normal(0, 0.5, rows)
    return 50 + 0.3 * steps + 5 * numpy.sin(2 * numpy.pi * steps / 12) + noise


@pytest.mark.parametrize("options", [{}, {"normalize": "window"}, {"difference": [1]}])
def test_baselines_are_those_of_the_definitions(options: dict[str, Any], tmp_path: Path) -> None:
    values = monthly()
    numpy.savetxt(tmp_path / "s.csv", values, header="x", comments="", fmt="%.17g")
    data = SeriesWindows(
        "series", 0, None, file="s.csv", root=str(tmp_path), window=16, horizon=14, test=0.2, **options
    )
    assert data.assets["season"] == 12
    task = SequenceRegression(data.assets)
    baselines = task.baselines()
    assert list(baselines) == ["last value", "value 12 steps ago", "drift", "linear"]
    ends = numpy.arange(192, 240 - 14 + 1)
    truth = numpy.stack([values[end : end + 14] for end in ends])
    slope = (values[167] - values[0]) / 167  # Hyndman and Athanasopoulos: the first and the last row of training
    steps = numpy.arange(1, 15)
    expected = {
        "last value": values[ends - 1][:, None] + 0 * steps,
        "value 12 steps ago": numpy.stack([values[end - 12 + (steps - 1) % 12] for end in ends]),
        "drift": values[ends - 1][:, None] + slope * steps,
    }
    scale = numpy.abs(numpy.diff(values[:168])).mean()
    for name, forecasts in expected.items():
        counts: dict[str, Any] = {}
        for batch in data.test().epoch(0):
            part = task.score(baselines[name].model, batch, None).counts
            counts = {key: counts[key] + value if counts else value for key, value in part.items()}
        report = task.report(counts)
        errors = forecasts - truth
        assert report["rmse"] == pytest.approx(numpy.sqrt((errors**2).mean(0)).mean(), rel=1e-5)
        assert report["mae"] == pytest.approx(numpy.abs(errors).mean(), rel=1e-5)
        assert report["mase"] == pytest.approx(numpy.abs(errors).mean() / scale, rel=1e-5)


def test_mase_of_a_worked_example(tmp_path: Path) -> None:
    """Hyndman and Koehler (2006): q = e / (the mean of |Y_i - Y_(i-1)| in the sample); MASE is the mean of |q|."""
    values = [1.0, 3, 2, 6, 4, 5, 5, 9, 7, 10]  # training: 8 rows, changes 2, 1, 4, 2, 1, 0, 4
    numpy.savetxt(tmp_path / "s.csv", values, header="x", comments="")
    data = SeriesWindows("series", 0, None, file="s.csv", root=str(tmp_path), window=2, validation=0.0, test=0.2)
    assert data.assets["change"] == [2.0]
    task = SequenceRegression(data.assets)
    (batch,) = data.test().epoch(0)
    report = task.report(task.score(task.baselines()["last value"].model, batch, None).counts)
    assert report["mase"] == pytest.approx((2 + 3) / 2 / 2)


def test_a_season_longer_than_the_window_gives_no_baseline_but_a_fact(tmp_path: Path) -> None:
    numpy.savetxt(tmp_path / "s.csv", monthly(), header="x", comments="")
    data = SeriesWindows("series", 0, None, file="s.csv", root=str(tmp_path), window=6)
    assert list(SequenceRegression(data.assets).baselines()) == ["last value", "drift", "linear"]
    assert data.summarize().facts["season"] == "12 steps; longer than the 6 rows that a forecast is made from"
    named = SeriesWindows("series", 0, None, file="s.csv", root=str(tmp_path), window=24, season=24)
    assert "value 24 steps ago" in SequenceRegression(named.assets).baselines()


def test_assets_of_an_earlier_version_have_the_last_value_and_the_linear_baseline() -> None:
    assets = {"columns": ["a"], "targets": ["a"], "window": 5, "horizon": 1, "mean": [0.0], "std": [1.0]}
    assert list(SequenceRegression(assets).baselines()) == ["last value", "linear"]


@pytest.mark.parametrize("season", [4, 7, 12, 24, 52])
def test_seasons_are_found(season: int) -> None:
    draw = numpy.random.default_rng(season)
    shape = draw.normal(size=season)
    values = numpy.tile(shape, 12)[: 12 * season - 3] + draw.normal(0, 0.3, 12 * season - 3)
    trend = 0.1 * numpy.arange(len(values))
    assert find_season((values + trend)[:, None]) == season


def test_no_season_is_found_where_there_is_none() -> None:
    draw = numpy.random.default_rng(0)
    for values in (draw.normal(size=300), draw.normal(size=300).cumsum(), numpy.arange(100.0), numpy.zeros(50)):
        assert find_season(values[:, None]) is None
    assert find_season(numpy.zeros((4, 1))) is None


def test_eval_shows_the_baselines_of_a_series(
    write_settings: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = monthly()
    numpy.savetxt("s.csv", values, header="x", comments="", fmt="%.17g")
    settings = {
        "task": "sequence_regression",
        "data": {"name": "series", "file": "s.csv", "root": str(tmp_path), "window": 16, "test": 0.2},
        "model": {"name": "series_rnn", "hidden": 4},
        "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
    }
    run_once(write_settings(settings), tmp_path / "run", Interrupts())
    trained = load_trained(find_checkpoint(tmp_path / "run"))
    printed = json.loads(good("eval", "run", "--json").stdout)
    last = numpy.sqrt((numpy.diff(values[191:]) ** 2).mean())
    assert printed["baselines"]["last value"]["rmse"] == pytest.approx(last, rel=1e-5)
    assert printed["metrics"]["rmse"] > printed["baselines"]["linear"]["rmse"]
    assert trained.record.assets["season"] == 12
    assert "the model does not beat the baseline 'linear'" in good("eval", "run").output
