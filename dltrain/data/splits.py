"""Which examples are held out: the folds of a cross-validation, and whole speakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from dltrain.errors import DataError
from dltrain.options import Fold
from dltrain.runtime.seeds import generator


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


def hold_out_speakers(speakers: Sequence[str], fraction: float, seed: int) -> NDArray[numpy.bool_]:
    """Choose the clips to keep for validation, (N,) bool: all clips of some speakers, about a share `fraction`.

    Speakers are drawn in an order that depends on the seed, and chosen while all their clips fit into the share; if
    nobody's fit, the speaker with fewest clips is chosen. A single speaker is never chosen.
    """
    counts = Counter(speakers)
    names = sorted(counts)
    order = torch.randperm(len(names), generator=generator("validation speakers", seed)).tolist()
    remaining, chosen = round(fraction * len(speakers)), set()
    for index in order:
        if counts[names[index]] <= remaining:
            chosen.add(names[index])
            remaining -= counts[names[index]]
    if fraction and not chosen and len(names) > 1:
        chosen.add(min(names, key=lambda name: counts[name]))
    return numpy.array([speaker in chosen for speaker in speakers], bool)
