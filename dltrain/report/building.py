"""Writing the report of a run, from its directory; and keeping what evaluations found for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.core.checkpoint import WEIGHTS, Checkpoints
from dltrain.files import write_atomically
from dltrain.report.contents import REPORT, read_contents, write_findings
from dltrain.report.curves import build_curves
from dltrain.report.outline import (
    build_data,
    build_epochs,
    build_header,
    build_processes,
    build_scores,
    build_settings,
    title_run,
)
from dltrain.report.page import build_page
from dltrain.report.results import build_results
from dltrain.runs.run_facts import is_special

if TYPE_CHECKING:
    from dltrain.dataset import Dataset, SplitName
    from dltrain.runs.evaluation import Evaluation
    from dltrain.runs.loading import Trained

REFRESH_SECONDS = 5


def write_report(directory: Path, *, ours: bool = False) -> Path:
    """Write report.html from what the run directory has; `ours` as for `read_contents`."""
    contents = read_contents(directory, ours=ours)
    sections = [
        build_scores(contents),
        build_curves(contents),
        *build_results(contents),
        build_settings(contents.run),
        build_data(contents.data),
        build_epochs(contents),
        build_processes(contents),
    ]
    refresh = REFRESH_SECONDS if contents.is_running else None
    page = build_page(title_run(contents.run), build_header(contents), sections, refresh=refresh)
    write_atomically(directory / REPORT, page.encode())
    return directory / REPORT


def update_report(evaluation: Evaluation, result: Mapping[str, Any], warn: Callable[[str], None]) -> None:
    """Bring the report of a run up to date after an evaluation; a fault there is a warning, since the result counts.

    A checkpoint that stands alone has no report, nor has a run whose config leaves the observer `report` out.
    """
    observers = {choice.name for choice in evaluation.trained.experiment.observers}
    if "report" not in observers and not (evaluation.run / REPORT).exists():
        return
    try:
        keep_evaluation(evaluation, result)
    except Exception as error:  # a full disk, a plug-in's data
        warn(f"report.html is not up to date: {type(error).__name__}: {error}")


def keep_evaluation(evaluation: Evaluation, result: Mapping[str, Any]) -> None:
    """Keep what an evaluation of the best weights found, and write the report again.

    Of other checkpoints, decoders, thresholds and changed data only the metrics are kept, in evaluations.jsonl.
    """
    directory, trained = evaluation.run, evaluation.trained
    if not (directory / "checkpoints").is_dir():
        return
    best = Checkpoints(directory / "checkpoints").best()
    is_best = best is not None and best.name == trained.checkpoint.name
    if evaluation.recorder is not None and is_best and not is_special(result):
        found = evaluation.recorder.describe(evaluation.dataset, evaluation.split, evaluation.kept)
        taken = {name: result[name] for name in ("classes", "confusion", "confused") if result.get(name)}
        _keep_findings(directory, trained, evaluation.split, {**found, **taken})
    write_report(directory)


def keep_validation(directory: Path, dataset: Dataset, warn: Callable[[str], None]) -> None:
    """Keep what the best weights of a run that has just ended do on the validation split, if it has one."""
    from dltrain.runs.evaluation import describe_findings
    from dltrain.runs.loading import load_trained
    from dltrain.runs.recording import Recorder

    best, stream = Checkpoints(directory / "checkpoints").best(), dataset.validation()
    if best is None or not len(stream):
        return
    trained = load_trained(best)
    recorder = Recorder(trained, trained.task, warn)
    scorer: Any = recorder
    counts = replace(trained, task=scorer).counts(stream)
    found = recorder.describe(dataset, "validation", None)
    _keep_findings(directory, trained, "validation", {**found, **describe_findings(trained.task, counts)})


def _keep_findings(directory: Path, trained: Trained, split: SplitName, found: Mapping[str, Any]) -> None:
    """Write the findings of a split, with the hash of the weights that they are of."""
    identity = {"split": split, "weights_sha256": trained.checkpoint.manifest["files"][WEIGHTS]["sha256"]}
    write_findings(directory, split, {**identity, **found})
