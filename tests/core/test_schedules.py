"""Schedules against the definitions and against torch's own schedulers."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim import lr_scheduler

from dltrain.core import schedules
from dltrain.core.schedules import Moment
from dltrain.goal import Goal, Ranked


def factors(schedule: schedules.Schedule, steps: int, per_epoch: int = 10) -> list[float]:
    return [schedule(Moment(step, steps, step // per_epoch, ())) for step in range(steps)]


def torch_rates(make: object, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)  # type: ignore[operator]
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_is_torchs_cosine() -> None:
    expected = torch_rates(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 50, eta_min=0.1), 50)
    assert factors(schedules.Cosine(final=0.1), 50) == pytest.approx(expected)


def test_cosine_warms_up_linearly_to_one() -> None:
    rising = factors(schedules.Cosine(warmup=0.2), 50)[:11]
    assert rising == pytest.approx([*(step / 10 for step in range(1, 11)), 1.0])


def test_one_cycle_is_torchs_one_cycle() -> None:
    expected = torch_rates(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, 1.0, total_steps=100, div_factor=25, final_div_factor=1e4, cycle_momentum=False
        ),
        100,
    )
    assert factors(schedules.OneCycle(), 100) == pytest.approx(expected)


def test_staircase_is_torchs_step_by_epochs() -> None:
    expected = torch_rates(lambda optimizer: lr_scheduler.StepLR(optimizer, 30, 0.5), 100)
    assert factors(schedules.Staircase(every_epochs=3, gamma=0.5), 100) == pytest.approx(expected)


def test_plateau_is_torchs_plateau() -> None:
    scores = [0.1, 0.2, 0.2, 0.19, 0.2, 0.3, 0.3, 0.3, 0.3, 0.29, 0.28, 0.1, 0.1]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs = lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=2, threshold=0.0)
    ours = schedules.Plateau(patience=2, gamma=0.5)
    improved = Goal("accuracy", "max").find_improvements(list(map(Ranked, scores)))
    for epoch in range(len(scores)):
        torchs.step(scores[epoch])
        moment = Moment(0, 100, epoch, scores[: epoch + 1], improved=improved[: epoch + 1])
        assert ours(moment) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_plateau_counts_equal_scores_with_a_lower_loss_as_progress_as_patience_does() -> None:
    goal, plateau = Goal("accuracy", "max"), schedules.Plateau(patience=1, gamma=0.1)
    losses = [0.5, 0.4, 0.3, 0.2, 0.2, 0.2]
    improved = goal.find_improvements([Ranked(1.0, loss) for loss in losses])
    rates = [plateau(Moment(0, 1, epoch, [1.0] * epoch, improved[:epoch])) for epoch in range(1, 7)]
    assert rates == [1.0, 1.0, 1.0, 1.0, 1.0, 0.1]


def test_constant_warms_up_and_stays() -> None:
    assert factors(schedules.Constant(warmup_steps=4), 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert factors(schedules.Constant(), 3) == [1.0, 1.0, 1.0]


def test_inverse_square_root_meets_its_definition() -> None:
    ours = factors(schedules.InverseSquareRoot(warmup_steps=16), 64)
    assert ours[7] == 0.5
    assert ours[15] == 1.0
    assert ours[63] == pytest.approx(math.sqrt(16 / 64))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_schedules_bear_the_shortest_runs(steps: int) -> None:
    for schedule in (schedules.Cosine(warmup=0.5), schedules.OneCycle()):
        assert all(0 <= factor <= 1 for factor in factors(schedule, steps))


def test_the_staircase_may_begin_later() -> None:
    """The small LSTM of Zaremba et al. 2014: four epochs at the full rate, then half of the last one's each epoch."""
    schedule = schedules.Staircase(every_epochs=1, after_epochs=3, gamma=0.5)
    rates = [schedule(Moment(0, 1, epoch, ())) for epoch in range(13)]
    assert rates == [0.5 ** max(epoch - 4, 0) for epoch in range(1, 14)]
