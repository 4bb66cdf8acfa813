from __future__ import annotations

import math

import pytest

from dltrain.goal import Goal, epochs_without_improvement, finished

MOST, LEAST = Goal("accuracy", "max"), Goal("loss", "min")


def test_best_is_the_first_of_equals_and_never_nan_or_missing() -> None:
    assert MOST.best([0.1, 0.3, 0.3, 0.2]) == 1
    assert LEAST.best([None, math.nan, 2.0, 1.0, 1.0]) == 3
    assert MOST.best([]) is None
    assert MOST.best([None, math.nan]) is None


@pytest.mark.parametrize(("scores", "stale"), [([], 0), ([0.1], 0), ([0.2, 0.1, 0.2], 2), ([None, None], 2)])
def test_epochs_without_improvement(scores: list[float | None], stale: int) -> None:
    assert epochs_without_improvement(MOST, scores) == stale


def test_training_ends_by_epochs_or_by_patience() -> None:
    assert finished(MOST, [0.1, 0.2], 3, None) is None
    assert finished(MOST, [0.1, 0.2, 0.3], 3, None) == "all 3 epochs done"
    assert finished(MOST, [0.3, 0.2], 9, 2) is None
    assert finished(MOST, [0.3, 0.2, 0.1], 9, 2) == "stopped early: no better accuracy in 2 epochs"
    assert finished(LEAST, [0.3, 0.2, 0.1], 9, 2) is None
