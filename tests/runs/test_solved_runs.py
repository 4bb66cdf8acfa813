"""Runs whose linear model is solved, and baselines beside every run: `fit`, resuming, `eval`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from sklearn import linear_model

from dltrain.core.checkpoint import Checkpoints
from dltrain.errors import DataError
from dltrain.runs.finding import find_checkpoint
from dltrain.runs.loading import load_trained
from dltrain.runtime.interrupts import Interrupts
from support.commands import call, good
from support.runs import Recorded, StopAt, outcome, run_once, run_to_end

Write = Callable[[Mapping[str, Any]], Path]


def settings(table: Mapping[str, list[Any]], task: str = "regression", **changed: Any) -> dict[str, Any]:
    data = {"name": "table", "values": dict(table), "target": "y", "validation": 0.2, "test": 0.2, "batch_size": 16}
    return {
        "task": task,
        "seed": 1,
        "data": data,
        "model": "linear",
        "trainer": {"epochs": 5, "device": "cpu", "threads": 1},
        **changed,
    }


def salaries(rows: int = 300) -> dict[str, list[Any]]:
    """A table with a large target, and a category; its mean is a bad guess."""
    draw = numpy.random.default_rng(0)
    years, rank = draw.uniform(0, 40, rows), draw.integers(0, 3, rows)
    pay = 60_000 + 900 * years + 15_000 * rank + draw.normal(0, 8_000, rows)
    return {"years": years.round(1).tolist(), "rank": [f"rank {each}" for each in rank], "y": pay.round().tolist()}


def weather(rows: int = 300, kinds: int = 3) -> dict[str, list[Any]]:
    draw = numpy.random.default_rng(1)
    values = draw.normal(size=(rows, 3))
    scores = values @ draw.normal(size=(3, kinds)) + draw.gumbel(size=(rows, kinds))
    columns = {f"x{index}": column.round(3).tolist() for index, column in enumerate(values.T)}
    return {**columns, "y": [f"kind {each}" for each in scores.argmax(1)]}


def read_split(directory: Path, split: str) -> tuple[Any, Any, Any]:
    """A split's inputs, its targets and the run's predictions for them, probabilities or numbers in their units."""
    trained = load_trained(find_checkpoint(directory))
    batches = list(getattr(trained.dataset(), split)().epoch(0))
    inputs, targets = (torch.cat([getattr(each, name) for each in batches]) for name in ("inputs", "targets"))
    task: Any = trained.task
    with torch.inference_mode():
        if hasattr(task, "labels"):
            return inputs.double().numpy(), targets.numpy(), task.probabilities(trained.model, inputs).double().numpy()
        found = task.estimates(trained.model, inputs).double().numpy()
    return inputs.double().numpy(), (targets.double() * task.deviations + task.means).numpy(), found


def test_a_bare_linear_model_is_scikit_learns(write_settings: Write, tmp_path: Path) -> None:
    messenger = Recorded()
    run_once(write_settings(settings(salaries())), tmp_path / "run", Interrupts(), messenger=messenger)
    inputs, targets, _ = read_split(tmp_path / "run", "training")
    rows, _, found = read_split(tmp_path / "run", "test")
    expected = linear_model.LinearRegression().fit(inputs, targets).predict(rows)
    assert numpy.abs(found - expected).max() < 1e-6 * targets.std()
    assert any("solved at once, so that training changes nothing: 192 examples" in line for line in messenger.lines)
    history = find_checkpoint(tmp_path / "run").record.history
    assert [entry["learning_rate"] for entry in history] == [0.0]


@pytest.mark.parametrize(("task", "kinds"), [("tabular_classification", 3), ("binary_classification", 2)])
def test_logistic_regression_is_scikit_learns(task: str, kinds: int, write_settings: Write, tmp_path: Path) -> None:
    run_once(write_settings(settings(weather(kinds=kinds), task)), tmp_path / "run", Interrupts())
    inputs, targets, _ = read_split(tmp_path / "run", "training")
    rows, _, found = read_split(tmp_path / "run", "test")
    known = linear_model.LogisticRegression(C=numpy.inf, tol=1e-12, max_iter=100_000).fit(inputs, targets)
    assert numpy.abs(found - known.predict_proba(rows)).max() < 1e-6


def test_weight_decay_counts_if_it_is_a_penalty(write_settings: Write, tmp_path: Path) -> None:
    messenger = Recorded()
    decay = {"optimizer": {"name": "sgd", "weight_decay": 0.5}}
    run_once(write_settings(settings(salaries(), **decay)), tmp_path / "ridge", Interrupts(), messenger=messenger)
    inputs, targets, _ = read_split(tmp_path / "ridge", "training")
    rows, _, found = read_split(tmp_path / "ridge", "test")
    ridge = linear_model.Ridge(alpha=0.25 * len(inputs), solver="svd").fit(inputs, targets)
    assert numpy.abs(found - ridge.predict(rows).reshape(found.shape)).max() < 1e-6 * targets.std()
    assert any("L2 penalty 0.5" in line for line in messenger.lines)
    config = write_settings(settings(salaries(), optimizer={"name": "adamw", "weight_decay": 0.5}))
    run_once(config, tmp_path / "plain", Interrupts(), messenger=messenger)
    _, _, found = read_split(tmp_path / "plain", "test")
    plain = linear_model.LinearRegression().fit(inputs, targets).predict(rows)
    assert numpy.abs(found - plain).max() < 1e-6 * targets.std()
    assert any("belongs to no objective and is left out" in line for line in messenger.lines)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"task": {"name": "regression", "loss": "mae"}}, "task.loss: mae"),
        ({"weights": {"freeze": ["layer.bias"]}}, r"weights.freeze: \['layer.bias'\]"),
        ({"model": {"name": "linear", "solve": False}}, ""),
    ],
)
def test_what_is_not_solved_is_trained(
    changed: dict[str, Any], reason: str, write_settings: Write, tmp_path: Path
) -> None:
    messenger = Recorded()
    run_once(write_settings(settings(salaries(), **changed)), tmp_path / "run", Interrupts(), messenger=messenger)
    record = find_checkpoint(tmp_path / "run", "last").record
    assert record.solved is None
    assert len(record.history) == 5
    notes = [line for line in messenger.lines if "not solved at once but trained" in line]
    assert notes == ([f"not solved at once but trained, because of {reason}".replace("\\", "")] if reason else [])


def test_a_solved_run_resumes_and_ends_as_if_it_had_not_been_stopped(write_settings: Write, tmp_path: Path) -> None:
    trainer = {"epochs": 5, "device": "cpu", "threads": 1, "checkpoint_every_steps": 2}
    config = write_settings(settings(salaries(), trainer=trainer))
    run_to_end(config, tmp_path / "whole", [])
    run_to_end(config, tmp_path / "stopped", [StopAt(4), StopAt(3, kill=True)])
    assert outcome(tmp_path / "whole") == outcome(tmp_path / "stopped")
    for name in ("baselines.json", "baselines.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes()
    assert "nothing to do" in good("fit", config, "-o", tmp_path / "whole", "--set", "trainer.epochs=9").stderr


def test_training_is_not_touched_by_baselines(
    write_settings: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"name": "dense", "hidden": [8], "dropout": 0.2}
    config = write_settings(settings(weather(), "tabular_classification", model=model))
    run_once(config, tmp_path / "with", Interrupts())
    monkeypatch.setattr("dltrain.tasks.classification.TabularClassification.baselines", lambda self: {})
    run_once(config, tmp_path / "without", Interrupts())
    assert outcome(tmp_path / "with") == outcome(tmp_path / "without")
    assert not (tmp_path / "without" / "baselines.json").exists()


def test_fit_and_eval_show_the_baselines(write_settings: Write, tmp_path: Path) -> None:
    model, trainer = {"name": "dense", "hidden": [4]}, {"epochs": 2, "device": "cpu", "threads": 1}
    config = write_settings(settings(salaries(), model=model, trainer=trainer))
    told = good("fit", config, "-o", tmp_path / "run").stdout
    assert "baselines        rmse of mean " in told
    assert told.splitlines()[-1].split() == ["next", "dltrain", "eval", str(tmp_path / "run")]
    assert "note: the model does not beat the baseline 'linear': its rmse is " in told
    assert f"continue: dltrain fit {tmp_path}/run --set trainer.epochs=8" in told
    page = (tmp_path / "run" / "report.html").read_text()
    assert "does not beat the baseline" in page
    assert "<th class=n>linear, validation</th>" in page
    summary = json.loads(good("fit", config, "-o", tmp_path / "run", "--json").stdout)
    assert list(summary["baselines"]) == ["mean", "linear"]
    assert len(summary["remarks"]) == 2
    evaluation = json.loads(good("eval", tmp_path / "run", "--json").stdout)
    inputs, targets, _ = read_split(tmp_path / "run", "training")
    rows, truth, _ = read_split(tmp_path / "run", "test")
    known = linear_model.LinearRegression().fit(inputs, targets)
    for name, errors in (("mean", truth - targets.mean()), ("linear", truth - known.predict(rows))):
        rmse = numpy.sqrt((errors**2).mean())
        assert evaluation["baselines"][name]["rmse"] == pytest.approx(rmse, rel=1e-6)
    assert json.loads((tmp_path / "run" / "evaluations.jsonl").read_text())["remarks"] == evaluation["remarks"]
    assert "baselines: rmse of mean " in good("eval", tmp_path / "run").stdout
    weights = (tmp_path / "run" / "baselines.safetensors").read_bytes()
    (tmp_path / "run" / "baselines.safetensors").write_bytes(weights[:-9])
    damaged = call("eval", tmp_path / "run")
    assert isinstance(damaged.exception, DataError)
    assert "baselines.safetensors: does not hold the baselines of this run" in str(damaged.exception)
    (tmp_path / "run" / "baselines.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert "their SHA-256 does not fit" in str(call("eval", tmp_path / "run").exception)
    (tmp_path / "run" / "baselines.safetensors").write_bytes(weights)
    facts = tmp_path / "run" / "baselines.json"
    facts.write_text(facts.read_text().replace('"rmse": ', '"rmse": 1'))
    assert "baselines" not in json.loads(good("eval", tmp_path / "run", "--json").stdout), "no wrong number is shown"
    for name in ("baselines.json", "baselines.safetensors"):  # as in a run of an earlier version
        (tmp_path / "run" / name).unlink()
    assert "baselines" not in json.loads(good("eval", tmp_path / "run", "--json").stdout)
    assert next(iter(Checkpoints(tmp_path / "run" / "checkpoints"))).record.solved is None


def test_seeds_and_folds_show_the_baselines_means(write_settings: Write, tmp_path: Path) -> None:
    trainer = {"epochs": 1, "device": "cpu", "threads": 1}
    config = write_settings(settings(salaries(90), trainer=trainer))
    for command, parent in ((("cv", config, "--folds", 2), "cv"), (("fit", config, "--seeds", "0-1"), "seeds")):
        shown = good(*command, "-o", tmp_path / parent).stdout
        assert "baseline, mean" in shown
        summary = json.loads((tmp_path / parent / "summary.json").read_text())
        each = [member["baselines"]["mean"]["rmse"] for member in summary["members"]]
        assert len(each) == 2
        assert summary["baselines"]["mean"]["rmse"] == pytest.approx(sum(each) / 2)
