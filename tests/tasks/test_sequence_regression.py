"""Forecasting: models against closed forms, errors in the data's units, and runs that repeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from torch import nn

from dltrain.batch import Examples
from dltrain.capabilities import Estimates, Forecasts
from dltrain.data.series.reader import SeriesReader
from dltrain.errors import UsageError
from dltrain.models.series import Autoregression, SeriesRNN
from dltrain.runs.examples import draw_forecasts
from dltrain.runs.finding import find_checkpoint
from dltrain.runs.loading import load_trained
from dltrain.runtime.interrupts import Interrupts
from dltrain.tasks.forecasting import SequenceRegression
from support.runs import run_once

Write = Callable[[Mapping[str, Any]], Path]

ASSETS = {
    "columns": ["a", "b", "c"], "targets": ["c", "a"], "window": 5, "horizon": 2,
    "mean": [100.0, 0.0, -5.0], "std": [10.0, 1.0, 0.5],
}  # fmt: skip


def random_batch(count: int) -> Examples:
    draw = torch.Generator().manual_seed(0)
    return Examples(torch.randn(count, 5, 3, generator=draw), torch.randn(count, 4, generator=draw))


# --- models


def test_autoregression_reads_the_last_steps() -> None:
    windows = random_batch(8).inputs
    model = Autoregression(3, 5, 4, lags=2)
    changed = windows.clone()
    changed[:, :3] = 0
    assert torch.equal(model(windows), model(changed))
    expected = windows[:, 3:].reshape(8, 6) @ model.linear.weight.T + model.linear.bias
    torch.testing.assert_close(model(windows), expected)
    with pytest.raises(ValueError, match="lags: 6 are more than the 5 steps of a window: lower lags, or raise window"):
        Autoregression(3, 5, 4, lags=6)


@pytest.mark.parametrize(("cell", "known"), [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_the_rnn_is_torchs(cell: Any, known: type[nn.RNNBase]) -> None:
    model = SeriesRNN(3, 4, cell=cell, hidden=6, layers=2)
    stacked = known(3, 6, 2, batch_first=True)  # type: ignore[call-arg]
    weights = [value for layer in model.layers for value in layer.parameters()]
    for parameter, value in zip(stacked.parameters(), weights, strict=True):
        parameter.data.copy_(value)
    windows = random_batch(8).inputs
    torch.testing.assert_close(model(windows), model.output(stacked(windows)[0][:, -1]), atol=1e-6, rtol=0)


def test_dropout_in_training_only() -> None:
    model, windows = SeriesRNN(3, 4, layers=2, dropout=0.5), random_batch(8).inputs
    assert not torch.equal(model(windows), model(windows))
    model.eval()
    assert torch.equal(model(windows), model(windows))


# --- the task


def test_sizes_and_names() -> None:
    task = SequenceRegression(ASSETS)
    assert task.sizes == {"channels": 3, "window": 5, "outputs": 4}
    assert task.outputs == ("c+1", "a+1", "c+2", "a+2")
    assert isinstance(task, Estimates)
    assert isinstance(task, Forecasts)


def test_errors_are_scikit_learns_in_the_datas_units() -> None:
    torch.manual_seed(0)
    task, batch = SequenceRegression(ASSETS), random_batch(30)
    model = Autoregression(3, 5, 4).requires_grad_(False)
    parts = [task.score(model, Examples(batch.inputs[s], batch.targets[s]), None).counts
             for s in (slice(0, 7), slice(7, 30))]  # fmt: skip
    report = task.report({name: parts[0][name] + parts[1][name] for name in parts[0]})
    std, mean = numpy.array([0.5, 10, 0.5, 10]), numpy.array([-5, 100, -5, 100])
    truth = batch.targets.double().numpy() * std + mean
    outputs = model(batch.inputs)
    estimates = task.estimates(model, batch.inputs)
    assert estimates.dtype == torch.float64
    numpy.testing.assert_allclose(estimates.numpy(), outputs.double().numpy() * std + mean, rtol=1e-6)
    found = outputs.double().numpy() * std + mean
    last = numpy.tile(batch.inputs[:, -1, [2, 0]].double().numpy() * std[:2] + mean[:2], 2)
    assert report == pytest.approx(
        {
            "rmse": numpy.sqrt(mean_squared_error(truth, found, multioutput="raw_values")).mean(),
            "mse": mean_squared_error(truth, found),
            "mae": mean_absolute_error(truth, found),
            "r2": r2_score(truth, found),
            "naive_rmse": numpy.sqrt(mean_squared_error(truth, last, multioutput="raw_values")).mean(),
            "naive_mae": mean_absolute_error(truth, last),
            "loss": float(nn.functional.mse_loss(outputs, batch.targets)),
        },
        rel=1e-6,
    )


# --- runs


def write_numbers(path: Path, values: numpy.ndarray[Any, Any]) -> None:
    path.write_text("x\n" + "\n".join(repr(value) for value in values.tolist()) + "\n")


def settings_of(
    tmp_path: Path, model: dict[str, Any], data: dict[str, Any], epochs: int, rate: float
) -> dict[str, Any]:
    return {
        "task": "sequence_regression",
        "data": {"name": "series", "file": "s.csv", "root": str(tmp_path), **data},
        "model": model,
        "optimizer": {"name": "adam", "learning_rate": rate},
        "schedule": {"name": "cosine"},
        "trainer": {"epochs": epochs, "device": "cpu", "threads": 1, "log_every_steps": 50},
    }


def test_the_error_on_an_ar1_series_is_that_of_its_noise(write_settings: Write, tmp_path: Path) -> None:
    draw = numpy.random.default_rng(0)
    noise = draw.normal(0, 0.3, 4000)
    values = numpy.zeros(4000)
    for step in range(1, 4000):
        values[step] = 0.9 * values[step - 1] + noise[step]
    values = 50 + 20 * values
    write_numbers(tmp_path / "s.csv", values)
    data = {"window": 3, "test": 0.25, "batch_size": 50}
    config = write_settings(settings_of(tmp_path, {"name": "autoregression"}, data, 15, 0.03))
    run_once(config, tmp_path / "run", Interrupts())
    trained = load_trained(find_checkpoint(tmp_path / "run"))
    report = trained.task.report(trained.counts(trained.dataset().test()))
    rows = numpy.stack([values[n - 3 : n] for n in range(3, 4000)])
    rows, asked = numpy.column_stack([rows, numpy.ones(len(rows))]), values[3:]
    fitted = numpy.linalg.lstsq(rows[:2597], asked[:2597], rcond=None)[0]
    best = ((rows[2997:] @ fitted - asked[2997:]) ** 2).mean()
    assert report["mse"] == pytest.approx(best, rel=0.01)
    assert report["mse"] == pytest.approx((20 * noise[3000:]).var(), rel=0.02)
    assert report["naive_rmse"] == pytest.approx(numpy.sqrt(((values[2999:-1] - values[3000:]) ** 2).mean()), rel=1e-5)
    assert report["naive_rmse"] > report["rmse"]


@pytest.mark.slow
def test_a_sine_is_predicted(write_settings: Write, tmp_path: Path) -> None:
    values = 3 + 7 * numpy.sin(numpy.arange(600) * 0.3)
    write_numbers(tmp_path / "s.csv", values)
    data = {"window": 12, "horizon": 2, "batch_size": 16}
    config = write_settings(settings_of(tmp_path, {"name": "autoregression"}, data, 25, 0.02))
    run_once(config, tmp_path / "run", Interrupts())
    trained = load_trained(find_checkpoint(tmp_path / "run"))
    report = trained.task.report(trained.counts(trained.dataset().test()))
    assert report["rmse"] < 0.005 * report["naive_rmse"]
    assert report["r2"] > 0.9999
    picture = tmp_path / "forecasts.png"
    draw_forecasts(trained, trained.dataset().test(), "a sine of $5 and $6", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    reader = SeriesReader(trained.record.assets)
    (given,) = reader.read([str(tmp_path / "s.csv")], iter(()))
    assert isinstance(trained.task, Estimates)
    assert trained.task.outputs == ("x+1", "x+2")
    with torch.inference_mode():
        estimates = trained.task.estimates(trained.model, *reader.inputs([given.value]))[0]
    numpy.testing.assert_allclose(estimates.numpy(), 3 + 7 * numpy.sin([180, 180.3]), atol=0.05)


def test_a_models_fault_names_its_section(write_settings: Write, tmp_path: Path) -> None:
    write_numbers(tmp_path / "s.csv", numpy.arange(60.0))
    settings = settings_of(tmp_path, {"name": "autoregression", "lags": 9}, {"window": 4}, 1, 0.01)
    with pytest.raises(UsageError, match=r"^model 'autoregression': lags: 9 are more than the 4 steps of a window"):
        run_once(write_settings(settings), tmp_path / "run", Interrupts())
