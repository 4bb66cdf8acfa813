"""Which examples belong to which split: shares of the data, folds of a cross-validation, and whole speakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction as Rational
from math import floor
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from dltrain.errors import DataError
from dltrain.options import Fold
from dltrain.runtime.seeds import make_generator

Mask = NDArray[numpy.bool_]


def hold_out(strata: NDArray[Any], share: float, seed: int, split: str = "validation") -> Mask:
    """Select the examples kept for another split, (N,) bool: exactly round(N * share) of them.

    Each of the `strata` (N,) contributes its share, rounded by the largest remainder method.
    """
    exact = Rational(str(share))  # 0.1 means a tenth, not the nearest double
    groups = [numpy.flatnonzero(strata == stratum) for stratum in numpy.unique(strata)]
    quotas = [exact * len(group) for group in groups]
    counts = [floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(groups)), key=lambda number: counts[number] - quotas[number])
    for number in by_remainder[: round(exact * len(strata)) - sum(counts)]:
        counts[number] += 1
    kept = numpy.zeros(len(strata), bool)
    for number, (group, count) in enumerate(zip(groups, counts, strict=True)):
        order = torch.randperm(len(group), generator=make_generator(split, seed, number))
        kept[group[order[:count].numpy()]] = True
    return kept


def hold_out_rows(
    count: int,
    share: float,
    seed: int,
    *,
    split: str,
    labels: NDArray[Any] | None,
    groups: NDArray[Any] | None,
    source: str,
) -> Mask:
    """Select the rows of a table kept for `split`, (count,) bool; `source` names the table in messages.

    With `groups` (count,), a share of the groups is kept as a whole; else with `labels` (count,) the split is
    stratified. Raises DataError if the share amounts to no row, or to all of them.
    """
    if groups is not None:
        names, numbers = numpy.unique(groups, return_inverse=True)
        kept = hold_out(numpy.zeros(len(names)), share, seed, split)[numbers]
    else:
        kept = hold_out(numpy.zeros(count) if labels is None else labels, share, seed, split)
    if not kept.any() or kept.all():
        total = f"{count} rows" if groups is None else f"{len(names)} groups of rows"
        raise DataError(
            f"{source}: data.{split}={share} of {total} {'leaves none to train on' if kept.any() else 'is no row'}",
            advice=f"give another share, or 0 for no {split} split, or a file",
        )
    return kept


def select_fold(
    count: int, fold: Fold, seed: int, *, labels: NDArray[Any] | None = None, groups: NDArray[Any] | None = None
) -> Mask:
    """Select the examples that a fold of scikit-learn's splitters holds out, (count,) bool.

    Every example is in exactly one fold. With `labels` (count,) the folds are stratified; with `groups` (count,) no
    group is in two folds. Raises DataError for more folds than examples, groups, or examples of a class.
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
        advice = "make fewer folds"
        if what.endswith("class"):
            more = "add examples of it, leave it out, or give it another class's label"
            advice = f"{advice}, or {more}" if few > 1 else more
        raise DataError(f"{fold.of} folds need as many {what}, found {few}", advice=advice)
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
    order = torch.randperm(len(names), generator=make_generator("validation speakers", seed)).tolist()
    remaining, chosen = round(fraction * len(speakers)), set()
    for index in order:
        if counts[names[index]] <= remaining:
            chosen.add(names[index])
            remaining -= counts[names[index]]
    if fraction and not chosen and len(names) > 1:
        chosen.add(min(names, key=lambda name: counts[name]))
    return numpy.array([speaker in chosen for speaker in speakers], bool)
