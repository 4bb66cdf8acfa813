"""What a run starts from must not have seen the examples that it is scored on."""

from __future__ import annotations

from dltrain.config.experiment import load_tree
from dltrain.core.checkpoint import Checkpoint
from dltrain.dataset import SplitName
from dltrain.errors import DltrainError, UsageError
from dltrain.observers.console import Messenger
from dltrain.runs.building import Names, Training, construct_dataset
from dltrain.runs.changed_data import find_all_differences
from dltrain.runs.directory import Run
from dltrain.runs.known_examples import ExampleHashes, KnownExamples, find_known_examples, identify_examples

SEEN = "so its scores would be those of examples that were learned, not of new ones"


def keep_known_examples(run: Run, training: Training, messenger: Messenger) -> None:
    """Write which examples a run trains on, before its first step, into its directory.

    Raises UsageError where its validation or test examples were trained on already: by the source of its weights, or by
    itself, before its data changed. Where that is not known, it is reported.
    """
    dataset = training.dataset
    own = identify_examples(dataset, training.experiment.data.options)
    if run.checkpoint is not None:
        before = KnownExamples.read(run.directory)
        if own is not None and run.checkpoint.record.fingerprint != dict(dataset.fingerprint):
            own = own if before is None else _continue_on(run, before, own)
        elif before is not None:
            return
    elif training.source is not None:
        own = _start_from_source(training, own, messenger)
    if own is not None:
        own.write(run.directory)


def _continue_on(run: Run, before: KnownExamples, own: KnownExamples) -> KnownExamples:
    """The examples of a run that continues on changed data: those of both."""
    past, subject = own.start_from(before), f"{run.directory}: before its data changed, this run"
    refuse_seen(subject, past, "start a new run with --fresh, or give data.validation and data.test as other files")
    return own.join(before)


def _start_from_source(training: Training, own: KnownExamples | None, messenger: Messenger) -> KnownExamples | None:
    """The run's examples together with its source's. Raises UsageError where these include some that are scored."""
    assert training.source is not None
    checkpoint, source = training.source.checkpoint, training.source.source
    known = None if checkpoint is None else find_known_examples(checkpoint) or _identify_again(checkpoint)
    before = set() if checkpoint is None else set(checkpoint.record.fingerprint.values())
    shared = [name for name, digest in training.dataset.fingerprint.items() if digest in before]
    form = ""
    if own is not None and known is not None:
        own = own.start_from(known)
        refuse_seen(
            f"weights.init_from: {source}: it, or a run that its weights come from,",
            own,
            advice="take weights that were trained on other data, or on the same training split (same seed and shares)",
        )
        if known.recognises(own):
            return own
        form = "; none of these examples is known to it, so they are other ones, or have another form (one more column)"
    note = f"{source}: whether these weights were trained on examples that this run is scored on is not known"
    if shared:
        messenger.warn(f"weights.init_from: {note}; they were trained on {', '.join(shared)} too")
    elif own is not None and known is not None and own.count() == known.count():
        messenger.warn(f"weights.init_from: {note}{form}; it was trained on as many examples as this run has")
    else:
        messenger.inform(f"note: {note}{form}")
    training.notes.append(note)
    return own


def _identify_again(checkpoint: Checkpoint) -> KnownExamples | None:
    """The examples of a run of an earlier version, from its data; None where these are not here any more."""
    record = checkpoint.record
    if record.plugins:
        return None
    try:
        experiment = load_tree(record.config, str(checkpoint.path))
        dataset = construct_dataset(Names(()), experiment, record.assets)
        known = identify_examples(dataset, experiment.data.options)
    except DltrainError:
        return None
    return None if find_all_differences(record.fingerprint, dataset.fingerprint) else known


def refuse_seen(subject: str, known: KnownExamples, advice: str) -> None:
    """Raises UsageError, with their numbers, where validation or test examples have been seen before."""
    counts = []
    splits: list[tuple[SplitName, ExampleHashes]] = [("test", known.test), ("validation", known.validation)]
    for split, own in splits:
        if seen := int(known.find_inherited(own.hashes, split).sum()):
            counts.append(f"{seen:,} of this run's {len(own.hashes):,} {split} examples")
    if counts:
        raise UsageError(f"{subject} was trained (or chosen) on {' and on '.join(counts)}, {SEEN}", advice=advice)
