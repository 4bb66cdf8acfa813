"""Prediction intervals that cover too few values: fit and eval say so, with and without baselines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest

from support.commands import good
from support.examples import write_config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forecaster of noise that is four times as wide in validation and test as in training."""
    root = tmp_path_factory.mktemp("coverage")
    noise = numpy.random.default_rng(0).normal(size=400)
    noise[200:] *= 4
    (root / "s.csv").write_text("x\n" + "\n".join(f"{value:.5f}" for value in noise) + "\n")
    config = {
        "task": {"name": "sequence_regression", "quantiles": [0.1, 0.5, 0.9]},
        "data": {"name": "series", "file": "s.csv", "window": 4, "validation": 0.25, "test": 0.25},
        "model": "autoregression",
        "trainer": {"epochs": 20, "device": "cpu", "threads": 1},
        "optimizer": {"name": "adamw", "learning_rate": 0.05},
    }
    told = good("fit", write_config(root / "s.yaml", config), "--json", "-q", "-o", root / "run").stdout
    (remark,) = [one for one in json.loads(told)["remarks"] if "miscalibrated" in one]
    assert "the 80 % interval covers" in remark
    return root / "run"


@pytest.mark.parametrize("baselines", [True, False])
def test_intervals_that_cover_too_few_values_are_reported(run: Path, baselines: bool) -> None:
    if not baselines:
        for path in run.glob("baselines.*"):
            path.unlink()
    found = json.loads(good("eval", run, "--json").stdout)
    assert ("baselines" in found) == baselines
    (remark,) = [one for one in found["remarks"] if "miscalibrated" in one]
    assert f"covers {100 * found['metrics']['coverage_80']:.3g} %" in remark
    assert f"note: {remark}" in good("eval", run).output
