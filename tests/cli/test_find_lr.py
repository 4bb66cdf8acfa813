"""The learning-rate range test: where a quadratic diverges is known, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from typer.testing import CliRunner, Result

from dltrain.batch import Examples
from dltrain.cli.main import application
from dltrain.core.learning_rate_range import Curve, LossRecorder, RisingRates, run_range_test
from dltrain.core.state import TrainState
from dltrain.errors import Diverged, UsageError
from dltrain.goal import Goal
from dltrain.observers.pictures import draw_range_test
from dltrain.options import Plan
from dltrain.runtime.precision import Runtime
from dltrain.runtime.seeds import make_generator
from dltrain.stream import Loader
from dltrain.task import Counts, Score, Step

Write = Callable[[Mapping[str, Any]], Path]
PLAN = Plan()
RUNTIME = Runtime(torch.device("cpu"), "a test")


class Numbers:
    """Batches of 16 targets drawn around 0; every one has the input 1, so that the loss is (weight - target)^2."""

    def __init__(self, batches: int, deviation: float) -> None:
        self.batches, self.deviation = batches, deviation

    def __len__(self) -> int:
        return self.batches

    def batch(self, epoch: int, index: int) -> Examples:
        targets = self.deviation * torch.randn(16, 1, generator=make_generator("numbers", epoch, index))
        return Examples(torch.ones(16, 1), targets)


class Squares:
    goal = Goal("loss", "min")
    sizes: Mapping[str, int] = {}

    def step(self, model: nn.Module, batch: Examples, carry: None) -> Step:
        return Step(functional.mse_loss(model(batch.inputs), batch.targets))

    def score(self, model: nn.Module, batch: Examples, carry: None) -> Score:
        raise AssertionError("a range test scores nothing")

    def report(self, counts: Counts) -> dict[str, float]:
        raise AssertionError("a range test reports nothing")


def curve_of(rates: RisingRates, batches: int = 7, deviation: float = 1.0, weight: float = 5.0) -> Curve:
    """The range test of one weight, which begins far from its targets' mean, by plain gradient descent."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, weight)
    state = TrainState(model, torch.optim.SGD(model.parameters(), rates.base), RUNTIME.scaler())
    return run_range_test(state, Squares(), Loader(Numbers(batches, deviation)), PLAN, RUNTIME, rates)


def test_the_loss_of_a_quadratic_turns_up_where_gradient_descent_diverges() -> None:
    # The second derivative of (weight - target)^2 is L = 2, and gradient descent diverges from 2 / L = 1 on.
    curve = curve_of(RisingRates(1e-4, 1e3, 280, base=0.5))
    assert curve.ended == "the loss blew up"
    lowest = float(curve.smoothed.min())
    falling = [rate for rate, loss in zip(curve.rates, curve.losses, strict=True) if loss < 3 * lowest]
    turned = [rate for rate, loss in zip(curve.rates, curve.losses, strict=True) if loss > 9 * lowest and rate > 0.1]
    assert 0.6 < max(falling) < 1.6
    assert 1.0 < min(turned) < 2.0
    assert curve.fault is None
    assert not curve.still_falling
    # The weight is e^-1 of its way from the mean when the rates so far sum up to 1 / L: sum ~ rate / (ratio - 1).
    ratio = curve.rates[1] / curve.rates[0]
    assert 0.2 * (ratio - 1) / 2 < curve.steepest < 3 * (ratio - 1) / 2
    assert curve.tenth_of_lowest == pytest.approx(curve.rates[curve.lowest] / 10)


def test_rates_rise_by_equal_factors_and_every_update_has_its_own() -> None:
    rates = RisingRates(1e-3, 1e-1, 5, base=0.2)
    assert [rates.at(step) for step in range(5)] == pytest.approx([1e-3, 10**-2.5, 1e-2, 10**-1.5, 1e-1])
    curve = curve_of(RisingRates(1e-6, 1e-3, 40, base=0.5), batches=6)  # round the epoch again, six times and a part
    assert len(curve.losses) == 40
    assert curve.ended == "all rates tried"
    assert curve.rates[-1] == pytest.approx(1e-3)


def test_where_nothing_falls_there_is_no_suggestion() -> None:
    flat = curve_of(RisingRates(1e-9, 1e-6, 40, base=0.5))
    assert (
        flat.fault
        == "the loss does not fall from 1e-09 to 1e-06: try other --low and --high, or look at data and model"
    )
    arrived = curve_of(RisingRates(1e-4, 1e3, 100, base=0.5), weight=0.0)
    assert arrived.fault is not None
    assert arrived.fault.startswith("the loss only rises from 0.0001 to ")
    high = curve_of(RisingRates(5.0, 1e3, 100, base=0.5))
    assert high.fault == "the loss blew up after 5 of 100 updates, at 6.2: lower --low"


def test_a_loss_that_still_falls_at_the_end_is_said_to() -> None:
    curve = curve_of(RisingRates(1e-4, 1e-1, 60, base=0.5), deviation=0.1)
    assert curve.fault is None
    assert curve.still_falling


def test_a_test_ends_when_the_loss_is_not_finite() -> None:
    curve = curve_of(RisingRates(1e20, 1e38, 12, base=0.5))
    assert curve.fault == "the loss or a gradient was not finite after 1 of 12 updates, at 1e+20: lower --low"
    with pytest.raises(Diverged, match="the first update, at learning rate 1: the loss or a gradient is not finite"):
        curve_of(RisingRates(1.0, 2.0, 30, base=0.5), weight=float("nan"))


def test_a_single_bad_batch_ends_nothing() -> None:
    recorder = LossRecorder(100)
    recorder.losses = [1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 500.0, 0.1]
    assert recorder.pending() is None
    recorder.losses += [500.0, 500.0, 500.0]
    assert str(recorder.pending()) == "the loss blew up"


def test_a_curve_without_a_reading_is_drawn_too(tmp_path: Path) -> None:
    curve = Curve([1e-3, 1e-2], [1.0, 2.0], "all rates tried", 2)
    draw_range_test(curve, "two updates", tmp_path / "new" / "curve.png")
    assert (tmp_path / "new" / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)

    def find_lr(*words: object) -> Result:
        return CliRunner().invoke(application(), ["find-lr", *map(str, words)])

    return find_lr


def test_the_command_suggests_draws_and_leaves_nothing_else(
    call: Callable[..., Result], settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    config = write_settings(settings)
    result = call(config, "--steps", 60)
    assert result.exit_code == 0, result.output
    assert "cnn on mnist, adam, seed 0" in result.stdout
    assert "suggestion (steepest fall)    optimizer: {learning_rate: " in result.stdout
    assert result.stdout.endswith("picture: small-learning-rates.png\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small-learning-rates.png", "small.yaml"]


@pytest.mark.slow
def test_a_seed_decides_and_all_rates_rise_together(
    call: Callable[..., Result], settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    settings["optimizer"] = {"name": "muon", "learning_rate": 0.02, "adamw_learning_rate": 0.004}
    settings["schedule"] = {"name": "one_cycle"}
    settings["trainer"] |= {"ema": 0.9, "patience": 1, "accumulate": 2}
    config = write_settings(settings)
    words = (config, "--steps", 40, "--low", 1e-5, "-o", "curve.png", "--json")
    first, second = (json.loads(call(*words).stdout) for _ in range(2))
    assert first == second
    assert (tmp_path / "curve.png").exists()
    muon, adamw = (float(part.split(": ")[1]) for part in first["yaml"].removesuffix("}").split("{")[1].split(", "))
    assert muon == first["suggestion"]
    assert muon / adamw == pytest.approx(5, rel=0.05)


def test_mistakes_are_told(
    call: Callable[..., Result], settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    config = write_settings(settings)
    for low, high in (("1", "0.1"), ("1e-07", "inf"), ("1e-07", "nan"), ("-inf", "1"), ("1e-300", "1e+300")):
        wrong = call(config, "--low", low, "--high", high)
        assert isinstance(wrong.exception, UsageError)
        expected = f"--low {low} --high {high}: allowed are two finite rates above 0, the lower one first"
        assert str(wrong.exception) == expected
    plateau = call(config, "--high", 1e-6, "--steps", 20, "-o", "flat.png")
    assert plateau.exit_code == 0
    assert "no suggestion: the loss does not fall from 1e-07 to 1e-06" in plateau.stdout


def test_a_run_directory_names_its_config_and_stays_as_it_is(
    call: Callable[..., Result], settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(write_settings(settings).read_text())
    result = call(run, "--steps", 30, "--low", 1e-4)
    assert result.exit_code == 0, result.output
    assert [path.name for path in run.iterdir()] == ["config.yaml"]
    assert (tmp_path / "run-learning-rates.png").exists()
