"""Evaluation on data that changed since a run was trained on them: refused, or carried out and reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dltrain.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dltrain.dataset import Dataset, SplitName
    from dltrain.runs.loading import Trained
    from dltrain.stream import Stream


OFFER = "use the changed data with --changed-data"


class OpenedSplit(NamedTuple):
    """A split that was drawn from a run's data, and its batches."""

    dataset: Dataset
    name: SplitName
    stream: Stream[Any]


class ChosenExamples(NamedTuple):
    """The batches of a split's examples to evaluate on, what results say about changed data, and the examples' places
    in the split, (N,), where others are left out.
    """

    stream: Stream[Any]
    facts: Mapping[str, Any]
    kept: NDArray[Any] | None


def choose_new_examples(
    run: Path, trained: Trained, opened: OpenedSplit, *, allowed: bool, warn: Callable[[str], None]
) -> ChosenExamples:
    """Choose the examples that are new to the run's weights.

    Raises UsageError for data that changed since training, and for a source of the weights that was trained on the
    split's examples, unless `allowed`: then those examples are left out.
    """
    from dltrain.runs.changed_data import CHANGED, check_same_data
    from dltrain.runs.known_examples import find_known_examples

    dataset, name, stream = opened
    changed = check_same_data(run, trained.record, dataset.fingerprint, allowed=allowed, offer=OFFER)
    known = find_known_examples(trained.checkpoint) if changed or trained.record.sources else None
    kept = None
    facts: dict[str, Any] = {"files": changed, "examples": None, "left_out": None, "recognised": None}
    from dltrain.dataset import Identifies

    if known is not None and isinstance(dataset, Identifies) and name != "training":
        hashes = dataset.identities(name)
        inherited = known.find_inherited(hashes, name)
        if inherited.any() and not allowed:
            raise UsageError(
                f"{run}: {int(inherited.sum())} of {len(hashes)} {name} examples were trained on by a run that its "
                f"weights come from ({trained.record.sources[-1]['from']})",
                advice="train from other weights, or leave these examples out with --changed-data",
            )
        seen = inherited | known.find_seen(hashes, name) if changed else inherited
        facts |= {"examples": len(hashes), "left_out": int(seen.sum())}
        facts["recognised"] = bool(seen.any() or known.contains_own(hashes, name).any())
        if seen.any():
            kept = (~seen).nonzero()[0]
            stream = _leave_out(run, opened, kept, len(seen))
    if not changed and not facts["left_out"]:
        return ChosenExamples(stream, {}, kept)
    warn(format_changed_data(facts))
    return ChosenExamples(stream, {CHANGED: facts}, kept)


def _leave_out(run: Path, opened: OpenedSplit, kept: NDArray[Any], examples: int) -> Stream[Any]:
    """The batches of the examples at `kept` (N,) of all. Raises UsageError where there are none."""
    from dltrain.stream import Loader, Selects

    count = examples - len(kept)
    if not len(kept):
        raise UsageError(
            f"{run}: all {count} {opened.name} examples of the changed data were trained (or validated) on",
            advice=f"give new examples, as files of their own (data.{opened.name})",
        )
    stream = opened.stream
    if not isinstance(stream, Loader) or not isinstance(stream.source, Selects):
        raise UsageError(
            f"{run}: {count} of {examples} {opened.name} examples of the changed data were trained (or validated) on, "
            "and cannot be left out of this kind of data",
            advice=f"restore the data, or give new examples, as files of their own (data.{opened.name})",
        )
    return Loader(stream.source.select(kept), stream.workers)


def format_changed_data(facts: Mapping[str, Any]) -> str:
    """One line about an evaluation on changed data."""
    named = f"changed data, not those of the run's training: {', '.join(facts['files'])}"
    if not facts["files"]:
        named = "the run's weights come from a run that was trained on some of these examples"
    if facts["left_out"] is None:
        return f"{named}; how many of the examples were trained on is not known"
    left_out = f"{facts['left_out']:,} of {facts['examples']:,} examples left out, which were trained or validated on"
    if facts["left_out"] or facts["recognised"]:
        return f"{named}; {left_out}"
    return (
        f"{named}; none of the {facts['examples']:,} examples is known to the run: they are new, or only their form "
        "has changed, as by another column, and then some were trained on"
    )
