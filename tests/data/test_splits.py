"""Folds are scikit-learn's, and hold every example out exactly once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from dltrain.data.splits import select_fold
from dltrain.errors import DataError
from dltrain.options import Fold

COUNT, FOLDS = 60, 4
LABELS = np.array(["a", "b", "b"] * 20)
GROUPS = np.arange(COUNT) // 5


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 7])
@pytest.mark.parametrize(
    ("labels", "groups", "splitter"),
    [
        (None, None, KFold),
        (LABELS, None, StratifiedKFold),
        (None, GROUPS, GroupKFold),
        (LABELS, GROUPS, StratifiedGroupKFold),
    ],
)
def test_folds_are_scikit_learns(labels: Any, groups: Any, splitter: type, seed: int) -> None:
    held = [select_fold(COUNT, Fold(index, FOLDS), seed, labels=labels, groups=groups) for index in range(FOLDS)]
    assert np.array_equal(np.sum(held, axis=0), np.ones(COUNT))
    parts = splitter(FOLDS, shuffle=True, random_state=seed % 2**32)
    expected: Iterable[Any] = parts.split(np.zeros(COUNT), np.zeros(COUNT) if labels is None else labels, groups)
    assert [np.flatnonzero(fold).tolist() for fold in held] == [test.tolist() for _, test in expected]


def test_labels_keep_their_shares_and_groups_stay_whole() -> None:
    for index in range(FOLDS):
        stratified = select_fold(COUNT, Fold(index, FOLDS), 3, labels=LABELS)
        assert (LABELS[stratified] == "a").sum() == 20 / FOLDS
        grouped = select_fold(COUNT, Fold(index, FOLDS), 3, groups=GROUPS)
        assert not set(GROUPS[grouped]) & set(GROUPS[~grouped])


def test_another_seed_makes_other_folds() -> None:
    assert not np.array_equal(select_fold(COUNT, Fold(0, 3), 0), select_fold(COUNT, Fold(0, 3), 1))


@pytest.mark.parametrize(
    ("labels", "groups", "told"),
    [
        (None, None, "5 folds need as many examples, found 4\nnext: make fewer folds"),
        (np.array([0, 0, 1, 1]), None, "5 folds need as many examples of the rarest class, found 2"),
        (None, np.array([0, 0, 1, 2]), "5 folds need as many groups, found 3"),
    ],
)
def test_too_few_of_anything_are_refused(labels: Any, groups: Any, told: str) -> None:
    with pytest.raises(DataError) as caught:
        select_fold(4, Fold(0, 5), 0, labels=labels, groups=groups)
    assert told in str(caught.value)


def test_a_fold_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="there is no fold 3 of 3; they are counted from 0"):
        Fold(3, 3)
