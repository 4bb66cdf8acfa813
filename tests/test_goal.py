from __future__ import annotations

import math

from dltrain.goal import Goal

MOST, LEAST = Goal("accuracy", "max"), Goal("loss", "min")


def test_best_is_the_first_of_equals_and_never_nan_or_missing() -> None:
    assert MOST.best([0.1, 0.3, 0.3, 0.2]) == 1
    assert LEAST.best([None, math.nan, 2.0, 1.0, 1.0]) == 3
    assert MOST.best([]) is None
    assert MOST.best([None, math.nan]) is None
