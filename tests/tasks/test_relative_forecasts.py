"""Forecasts relative to their window: closed forms, the inverse, the solved linear model, and agreeing commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

from dltrain.capabilities import CompletesOutputs, Wraps
from dltrain.data.series.dataset import SeriesWindows
from dltrain.data.series.reader import SeriesReader
from dltrain.models.series import SeriesRNN
from dltrain.runs.finding import find_checkpoint
from dltrain.runs.loading import load_trained
from dltrain.runtime.interrupts import Interrupts
from dltrain.tasks.forecasting import SequenceRegression
from dltrain.tasks.relative_forecasts import RelativeForecaster, difference_rows, extrapolate, wrap_relative
from support.commands import call
from support.runs import run_once

Write = Callable[[Mapping[str, Any]], Path]
NORMALIZATIONS: list[dict[str, Any]] = [
    {"normalize": "window"},
    {"difference": [1]},
    {"difference": [12]},
    {"difference": [1, 12]},
    {"difference": [1, 1], "normalize": "window"},
]


class Zeros(nn.Module):
    """A model that adds nothing to the base forecast."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, windows: Tensor) -> Tensor:
        return windows.new_zeros(len(windows), self.outputs)


def write_series(path: Path, values: Any) -> None:
    numpy.savetxt(path, values, header=",".join("ab"[: values.shape[1]]), comments="", delimiter=",", fmt="%.17g")


def dataset(root: Path, values: Any, **options: Any) -> SeriesWindows:
    write_series(root / "s.csv", values)
    return SeriesWindows("series", 0, None, file="s.csv", root=str(root), window=8, horizon=3, **options)


def base_forecasts(data: SeriesWindows) -> tuple[Tensor, Tensor]:
    """The test split's values in units, (N, horizon, targets), and the forecast of a model that adds nothing."""
    task = SequenceRegression(data.assets)
    model = task.wrap(Zeros(len(task.outputs)))
    batches = list(data.test().epoch(0))
    found = torch.cat([task.estimates(model, batch.inputs) for batch in batches])
    truth = torch.cat([task.in_units(batch.targets) for batch in batches])
    return truth, found


# --- closed forms


def test_extrapolation_continues_what_its_differences_remove() -> None:
    steps = numpy.arange(40.0)
    season = numpy.tile([3.0, -1, 4, 1, -5], 8)
    for lags, series in (
        ([1], 0 * steps + 7),
        ([1, 1], 2 * steps + 7),
        ([1, 1, 1], steps**2 - steps),
        ([5], season),
        ([1, 5], season + 0.25 * steps),
        ([5, 1, 1], season + steps - steps**2 / 8),
    ):
        reach = sum(lags)
        continued = extrapolate(lags, 12) @ torch.tensor(series[28 - reach : 28])
        numpy.testing.assert_allclose(continued, series[28:], atol=1e-10)
        rows = torch.tensor(series)[None, :, None]
        expected = series
        for lag in lags:
            expected = expected[lag:] - expected[:-lag]
        numpy.testing.assert_allclose(difference_rows(rows, lags)[0, :, 0], expected, atol=1e-12)


@pytest.mark.parametrize("slope", [5.0, 1e-6])
def test_a_linear_trend_is_forecast_exactly(slope: float, tmp_path: Path) -> None:
    values = numpy.stack([1e6 + slope * numpy.arange(2000), -slope * numpy.arange(2000)], 1)
    data = dataset(tmp_path, values, difference=[1, 1])
    truth, found = base_forecasts(data)
    assert float((truth - found).abs().max()) < 1e-8
    assert set(data.assets["difference"]) == {1}


def test_without_outputs_the_last_value_is_repeated(tmp_path: Path) -> None:
    values = numpy.random.default_rng(0).normal(size=(200, 2)).cumsum(0)
    for options in ({"normalize": "window"}, {"difference": [1]}):
        _, found = base_forecasts(dataset(tmp_path, values, **options))
        expected = numpy.tile(values[179:197], 3)
        numpy.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", NORMALIZATIONS)
def test_putting_back_is_the_inverse(options: dict[str, Any], tmp_path: Path) -> None:
    values = numpy.random.default_rng(1).normal(size=(300, 2)).cumsum(0) * [1e-3, 1e4]
    data = dataset(tmp_path, values, target=["b"], **options)
    task = SequenceRegression(data.assets)
    (batch,) = data.test().epoch(0)
    wrapped = task.wrap(Zeros(3))
    assert isinstance(wrapped, RelativeForecaster)
    assert isinstance(task, Wraps)
    relative = wrapped.relate(batch.inputs)
    assert relative.inputs.shape == (len(batch.inputs), 8, 2)
    needed = (batch.targets.reshape(-1, 3, 1) - relative.base) / relative.scale

    class Oracle(nn.Module):
        def forward(self, windows: Tensor) -> Tensor:
            return needed.flatten(1)

    numpy.testing.assert_allclose(task.wrap(Oracle())(batch.inputs), batch.targets, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", NORMALIZATIONS)
def test_levels_and_for_window_scales_do_not_matter(options: dict[str, Any], tmp_path: Path) -> None:
    """What is added to a series is added to its forecast; with `window`, almost what it is multiplied by, too."""
    torch.manual_seed(0)
    values = numpy.random.default_rng(2).normal(size=(300, 1)).cumsum(0)
    data = dataset(tmp_path, values, **options)
    model = SequenceRegression(data.assets).wrap(SeriesRNN(1, 3)).requires_grad_(False)
    (batch,) = data.test().epoch(0)
    numpy.testing.assert_allclose(model(batch.inputs + 1e5), model(batch.inputs) + 1e5, rtol=1e-9)
    if options.get("normalize") == "window":
        large = 100 * batch.inputs
        numpy.testing.assert_allclose(model(10 * large), 10 * model(large), rtol=1e-3)


def test_a_window_that_never_changes_has_a_finite_forecast(tmp_path: Path) -> None:
    values = numpy.concatenate([numpy.zeros(60), numpy.arange(40.0), numpy.full(60, 40.0)])[:, None]
    _, found = base_forecasts(dataset(tmp_path, values, normalize="window"))
    assert torch.equal(found, torch.full_like(found, 40.0))


def test_assets_of_an_earlier_version_leave_the_model_as_it_is() -> None:
    model = Zeros(1)
    assets = {"columns": ["a"], "targets": ["a"], "window": 5, "horizon": 1, "mean": [0.0], "std": [1.0]}
    assert wrap_relative(model, assets) is model
    assert "rows" not in SequenceRegression(assets).sizes


# --- the linear model is solved


def solved(run: Path) -> Any:
    trained = load_trained(find_checkpoint(run))
    return trained, trained.task.report(trained.counts(trained.dataset().test()))


def settings_of(root: Path, model: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {
        "task": "sequence_regression",
        "data": {"name": "series", "file": "s.csv", "root": str(root), **data},
        "model": model,
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "trainer": {"epochs": 2, "device": "cpu", "threads": 1},
    }


@pytest.mark.parametrize("options", [{"difference": [1]}, {"normalize": "window"}, {"difference": [1, 4]}])
def test_autoregression_of_relative_values_is_least_squares(
    options: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    values = numpy.random.default_rng(3).normal(0.2, 1, 500).cumsum() + 5e3
    write_series(tmp_path / "s.csv", values[:, None])
    model = {"name": "autoregression", "lags": 4}
    run_once(write_settings(settings_of(tmp_path, model, window=8, **options)), tmp_path / "run", Interrupts())
    trained, report = solved(tmp_path / "run")
    assert isinstance(trained.model, CompletesOutputs)
    lags: Sequence[int] = options.get("difference", [])
    reach, read = sum(lags), 8 + sum(lags)
    rows, base, scale = [], [], []
    for end in range(read, 500):
        window = values[end - read : end]
        changes = window - window[-1]
        for number, lag in enumerate(lags):
            changes = changes[lag:] - changes[:-lag] if number else window[lag:] - window[:-lag]
        spread = numpy.sqrt((changes**2).mean() + 0.01 * trained.record.assets["spread"][0] ** 2
                            * trained.record.assets["std"][0] ** 2) if not lags else 1.0  # fmt: skip
        rows.append([*changes[-4:], spread])
        scale.append(spread)
        base.append({0: window[-1], 1: window[-1], 5: window[-1] + window[-4] - window[-5]}[reach])
    rows, base = numpy.array(rows), numpy.array(base)
    training, test = slice(0, 400 - read), slice(450 - read, None)
    fitted = numpy.linalg.lstsq(rows[training], (values[read:] - base)[training], rcond=None)[0]
    best = numpy.sqrt(((rows @ fitted + base - values[read:])[test] ** 2).mean())
    assert report["rmse"] == pytest.approx(best, rel=1e-5)


# --- commands agree


@pytest.mark.parametrize("options", [{"normalize": "auto"}, {"difference": [1, 12]}])
def test_fit_eval_predict_and_export_agree_on_a_trend(
    options: dict[str, Any], write_settings: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = numpy.arange(360)
    draw = numpy.random.default_rng(0)
    values = 300 + 0.1 * steps + 0.0006 * steps**2 + 3 * numpy.sin(2 * numpy.pi * steps / 12) + draw.normal(0, 0.3, 360)
    write_series(tmp_path / "s.csv", values[:, None])
    settings = settings_of(tmp_path, {"name": "series_rnn"}, window=16, test=0.2, **options)
    settings["trainer"]["epochs"] = 15
    run_once(write_settings(settings), tmp_path / "run", Interrupts())
    trained, report = solved(tmp_path / "run")
    assert report["rmse"] < 0.6 * report["naive_rmse"]
    (given,) = SeriesReader(trained.record.assets).read(["s.csv"], iter(()))
    windows = SeriesReader(trained.record.assets).inputs([given.value])
    with torch.inference_mode():
        estimate = float(trained.task.estimates(trained.model, *windows))
    assert json.loads(call("predict", "run", "s.csv", "--json").output)["estimates"] == {"a+1": pytest.approx(estimate)}
    call("export", "run", "--format", "torch-export", "-o", "run.pt2")
    program = torch.export.load("run.pt2").module()
    outputs, estimates = (output.detach() for output in program(*windows))
    assert float(estimates) == pytest.approx(estimate, rel=1e-6)
    assert float(trained.task.in_units(outputs)) == pytest.approx(estimate, rel=1e-6)
