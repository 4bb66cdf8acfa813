"""Poisson regression against torch's loss and scikit-learn's estimator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
import torch
from sklearn.linear_model import PoissonRegressor
from torch import nn

from dltrain.batch import Examples
from dltrain.errors import DataError, UsageError
from dltrain.tasks.forecasting import SequenceRegression
from dltrain.tasks.losses import compute_poisson_loss
from dltrain.tasks.regression import Regression
from support.commands import call, good
from support.examples import write_config

TARGET = {"columns": ["y"], "mean": [2.0], "std": [1.5], "normalize": "none"}


def test_the_loss_is_torchs() -> None:
    outputs = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    counts = torch.arange(40.0).view(20, 2)
    expected = nn.PoissonNLLLoss(reduction="none")(outputs, counts)
    torch.testing.assert_close(compute_poisson_loss(outputs, counts), expected)
    with pytest.raises(DataError, match="0 or more; a target is -1"):
        compute_poisson_loss(outputs, counts - 1)


def test_outputs_are_logarithms() -> None:
    task = Regression({"inputs": ["x"], "target": TARGET}, loss="poisson")
    outputs = torch.tensor([[0.0], [1.0], [-300.0]])
    numbers = task.estimates(nn.Identity(), outputs)
    assert numbers.flatten().tolist() == pytest.approx([1, numpy.e, 0])
    torch.testing.assert_close(task.recover_outputs(numbers[:2]).float(), outputs[:2])
    report = task.report(task.score(nn.Identity(), Examples(outputs[:2], torch.tensor([[3.0], [1.0]])), None).counts)
    assert report["mae"] == pytest.approx((2 + numpy.e - 1) / 2)
    assert report["loss"] == pytest.approx((1 - 0 + numpy.e - 1) / 2)


def write_counts(folder: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    draw = numpy.random.default_rng(5)
    inputs = draw.normal(size=(200, 2)).round(3)
    counts = draw.poisson(numpy.exp(1 + 0.7 * inputs[:, 0] - 0.4 * inputs[:, 1]))
    rows = [f"{a},{b},{count}" for (a, b), count in zip(inputs, counts, strict=True)]
    for name, part in (("train.csv", rows[:150]), ("test.csv", rows[150:])):
        (folder / name).write_text("\n".join(["a,b,count", *part]) + "\n")
    return inputs, counts


def test_a_linear_model_is_scikit_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is solved at once; the baselines are the mean, and the same model."""
    monkeypatch.chdir(tmp_path)
    inputs, counts = write_counts(tmp_path)
    data = {"name": "table", "training": "train.csv", "validation": "test.csv", "test": "test.csv", "target": "count"}
    settings = {
        "task": {"name": "regression", "loss": "poisson"},
        "data": {**data, "normalize_target": "none"},
        "model": "linear",
        "trainer": {"epochs": 1, "device": "cpu"},
    }
    config = write_config(tmp_path / "c.yaml", settings)
    good("fit", config, "-o", "run", "-q")
    expected = PoissonRegressor(alpha=0, tol=1e-10, max_iter=1000).fit(inputs[:150], counts[:150])
    found = [
        json.loads(line)["estimates"]["count"]
        for line in good("predict", "run", "test.csv", "--json").stdout.splitlines()
    ]
    assert found == pytest.approx(expected.predict(inputs[150:]).tolist(), rel=1e-4)
    result = json.loads(good("eval", "run", "--json").stdout)
    errors = {name: one["rmse"] for name, one in result["baselines"].items()}
    assert errors["mean"] == pytest.approx(numpy.sqrt(((counts[150:] - counts[:150].mean()) ** 2).mean()), rel=1e-5)
    assert errors["linear"] == pytest.approx(result["metrics"]["rmse"], rel=1e-5)
    refused = call("fit", config, "-o", "scaled", "-q", "--set", "data.normalize_target=standard").exception
    assert isinstance(refused, UsageError)
    assert "poisson needs the target's own numbers" in refused.message


def test_forecasts_refuse_it() -> None:
    with pytest.raises(UsageError, match="poisson is for the task 'regression'"):
        SequenceRegression({"columns": ["y"], "targets": ["y"], "horizon": 1}, loss="poisson")
