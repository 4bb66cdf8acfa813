"""Averages of the weights, against the sums that define them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dltrain.core.averages import MovingAverage, find_unsettled_statistics
from dltrain.core.checkpoint import Checkpoints
from dltrain.core.record import Record
from dltrain.core.state import TrainState, make_average
from dltrain.goal import Goal
from dltrain.options import Plan


def walk(average: nn.Module, model: nn.Linear, updates: int, seed: int = 0) -> list[float]:
    """Move the one weight of a model about, and average it; the weight at each update."""
    generator, weights = torch.Generator().manual_seed(seed), []
    for _ in range(updates):
        with torch.no_grad():
            model.weight.add_(torch.randn(1, 1, generator=generator))
        average.update_parameters(model)  # type: ignore[operator]
        weights.append(model.weight.item())
    return weights


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9999])
def test_the_average_is_the_weighted_sum_with_the_rising_decay(decay: float) -> None:
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    average = MovingAverage(model, decay)
    weights = walk(average, model, 210)
    expected = weights[0]
    for count, weight in enumerate(weights[1:], 1):
        rate = min(decay, (1 + count) / (10 + count))
        expected = rate * expected + (1 - rate) * weight
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-12)


def test_the_first_weights_are_forgotten_in_a_short_run() -> None:
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    average = MovingAverage(model, 0.9999)
    average.update_parameters(model)
    with torch.no_grad():
        model.weight.fill_(1.0)
    for _ in range(209):
        average.update_parameters(model)
    assert average.module.weight.item() > 0.999  # 1 - 0.9999**209 is 0.02


def test_counters_are_copied_and_statistics_averaged() -> None:
    model = nn.BatchNorm1d(2)
    average = MovingAverage(model, 0.99)
    for _ in range(7):
        model(torch.randn(5, 2))
        average.update_parameters(model)
    assert int(average.module.num_batches_tracked) == 7
    assert not torch.equal(average.module.running_mean, model.running_mean)


def make_state(rises: bool | None, folder: Path) -> TrainState:
    """The state of a run with a moving average; with `rises` it continues from a checkpoint that says so, or not."""
    torch.manual_seed(0)
    model = nn.Linear(1, 1, bias=False)
    optimizer, average = torch.optim.SGD(model.parameters(), lr=0.1), make_average(model, Plan(ema=0.99))
    state = TrainState(model, optimizer, torch.amp.GradScaler("cpu", enabled=False), average, averaging=True)
    assert isinstance(state.average, MovingAverage)
    if rises is None:
        return state
    walk(state.average, model, 3)
    tree, weights = state.tree(), dict(state.evaluated_model.state_dict())
    if not rises:
        del tree["decay_rises"]
    state.restore(weights, tree)
    return state


@pytest.mark.parametrize("rises", [True, False])
def test_a_run_continues_with_the_decay_that_it_began_with(rises: bool, tmp_path: Path) -> None:
    state = make_state(rises, tmp_path)
    assert isinstance(state.average, MovingAverage)
    before, model = state.average.module.weight.item(), state.model
    (weight,) = walk(state.average, model, 1)  # type: ignore[arg-type]
    rate = 4 / 13 if rises else 0.99
    assert state.average.module.weight.item() == pytest.approx(rate * before + (1 - rate) * weight, rel=1e-5)
    record = Record(config={}, assets={}, dataset="", fingerprint={}, notice=None, signature={}, plugins={})
    checkpoint = Checkpoints(tmp_path).write(state, record, Goal("loss", "min"), evaluated=False)
    other = make_state(None, tmp_path)
    checkpoint.restore(other)
    assert isinstance(other.average, MovingAverage)
    assert other.average.rises is rises


def test_batch_normalisation_that_has_seen_too_little_is_found() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert find_unsettled_statistics(model, 10) == pytest.approx(0.9**10)
    assert find_unsettled_statistics(model, 30) is None
    assert find_unsettled_statistics(nn.Linear(2, 2), 1) is None
    assert find_unsettled_statistics(nn.BatchNorm1d(2, momentum=None), 1) is None
    assert find_unsettled_statistics(nn.BatchNorm1d(2, track_running_stats=False), 1) is None
    constant = nn.BatchNorm1d(1)
    for _ in range(10):
        constant(torch.tensor([[4.0], [6.0]]))
    assert float(constant.running_mean) == pytest.approx(5 * (1 - 0.9**10))  # what the share is the share of
