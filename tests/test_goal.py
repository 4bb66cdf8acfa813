from __future__ import annotations

import itertools
import math
import random

from dltrain.goal import Goal, Ranked

MOST, LEAST = Goal("accuracy", "max"), Goal("error", "min")


def ranked(*scores: float | None) -> list[Ranked]:
    return [Ranked(score) for score in scores]


def test_best_is_never_nan_or_missing_and_the_first_of_what_is_equal_in_all() -> None:
    assert MOST.best(ranked(0.1, 0.3, 0.3, 0.2)) == 1
    assert LEAST.best(ranked(None, math.nan, 2.0, 1.0, 1.0)) == 3
    assert MOST.best([]) is None
    assert MOST.best(ranked(None, math.nan)) is None


def test_of_equal_scores_the_lower_loss_is_the_better() -> None:
    assert MOST.best([Ranked(1.0, 0.5), Ranked(1.0, 0.1), Ranked(0.9, 0.0)]) == 1
    assert LEAST.best([Ranked(0.0, 0.5), Ranked(0.0, None), Ranked(0.0, 0.2), Ranked(0.0, math.nan)]) == 2
    assert MOST.best([Ranked(1.0, math.nan), Ranked(1.0, None), Ranked(1.0, 9.0)]) == 2
    assert MOST.best([Ranked(1.0, None), Ranked(1.0, math.inf)]) == 0


def test_the_ranking_is_that_of_all_pairs() -> None:
    draw = random.Random(0)
    for goal in (MOST, LEAST):
        for _ in range(300):
            values = [None, math.nan, 0.0, 1.0, 2.0, -1.0]
            results = [Ranked(draw.choice(values), draw.choice(values)) for _ in range(draw.randrange(7))]
            order = goal.rank(results)
            scored = [one.score is not None and not math.isnan(one.score) for one in results]
            assert sorted(order) == [index for index, has in enumerate(scored) if has]
            for before, after in itertools.pairwise(order):
                first, second = results[before], results[after]
                assert first.score is not None
                assert second.score is not None
                if first.score != second.score:
                    assert (first.score > second.score) == (goal is MOST)
                    continue
                losses = [math.inf if one.loss is None or math.isnan(one.loss) else one.loss for one in (first, second)]
                assert losses[0] < losses[1] or (losses[0] == losses[1] and before < after)


def test_an_improvement_is_what_ranks_first_at_its_time() -> None:
    draw = random.Random(1)
    for goal in (MOST, LEAST):
        for _ in range(300):
            values = [None, math.nan, 0.0, 1.0, 2.0]
            results = [Ranked(draw.choice(values), draw.choice(values)) for _ in range(draw.randrange(8))]
            expected = [goal.best(results[: index + 1]) == index for index in range(len(results))]
            assert goal.find_improvements(results) == expected
