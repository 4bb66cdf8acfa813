"""Quantiles against scikit-learn's pinball loss, intervals against counting, and runs whose coverage is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_pinball_loss
from torch import Tensor, nn

from dltrain.batch import Examples
from dltrain.capabilities import EstimatesQuantiles
from dltrain.errors import UsageError
from dltrain.models.series import Autoregression
from dltrain.runs.examples import draw_forecasts
from dltrain.runs.finding import find_checkpoint
from dltrain.runs.loading import load_trained
from dltrain.runtime.interrupts import Interrupts
from dltrain.tasks.forecasting import SequenceRegression
from dltrain.tasks.quantiles import check_quantiles, name_quantiles, pair_quantiles, sort_quantiles
from dltrain.tasks.regression import Regression
from support.commands import good
from support.runs import run_once

Write = Callable[[Mapping[str, Any]], Path]
LEVELS = [0.05, 0.1, 0.5, 0.9, 0.95]
ASSETS = {
    "columns": ["a", "b"], "targets": ["b", "a"], "window": 5, "horizon": 2,
    "mean": [100.0, -5.0], "std": [10.0, 0.5], "change": [2.0, 4.0],
}  # fmt: skip


def random_batch(count: int) -> Examples:
    draw = torch.Generator().manual_seed(0)
    return Examples(torch.randn(count, 5, 2, generator=draw), torch.randn(count, 4, generator=draw))


# --- parts


def test_quantiles_rise_and_hold_the_median() -> None:
    assert check_quantiles([0.9, 0.1, 0.5]) == (0.1, 0.5, 0.9)
    assert check_quantiles(None) == ()
    with pytest.raises(ValueError, match=r"quantiles: 0.1, 0.9 lack the median, 0.5, which is the forecast"):
        check_quantiles([0.1, 0.9])
    with pytest.raises(ValueError, match=r"one of 0.5, 0.5 is repeated"):
        check_quantiles([0.5, 0.5])
    assert name_quantiles(["x+1", "x+2"], (0.1, 0.5)) == ("x+1 q0.1", "x+1", "x+2 q0.1", "x+2")
    assert pair_quantiles((0.05, 0.1, 0.5, 0.9, 0.95)) == [(0, 4), (1, 3)]
    assert pair_quantiles((0.1, 0.4, 0.5, 0.9)) == [(0, 3), (1, 2)]
    assert pair_quantiles((0.5,)) == []


def test_outputs_are_sorted_so_that_quantiles_never_cross() -> None:
    outputs = torch.tensor([[3.0, 1, 2, -1, 0, -2]], requires_grad=True)
    rising = sort_quantiles(outputs, 2, (0.1, 0.5, 0.9))
    assert rising.tolist() == [[[1, 2, 3], [-2, -1, 0]]]
    rising[0, 0, 2].backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    assert outputs.grad.tolist() == [[1, 0, 0, 0, 0, 0]]
    assert sort_quantiles(torch.tensor([[7.0, 8]]), 2, (0.1, 0.5)).tolist() == [[[7, 7], [8, 8]]]


# --- the task


def test_the_report_is_scikit_learns_and_that_of_counting() -> None:
    torch.manual_seed(0)
    task, batch = SequenceRegression(ASSETS, quantiles=[*reversed(LEVELS)]), random_batch(50)
    assert task.sizes == {"channels": 2, "window": 5, "outputs": 20}
    assert isinstance(task, EstimatesQuantiles)
    assert task.goal.metric == "pinball_loss"
    assert task.outputs[:5] == ("b+1 q0.05", "b+1 q0.1", "b+1", "b+1 q0.9", "b+1 q0.95")
    model = Autoregression(2, 5, 20).requires_grad_(False)
    parts = [task.score(model, Examples(batch.inputs[s], batch.targets[s]), None).counts
             for s in (slice(0, 13), slice(13, 50))]  # fmt: skip
    report = task.report({name: parts[0][name] + parts[1][name] for name in parts[0]})
    std, mean = numpy.array([0.5, 10, 0.5, 10]), numpy.array([-5, 100, -5, 100])
    truth = batch.targets.double().numpy() * std + mean
    scaled = numpy.sort(model(batch.inputs).double().numpy().reshape(50, 4, 5), -1)
    found = scaled * std[:, None] + mean[:, None]
    numpy.testing.assert_allclose(task.estimate_quantiles(model, batch.inputs), found, rtol=1e-6)
    numpy.testing.assert_allclose(task.estimates(model, batch.inputs), found.reshape(50, 20), rtol=1e-6)
    pinball = [mean_pinball_loss(truth, found[..., k], alpha=level) for k, level in enumerate(LEVELS)]
    assert report["pinball_loss"] == pytest.approx(numpy.mean(pinball), rel=1e-9)
    loss = numpy.mean([mean_pinball_loss(batch.targets, scaled[..., k], alpha=q) for k, q in enumerate(LEVELS)])
    assert report["loss"] == pytest.approx(loss, rel=1e-6)
    assert float(task.step(model, batch, None).loss) == pytest.approx(loss, rel=1e-6)
    assert report["mae"] == pytest.approx(mean_absolute_error(truth, found[..., 2]))
    assert report["rmse"] == pytest.approx(numpy.sqrt(((truth - found[..., 2]) ** 2).mean(0)).mean())
    for name, low, high in (("90", 0, 4), ("80", 1, 3)):
        inside = (found[..., low] <= truth) & (truth <= found[..., high])
        assert report[f"coverage_{name}"] == pytest.approx(inside.mean())
        assert report[f"width_{name}"] == pytest.approx((found[..., high] - found[..., low]).mean())
    assert set(report) > {"rmse", "mse", "mae", "r2", "mase", "naive_rmse", "naive_mae"}


def test_a_point_forecast_has_the_pinball_loss_of_its_point() -> None:
    task, batch = SequenceRegression(ASSETS, quantiles=LEVELS), random_batch(20)

    class Last(nn.Module):
        def forward(self, windows: Tensor) -> Tensor:
            return windows[:, -1, [1, 0]].repeat(1, 2)

    report = task.report(task.score(Last(), batch, None).counts)
    assert report["width_80"] == 0
    assert report["rmse"] == report["naive_rmse"]


@pytest.mark.parametrize("normalize", ["standard", "window"])
def test_intervals_of_a_noisy_series_cover_what_they_should(
    normalize: str, write_settings: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    noise = numpy.random.default_rng(0).exponential(2.0, 3000)  # skewed: its quantiles are not those of a normal
    values = noise if normalize == "standard" else noise.cumsum()
    numpy.savetxt("s.csv", values, header="x", comments="")
    settings = {
        "task": {"name": "sequence_regression", "quantiles": [0.1, 0.5, 0.9]},
        "data": {"name": "series", "file": "s.csv", "root": str(tmp_path), "window": 4, "test": 0.3,
                 "normalize": normalize},
        "model": {"name": "autoregression"},
        "optimizer": {"name": "adam", "learning_rate": 0.02},
        "schedule": "cosine",
        "trainer": {"epochs": 25, "device": "cpu", "threads": 1},
    }  # fmt: skip
    run_once(write_settings(settings), tmp_path / "run", Interrupts())
    trained = load_trained(find_checkpoint(tmp_path / "run"))
    report = trained.task.report(trained.counts(trained.dataset().test()))
    assert report["coverage_80"] == pytest.approx(0.8, abs=0.04)
    low, high = -2 * numpy.log([0.9, 0.1])
    assert report["width_80"] == pytest.approx(high - low, rel=0.1)
    draw_forecasts(trained, trained.dataset().test(), "quantiles", tmp_path / "forecasts.png")
    assert (tmp_path / "forecasts.png").read_bytes().startswith(b"\x89PNG")
    estimates = json.loads(good("predict", "run", "s.csv", "--json").output)["estimates"]
    assert list(estimates) == ["x+1 q0.1", "x+1", "x+1 q0.9"]
    forecasts = numpy.array([*estimates.values()])
    if normalize == "standard":
        numpy.testing.assert_allclose(forecasts, -2 * numpy.log([0.9, 0.5, 0.1]), atol=0.6)
    else:
        assert list(forecasts) == sorted(forecasts)
        assert values[-1] < forecasts[1] < values[-1] + 3


def test_wrong_quantiles_name_the_section(write_settings: Write, tmp_path: Path) -> None:
    numpy.savetxt(tmp_path / "s.csv", numpy.arange(50.0), header="x", comments="")
    settings = {
        "task": {"name": "sequence_regression", "quantiles": [0.1, 0.9]},
        "data": {"name": "series", "file": "s.csv", "root": str(tmp_path), "window": 4},
        "model": {"name": "autoregression"},
    }
    with pytest.raises(UsageError, match=r"task 'sequence_regression': quantiles: 0.1, 0.9 lack the median"):
        run_once(write_settings(settings), tmp_path / "run", Interrupts())


# --- tables


@pytest.mark.parametrize("normalize", ["standard", "none"])
def test_rows_have_quantiles_too(normalize: str) -> None:
    torch.manual_seed(0)
    target = {"columns": ["y", "z"], "mean": [3.0, -2.0], "std": [2.0, 0.5], "normalize": normalize}
    task = Regression({"inputs": ["a", "b", "c"], "target": target}, quantiles=[0.1, 0.5, 0.9])
    assert isinstance(task, EstimatesQuantiles)
    assert task.sizes == {"inputs": 3, "outputs": 6}
    model = nn.Linear(3, 6).requires_grad_(False)
    batch = Examples(torch.randn(40, 3), torch.randn(40, 2), torch.rand(40))
    report = task.report(task.score(model, batch, None).counts)
    std, mean = (numpy.array(target[name]) if normalize == "standard" else default
                 for name, default in (("std", numpy.ones(2)), ("mean", numpy.zeros(2))))  # fmt: skip
    truth = batch.targets.double().numpy() * std + mean
    found = numpy.sort(model(batch.inputs).double().numpy().reshape(40, 2, 3), -1) * std[:, None] + mean[:, None]
    pinball = [mean_pinball_loss(truth, found[..., k], alpha=level) for k, level in enumerate([0.1, 0.5, 0.9])]
    assert report["pinball_loss"] == pytest.approx(numpy.mean(pinball), rel=1e-6)
    assert report["mae"] == pytest.approx(mean_absolute_error(truth, found[..., 1]), rel=1e-6)
    inside = (found[..., 0] <= truth) & (truth <= found[..., 2])
    assert report["coverage_80"] == pytest.approx(inside.mean())
    numpy.testing.assert_allclose(task.estimates(model, batch.inputs), found.reshape(40, 6), rtol=1e-5)
    assert task.outputs == ("y q0.1", "y", "y q0.9", "z q0.1", "z", "z q0.9")
    assert float(task.step(model, batch, None).loss) > 0
    assert list(task.baselines()) == ["mean", "linear"]
