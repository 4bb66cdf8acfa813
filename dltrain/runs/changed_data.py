"""Whether data are the same as when a run was trained on them: by the hashes of their content, never by name alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dltrain.config.experiment import Experiment, load_experiment
from dltrain.core.checkpoint import Checkpoints
from dltrain.core.record import Record
from dltrain.data.reading import ReadFiles, collect_read_files
from dltrain.data.wording import join_some
from dltrain.errors import DataError, DltrainError, UsageError
from dltrain.files import write_atomically
from dltrain.observers.console import Messenger
from dltrain.runs.directory import CONFIG, Run

READ_FILES = "data-files.json"
EVALUATIONS = "evaluations.jsonl"
CHANGED = "changed_data"
"""The key of an evaluation that was made on changed data."""
AGAIN = "start all runs again with --fresh or -o DIRECTORY"


def find_changed_files(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The names in both fingerprints whose hashes differ; a name in one of them was not read by both."""
    return [name for name, digest in after.items() if before.get(name, digest) != digest]


def find_all_differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The names that differ between the fingerprints of two complete trainings, in order."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def read_evaluated_fingerprint(run: Path) -> dict[str, str]:
    """The hash of each file when an evaluation of the run first read it: test files are closed until then."""
    place = run.resolve()  # of a checkpoint: the run that it belongs to
    path = (place.parents[1] if place.parent.name == "checkpoints" else run) / EVALUATIONS
    found: dict[str, str] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                evaluation = json.loads(line)
            except ValueError:  # killed while it was written
                continue
            if CHANGED not in evaluation:
                found = {**evaluation.get("data_sha256", {}), **found}
    return found


def check_same_data(
    run: Path, record: Record, fingerprint: Mapping[str, str], *, allowed: bool, offer: str
) -> list[str]:
    """The names of files that changed since they were trained or first evaluated on.

    Raises UsageError for any, unless `allowed`; `offer` is what to use else.
    """
    known = {**read_evaluated_fingerprint(run), **record.fingerprint}
    changed = find_changed_files(known, fingerprint)
    if changed and not allowed:
        lines = "".join(f"\n  {name}: {known[name][:12]}... -> {fingerprint[name][:12]}..." for name in changed)
        trained = "was trained" if changed[0] in record.fingerprint else "was first evaluated"
        raise UsageError(
            f"{run}: the data has changed since this run {trained} (SHA-256):{lines}\n"
            "its splits may be drawn differently now, and examples that it was trained on be scored as new ones",
            advice=f"restore the data, or train again, or {offer}",
        )
    return changed


@dataclass(frozen=True)
class DataReading:
    """What a training reads: the name of its data, the hashes of their contents, and the states of the files."""

    name: str
    fingerprint: Mapping[str, str]
    files: ReadFiles

    def write(self, directory: Path) -> None:
        """Keep it in a run directory: while the files are in these states, their content is known."""
        plain = {"format": 1, "fingerprint": dict(self.fingerprint), **self.files.to_plain()}
        write_atomically(directory / READ_FILES, (json.dumps(plain, indent=1) + "\n").encode())


def read_training_data(experiment: Experiment) -> DataReading:
    """Read the data of an experiment as its training does, without a download. Raises DataError if it is missing."""
    from dltrain.runs.building import Names, construct_dataset

    if "download" in experiment.data.options:
        options = {**experiment.data.options, "download": False}
        experiment = replace(experiment, data=replace(experiment.data, options=options))
    with collect_read_files() as files:
        dataset = construct_dataset(Names(experiment.plugins), experiment)
        dataset.training()
        dataset.validation()
    return DataReading(dataset.name, dict(dataset.fingerprint), files)


def is_surely_unchanged(directory: Path, experiment: Experiment, record: Record) -> bool:
    """Whether all files that the run read are in the same state; False where that is not known without reading them.

    Files that a plug-in reads are not known, nor is it known whether data have come that a sample stood in for.
    """
    if experiment.plugins or (record.notice and experiment.data.options.get("when_missing") == "sample"):
        return False
    read = find_read_files(directory, record)
    return read is not None and read.are_unchanged()


def find_read_files(directory: Path, record: Record) -> ReadFiles | None:
    """The states of the files that a run read; None where they were not kept."""
    try:
        plain = json.loads((directory / READ_FILES).read_text(encoding="utf-8"))
        return ReadFiles.from_plain(plain) if plain["fingerprint"] == record.fingerprint else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_changes_since_training(directory: Path, experiment: Experiment, record: Record) -> list[str]:
    """The names of the files that changed since the run in `directory` was trained, or that are new or gone.

    The files are read only where one may have changed; if they cannot be read any more, the reason is added. Raises
    DataError where they are gone.
    """
    if is_surely_unchanged(directory, experiment, record):
        return []
    try:
        now = read_training_data(experiment)
    except DltrainError as error:
        known = find_read_files(directory, record)
        if known is None or not (edited := known.find_changed()):
            raise
        return [f"{join_some([Path(path).name for path in edited], 3)} ({error.message})"]
    changed = find_all_differences(record.fingerprint, now.fingerprint)
    if not changed:
        now.write(directory)
    return changed


def check_finished_run(run: Run, experiment: Experiment, messenger: Messenger) -> None:
    """Raises UsageError where a finished run's data has changed; a warning where the data cannot be compared."""
    assert run.checkpoint is not None, "a finished run has a checkpoint"
    try:
        changed = find_changes_since_training(run.directory, experiment, run.checkpoint.record)
    except DataError as error:
        messenger.warn(f"{run.directory}: the data cannot be compared with what this run was trained on: {error}")
        return
    if changed:
        raise UsageError(
            f"{run.directory}: this run is finished, but its data has changed since then: {', '.join(changed)}",
            advice="train on the changed data with --fresh or -o DIRECTORY, or restore the data",
        )


@dataclass
class ComparedRuns:
    """Runs under one parent, whose scores are compared: those of the same data section must have the same data."""

    parent: Path
    first: dict[str, tuple[str, Record]] = field(default_factory=dict)
    """The name and the record of the first run of each data section."""

    def add(self, name: str) -> None:
        """Add the run in the directory `name`, if it has a checkpoint. Raises UsageError if it has other data."""
        last = Checkpoints(self.parent / name / "checkpoints").last()
        if last is None:
            return
        record = last.record
        data = {key: value for key, value in record.config["data"].items() if key != "fold"}
        known_name, known = self.first.setdefault(json.dumps(data, sort_keys=True), (name, record))
        if changed := find_all_differences(known.fingerprint, record.fingerprint):
            raise UsageError(
                f"{self.parent}: {name} was trained on other data than {known_name}: {', '.join(changed)}\n"
                "scores on different data are not compared or averaged",
                advice=f"restore the data and remove the run trained on the other, or {AGAIN}",
            )

    def check_unchanged(self, messenger: Messenger) -> None:
        """Raises UsageError if the data has changed since: runs that are missing would be trained on other data."""
        for name, record in self.first.values():
            experiment = load_experiment(self.parent / name / CONFIG).experiment
            try:
                changed = find_changes_since_training(self.parent / name, experiment, record)
            except DataError as error:
                messenger.warn(f"{self.parent}: the data cannot be compared with those of {name}: {error}")
                continue
            if changed:
                raise UsageError(
                    f"{self.parent}: the data has changed since {name} was trained: {', '.join(changed)}\n"
                    "scores on different data are not compared or averaged",
                    advice=f"restore the data, or {AGAIN}",
                )


def describe_changed_data(names: Sequence[str], **facts: Any) -> dict[str, Any]:
    """What an output says about an evaluation on changed data, as plain values; {} for unchanged data."""
    return {CHANGED: {"files": list(names), **facts}} if names else {}
