"""`model: autoregression` on real series, against statsmodels' AutoReg fitted to the same rows."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest

from dltrain.runs.finding import find_checkpoint
from dltrain.runs.loading import load_trained
from dltrain.runtime.interrupts import Interrupts
from support.commands import good
from support.runs import run_once

pytest.importorskip("statsmodels")

Write = Callable[[Mapping[str, Any]], Path]


def read_bundled(name: str) -> Any:
    """Monthly carbon dioxide in the air, quarterly gross domestic product, or yearly sunspots, (T,)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels import datasets

        if name == "co2":
            return datasets.co2.load_pandas().data["co2"].resample("MS").mean().interpolate().to_numpy()
        column = {"macrodata": "realgdp", "sunspots": "SUNACTIVITY"}[name]
        return getattr(datasets, name).load_pandas().data[column].to_numpy()


@pytest.mark.parametrize(("name", "lags"), [("co2", 4), ("co2", 12), ("macrodata", 4), ("sunspots", 9)])
def test_autoregression_is_statsmodels(name: str, lags: int, write_settings: Write, tmp_path: Path) -> None:
    series = read_bundled(name)
    (tmp_path / "series.csv").write_text("value\n" + "\n".join(map(repr, series.tolist())) + "\n")
    data = {"name": "series", "file": str(tmp_path / "series.csv"), "window": 12, "validation": 0.1, "test": 0.2}
    trainer = {"device": "cpu", "threads": 1}
    model = {"name": "autoregression", "lags": lags}
    settings = {"task": "sequence_regression", "data": data, "model": model, "trainer": trainer}
    run_once(write_settings(settings), tmp_path / "run", Interrupts())
    trained: Any = load_trained(find_checkpoint(tmp_path / "run"))
    batches = trained.dataset().test().epoch(0)
    found = [trained.task.estimates(trained.model, batch.inputs).detach().numpy() for batch in batches]
    rows, tested, validated = len(series), round(0.2 * len(series)), round(0.1 * len(series))
    training = series[: rows - tested - validated]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.tsa.ar_model import AutoReg

        constant, *weights = AutoReg(training, lags, hold_back=12).fit().params
    expected = numpy.array([constant + weights @ series[t - lags : t][::-1] for t in range(rows - tested, rows)])
    assert numpy.abs(numpy.concatenate(found)[:, 0] - expected).max() < 1e-6 * training.std()
    errors = numpy.sqrt(numpy.mean((expected - series[-tested:]) ** 2))
    evaluation = json.loads(good("eval", tmp_path / "run", "--json").stdout)
    assert evaluation["metrics"]["rmse"] == pytest.approx(errors, rel=2e-6)
    assert evaluation["metrics"]["rmse"] < evaluation["metrics"]["naive_rmse"]
