"""`data.batch_size: auto`: a number is found before training, recorded, and taken by the run that continues."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from dltrain.config.experiment import load_experiment
from dltrain.errors import OutOfMemory, UsageError
from dltrain.runs import batch_size
from support.commands import call, good
from support.examples import write_config

WIDTH = 1000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config with 4000 rows, of which 3200 are trained on, and a wide layer."""
    draw = random.Random(0)
    rows = [f"{draw.random():.3f},{draw.random():.3f}" for _ in range(4000)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    tree: dict[str, Any] = {
        "task": "regression",
        "data": {"name": "table", "training": "rows.csv", "target": "y", "test": 0, "batch_size": "auto"},
        "model": {"name": "dense", "hidden": [WIDTH]},
        "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
    }
    return write_config(tmp_path / "auto.yaml", tree)


def test_the_largest_power_of_two_that_fits(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row keeps its outputs of the wide layer, before and after the activation; the weights are known too."""
    experiment = load_experiment(config).experiment
    weights = 4 * (WIDTH + WIDTH + WIDTH + 1)
    row = 4 * WIDTH * 2  # at the most
    monkeypatch.setattr(batch_size, "measure_machine_memory", lambda: 2 * (4 * weights + 2 * 100 * row))
    found = batch_size.find_batch_size(experiment)
    assert found.size in (64, 128)  # 100 rows fit, or 200 where the activation keeps its output alone
    monkeypatch.setattr(batch_size, "measure_machine_memory", lambda: 2 * (4 * weights + 2 * 25 * row))
    assert batch_size.find_batch_size(experiment).size * 4 == found.size


def test_an_epoch_keeps_ten_updates(config: Path) -> None:
    found = batch_size.find_batch_size(load_experiment(config).experiment)
    assert found.size == 256  # 320 would be a tenth of 3200 rows
    assert "a larger one would leave less than 10 updates in an epoch" in found.why


def test_the_number_is_recorded_and_kept(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = good("fit", config, "-o", tmp_path / "run").stderr
    assert "data.batch_size: 256 (about " in told
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data"]["batch_size"] == 256
    assert "nothing to do" in good("fit", config, "-o", tmp_path / "run").stderr
    monkeypatch.setattr(batch_size, "find_batch_size", lambda _: pytest.fail("the run has a number"))
    more = good("fit", config, "-o", tmp_path / "run", "--set", "trainer.epochs=2").stderr
    assert " at step 13, epoch 2\n" in more
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in steps if entry["event"] == "epoch"] == [13, 26]  # 3200 / 256, rounded up


def test_it_trains_as_with_that_number(config: Path, tmp_path: Path) -> None:
    good("fit", config, "-q", "-o", tmp_path / "auto")
    good("fit", config, "-q", "-o", tmp_path / "given", "--set", "data.batch_size=256")
    best = [tmp_path / run / "best" / "weights.safetensors" for run in ("auto", "given")]
    assert best[0].read_bytes() == best[1].read_bytes()


def test_other_commands_need_no_number(config: Path) -> None:
    assert "3,200" in good("data", "show", config).stdout
    good("summary", config)


@pytest.mark.parametrize("words", [["cv", "--folds", 3], ["fit", "--seeds", "0-1"]])
def test_runs_that_are_compared_need_a_number(words: list[Any], config: Path, tmp_path: Path) -> None:
    refused = call(words[0], config, *words[1:], "-o", tmp_path / "parent")
    assert isinstance(refused.exception, UsageError)
    assert "data.batch_size: auto is for a single run" in str(refused.exception)
    assert not (tmp_path / "parent").exists()


def test_a_model_that_does_not_fit_at_all(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(batch_size, "update", fail)
    with pytest.raises(OutOfMemory):
        batch_size.settle_batch_size(load_experiment(config).experiment, None)


def test_only_auto_is_a_word(config: Path) -> None:
    refused = call("fit", config, "--set", "data.batch_size=many")
    assert "data.batch_size must be an integer >= 1 or auto" in str(refused.exception)
