"""Patterns in what was read that make a score wrong or coarse: each one line, with the option that handles it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy

from dltrain.data.wording import join_some
from dltrain.dataset import Dataset, DataSummary, Identifies, SplitSummary

FEW = 20
"""Examples of a validation or test split below which a metric is too coarse to choose by."""
REPEATED_SHARE = 0.05
"""Share of a split's examples that training has too, from which it is reported: some tables repeat a row or two."""
DOMINANT_SHARE = 0.9
"""The share of one class from which on accuracy says little about the others."""
IMBALANCED = 10
"""How many times as frequent as the rarest class the most common one is, from which it is reported."""
USUAL_COPIES = {"lines": 0.5, "windows": 0.5}
"""The same by unit, where short lines, or stretches of a series, repeat by nature."""
MANY_VALUES, MANY_SHARE = 20, 0.5
"""Different numbers in a column, and their share of the different training rows, beyond which rows do not repeat by
nature."""
MORE_THAN_INSIDE = 1.5
"""How many times the share of repeated training rows the share of a later split's is, from which it is reported."""
CORRELATION_MARGIN = 1e-9
_NAMED = 3
IDENTIFIER = re.compile(r"(.*[\W_])?(id|uid|uuid|guid|index|rowid|rownum|row number|unnamed: 0)|", re.IGNORECASE)


def find_risks(dataset: Dataset, summary: DataSummary) -> list[str]:
    """One line for each dangerous pattern that the summary's facts and the examples' identities show."""
    return [
        *_find_few(summary),
        *_find_absent_classes(summary),
        *_find_imbalance(summary),
        *_find_constant_targets(summary),
        *_find_leaks(summary),
        *_find_identifiers(summary),
        *_find_numbers_as_categories(summary),
        *_find_repeated(dataset, summary),
    ]


def _held_out(summary: DataSummary) -> list[SplitSummary]:
    return [split for split in summary.splits if split.name != "training" and split.examples]


def _training(summary: DataSummary) -> SplitSummary | None:
    return next((split for split in summary.splits if split.name == "training"), None)


def _is_share(split: SplitSummary, summary: DataSummary) -> bool:
    """Whether a split is a share of the training files, whose size an option sets."""
    training = _training(summary)
    return not split.files or (training is not None and split.files == training.files)


def _find_few(summary: DataSummary) -> Iterator[str]:
    for split in _held_out(summary):
        count = split.examples or 0
        if count < FEW and summary.unit != "lines":  # a line may be a whole text
            unit = summary.unit if count > 1 else summary.unit.removesuffix("s")
            step = f"accuracy moves in steps of {1 / count:.2g}" if split.classes else "its scores are uncertain"
            more = f"raise data.{split.name}" if _is_share(split, summary) else "add some to its files"
            yield f"the {split.name} split has only {count} {unit}: {step}; {more}"


def _find_absent_classes(summary: DataSummary) -> Iterator[str]:
    training = _training(summary)
    if training is None or not training.classes:
        return
    for split in _held_out(summary):
        every = [*training.classes, *(label for label in split.classes if label not in training.classes)]
        for name, present in ((split.name, split.classes), ("training", training.classes)):
            absent = [f"'{label}'" for label in every if not present.get(label)]
            if split.classes and absent:
                some = f"no example of {join_some(absent, _NAMED)}" + (f" of {len(every)} classes" * (len(absent) > 1))
                advice = f"raise data.{split.name}" if _is_share(split, summary) else "give it examples of them"
                yield f"the {name} split has {some}: its scores say nothing about them; {advice}"


def _find_imbalance(summary: DataSummary) -> Iterator[str]:
    training = _training(summary)
    present = {label: count for label, count in (training.classes if training else {}).items() if count}
    if len(present) < 2:
        return
    rarest, most = min(present, key=lambda label: present[label]), max(present, key=lambda label: present[label])
    dominant = present[most] >= DOMINANT_SHARE * sum(present.values())  # the task warns, who knows what decides
    if present[most] >= IMBALANCED * present[rarest] and not dominant:
        yield (
            f"the training split has {present[most] // present[rarest]} times as many {summary.unit} of '{most}' as of "
            f"'{rarest}', of which accuracy says little; see data.sampling and task.class_weights"
        )


def _find_constant_targets(summary: DataSummary) -> Iterator[str]:
    training = _training(summary)
    if training is not None and training.classes and sum(map(bool, training.classes.values())) == 1:
        yield f"all training {summary.unit} are of one class, so there is nothing to learn; check the labels"
        return
    for column in summary.columns:
        if column.role == "target" and column.facts.get("distinct") == 1:
            yield f"the target '{column.name}' is the same in all training rows; check data.target"


def _find_leaks(summary: DataSummary) -> Iterator[str]:
    """Inputs that give the target away; a single input may give its target exactly."""
    training, inputs = _training(summary), [column for column in summary.columns if column.role == "input"]
    targets = [f"'{column.name}'" for column in summary.columns if column.role == "target"]
    if len(inputs) < 2 or training is None or not training.examples:
        return
    for column in inputs:
        correlation = column.facts.get("correlation")
        equal = correlation is not None and abs(correlation) >= 1 - CORRELATION_MARGIN
        repeated = 1 < column.facts.get("distinct", 0) <= training.examples / 2
        if equal or (column.facts.get("determines_target") and repeated):
            how = f"its correlation with it is {correlation:.0f}" if equal else "each of its values has one"
            target = join_some(targets, _NAMED) or "the target"
            yield f"column '{column.name}' gives {target} away: {how}; leave it out with data.ignore if it comes later"


def _find_identifiers(summary: DataSummary) -> Iterator[str]:
    training = _training(summary)
    if training is None or (training.examples or 0) < 2:
        return
    for column in summary.columns:
        differs = column.role == "input" and column.facts.get("distinct") == training.examples
        if differs and IDENTIFIER.fullmatch(column.name.strip()):
            yield f"column '{column.name}' numbers the rows, and is an input; leave it out with data.ignore"
        elif differs and column.kind == "categories" and "numbers_as" not in column.facts:
            yield f"column '{column.name}' has another category in each training row; leave it out with data.ignore"


def _find_numbers_as_categories(summary: DataSummary) -> Iterator[str]:
    for column in summary.columns:
        if text := column.facts.get("maybe_thousands"):
            yield (
                f"column '{column.name}' has integers and numbers such as '{text}', all with three digits after the "
                "point; if the point separates thousands, set data.decimal=comma"
            )
        if text := column.facts.get("numbers_as"):
            yield (
                f"column '{column.name}' is read as {column.facts['distinct']} categories, but its texts are numbers, "
                f"such as '{text}'; write them as plain numbers (1234.5), or leave it out with data.ignore"
            )


def _find_repeated(dataset: Dataset, summary: DataSummary) -> Iterator[str]:
    least = USUAL_COPIES.get(summary.unit, REPEATED_SHARE)
    for name, (count, total) in count_repeated(dataset, summary).items():
        if count >= least * total and count > 1 and not _repeat_by_nature(dataset, summary, count / total):
            yield (
                f"{count} of {total} {name} {summary.unit} ({count / total:.0%}) are in the training split too, so its "
                "scores are too good; remove the copies"
            )


def _repeat_by_nature(dataset: Dataset, summary: DataSummary, share: float) -> bool:
    """Whether rows repeat because their columns have few values, inside the training split as often as later.

    Rows with a column of many different numbers, as measurements have, repeat only as copies.
    """
    training = _training(summary)
    if not summary.columns or summary.unit != "rows" or training is None or not isinstance(dataset, Identifies):
        return False
    hashes, counts = numpy.unique(dataset.identities("training"), return_counts=True)
    many = max(MANY_VALUES, MANY_SHARE * len(hashes))
    if any(column.kind == "numbers" and column.facts.get("distinct", 0) > many for column in summary.columns):
        return False
    inside = counts[counts > 1].sum() / counts.sum()
    return bool(share <= MORE_THAN_INSIDE * inside)


def count_repeated(dataset: Dataset, summary: DataSummary) -> Mapping[str, tuple[int, int]]:
    """How many of a split's examples, and of how many, are among the training examples; of the splits read so far."""
    if not isinstance(dataset, Identifies) or not _held_out(summary):
        return {}
    training = numpy.unique(dataset.identities("training"))
    found = {split.name: dataset.identities(split.name) for split in _held_out(summary)}
    return {name: (int(numpy.isin(hashes, training).sum()), len(hashes)) for name, hashes in found.items()}
