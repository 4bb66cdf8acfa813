"""Folds of a cross-validation, as scikit-learn's splitters make them."""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray

from dltrain.errors import DataError
from dltrain.options import Fold


def select_fold(
    count: int, fold: Fold, seed: int, labels: NDArray[Any] | None = None, groups: NDArray[Any] | None = None
) -> NDArray[numpy.bool_]:
    """Which of `count` examples the fold holds out, (count,) bool; every example is in one of the folds.

    With `labels` (count,) the folds are stratified, with `groups` (count,) no group is in two of them. Raises DataError
    for more folds than there are examples, groups, or examples of a class.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    if groups is not None:
        splitter = GroupKFold if labels is None else StratifiedGroupKFold
        few, what = len(numpy.unique(groups)), "groups"
    else:
        splitter = KFold if labels is None else StratifiedKFold
        few = count if labels is None else int(numpy.unique(labels, return_counts=True)[1].min())
        what = "examples" if labels is None else "examples of the rarest class"
    if few < fold.of:
        raise DataError(f"{fold.of} folds need as many {what}, found {few}", advice="make fewer folds")
    parts = splitter(fold.of, shuffle=True, random_state=seed % 2**32).split(
        numpy.zeros(count), numpy.zeros(count) if labels is None else labels, groups
    )
    held = numpy.zeros(count, bool)
    held[next(test for number, (_, test) in enumerate(parts) if number == fold.index)] = True
    return held
