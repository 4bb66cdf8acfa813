"""One evaluation of a checkpoint on a split: its counts, its results as plain values, and its pictures."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.errors import DataError, Diverged, UsageError
from dltrain.observers.console import Messenger
from dltrain.runs import examples
from dltrain.runs.adaptation import Adaptation, prepare_adaptation
from dltrain.runs.changed_data import EVALUATIONS
from dltrain.runs.clip_scoring import ClipScoring, Decoding, build_clip_scoring
from dltrain.runs.evaluated_data import OpenedSplit, choose_new_examples
from dltrain.runs.listing import SUMMARY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dltrain.dataset import Dataset, SplitName
    from dltrain.runs.loading import Trained
    from dltrain.runs.recording import Recorder
    from dltrain.stream import Stream
    from dltrain.task import Counts


@dataclass(frozen=True)
class EvaluationMethod:
    """How to evaluate: with an adaptation, with a decoding, and whether on data that changed since training.

    `messenger` receives the messages meanwhile.
    """

    adaptation: Adaptation | None = None
    decoding: Decoding | None = None
    changed_data: bool = False
    messenger: Messenger = field(default_factory=Messenger)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A checkpoint's counts on one split."""

    run: Path
    trained: Trained
    dataset: Dataset
    split: SplitName
    stream: Stream[Any]
    counts: Counts
    report: Mapping[str, float]
    adaptation: Adaptation | None
    judging: ClipScoring | None
    changed: Mapping[str, Any]
    """The files that changed since training, as the results contain them; empty for the run's own data."""
    kept: NDArray[Any] | None
    """The places in the split of the examples that are evaluated, (N,), where others are left out."""
    messenger: Messenger
    recorder: Recorder | None = None
    """What a report shows of the evaluation; None with an adaptation, which scores another model."""

    def draw(self, name: str, draw_picture: Callable[..., None], key: str = "picture") -> dict[str, str]:
        """Call `draw_picture` with title and path; the path under `key`. A checkpoint that stands alone gets none."""
        if not (self.run / "checkpoints").is_dir():
            return {}
        changed = ", changed data" if self.changed else ""
        title = f"{self.trained.experiment.model.name} on {self.dataset.name}, {self.split}{changed}"
        path = self.run / "plots" / f"{name}-{self.split}.png"
        with warn_if_not_written(self.messenger):
            draw_picture(title=title, path=path)
            return {key: str(path)}
        return {}


def run_evaluation(run: Path, trained: Trained, split: SplitName, how: EvaluationMethod) -> Evaluation:
    """Score a split. Raises UsageError where task or data do not allow it, Diverged for an adaptation that does."""
    from dltrain.runs.recording import Recorder

    adaptation, decoding, warn = how.adaptation, how.decoding, how.messenger.warn
    if adaptation:
        trained = prepare_adaptation(run, trained, adaptation)
    judges = build_clip_scoring(run, trained, decoding, how.messenger.inform)
    dataset = trained.dataset()
    opened = OpenedSplit(dataset, split, open_split(trained, dataset, split))
    stream, changed, kept = choose_new_examples(run, trained, opened, allowed=how.changed_data, warn=warn)
    if dataset.notice:
        warn(dataset.notice)
    scorer: Any = adaptation.scorer(trained, dataset) if adaptation else judges or trained.task
    recorder = None if adaptation else Recorder(trained, scorer, warn)
    scorer = recorder or scorer
    counts = replace(trained, task=scorer).counts(stream)
    report = trained.task.report(counts)
    if adaptation and not all(map(math.isfinite, report.values())):
        advice = f"lower {adaptation.STRENGTH} in --adapt"
        raise Diverged(f"{run}: with {adaptation} the loss is not finite", advice=advice)
    return Evaluation(
        run=run,
        trained=trained,
        dataset=dataset,
        split=split,
        stream=stream,
        counts=counts,
        report=report,
        adaptation=adaptation,
        judging=judges,
        changed=changed,
        kept=kept,
        messenger=how.messenger,
        recorder=recorder,
    )


def open_split(trained: Trained, dataset: Dataset, split: str) -> Stream[Any]:
    """The split's batches. Raises UsageError for an empty split; it offers the other one, if that has some."""
    streams = {"test": dataset.test, "validation": dataset.validation}
    stream = streams[split]()
    if len(stream):
        return stream
    other = "validation" if split == "test" else "test"
    advice = f"train with data.{split} as a share above 0"
    with suppress(UsageError, DataError):
        if len(streams[other]()):
            advice = f"use --split {other}"
    raise UsageError(
        f"{trained.checkpoint.path}: the split to evaluate on is empty "
        f"(data.{split}: {trained.experiment.data.options.get(split)})",
        advice=advice,
    )


def collect_results(evaluation: Evaluation, worst: int | None) -> dict[str, Any]:
    """What an evaluation found, as plain values; draws the pictures, whose paths are among them."""
    from dltrain.capabilities import Clarifies, Classifies, ComparesNumbers, Forecasts, Predicts, Reconstructs

    trained, task = evaluation.trained, evaluation.trained.task
    result = describe_evaluation(evaluation)
    if evaluation.judging:
        result |= evaluation.judging.findings(evaluation.counts, worst, evaluation.dataset, evaluation.split)
    if isinstance(task, Clarifies):
        result["facts"] = dict(task.facts)
    if isinstance(task, Classifies):
        result |= collect_classes(evaluation, task)
    if isinstance(task, Predicts | ComparesNumbers) and worst is not None:
        result |= collect_worst(evaluation, worst)
    if isinstance(task, Reconstructs) and trained.kind.pixels:
        draw = partial(examples.draw_reconstructions, trained, evaluation.stream)
        result |= evaluation.draw("reconstructions", draw)
    if isinstance(task, Forecasts):
        result |= evaluation.draw("forecasts", partial(examples.draw_forecasts, trained, evaluation.stream))
    return result | collect_baselines(evaluation)


def collect_baselines(evaluation: Evaluation) -> dict[str, Any]:
    """The metrics of the run's baselines on the same split, and sentences about what is wrong with the outcome."""
    from dltrain.core.verdict import check_coverage, compare_with_baselines
    from dltrain.runs.baselines import score_baselines

    trained, record = evaluation.trained, evaluation.trained.record
    directory = trained.checkpoint.path.parent.parent
    examples = evaluation.counts.get("examples")
    baselines = score_baselines(directory, trained.task, evaluation.stream, trained.runtime)
    off = check_coverage(evaluation.report, None if examples is None else int(examples), record.assets)
    found = {"remarks": [off]} if off else {}
    if not baselines:
        return found
    goal = trained.checkpoint.goal  # an export has neither baselines nor a goal
    remark = compare_with_baselines(evaluation.report, baselines, goal, solved=record.solved is not None)
    return {"baselines": baselines, "goal": goal.metric, "remarks": [one for one in (remark, off) if one]}


def describe_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """What was evaluated, on what and how, and the metrics."""
    from dltrain.core.checkpoint import WEIGHTS

    trained, dataset = evaluation.trained, evaluation.dataset
    return {
        "run": str(evaluation.run),
        "checkpoint": trained.checkpoint.name,
        "split": evaluation.split,
        **({"adaptation": evaluation.adaptation.record()} if evaluation.adaptation else {}),
        **({"decoder": evaluation.judging.decoding.record()} if evaluation.judging else {}),
        "dataset": dataset.name,
        "seed": trained.experiment.seed,
        "device": str(trained.runtime.device),
        "torch": trained.runtime.signature()["torch"],
        "metrics": {name: replace_nan(value) for name, value in evaluation.report.items()},
        "data_sha256": dict(dataset.fingerprint),
        **evaluation.changed,
        "weights_sha256": trained.checkpoint.manifest["files"][WEIGHTS]["sha256"],
    }


def replace_nan(value: float) -> float | None:
    """None for a number that JSON lacks."""
    return None if math.isnan(value) else value


def describe_findings(task: Any, counts: Counts) -> dict[str, Any]:
    """What a task says of its counts beside the metrics: the metrics of each class and the confusion matrix."""
    from dltrain.capabilities import Classifies

    if not isinstance(task, Classifies):
        return {}
    by_class, confusion = task.by_class(counts), task.confusion(counts)
    columns = zip(*(map(replace_nan, values.tolist()) for values in by_class.values()), strict=True)
    classes = {label: dict(zip(by_class, each, strict=True)) for label, each in zip(task.labels, columns, strict=True)}
    return {"classes": classes, "confusion": confusion.tolist()}


def collect_classes(evaluation: Evaluation, task: Any) -> dict[str, Any]:
    """The metrics of each class and the confusion matrix, which is drawn too."""
    from dltrain.observers.run_pictures import draw_confusion_picture

    draw = partial(draw_confusion_picture, task.confusion(evaluation.counts), task.labels)
    return {**describe_classes(task, evaluation.counts), **evaluation.draw("confusion", draw)}


def describe_classes(task: Any, counts: Counts) -> dict[str, Any]:
    """As `describe_findings`, with what is special about classes; empty for a task without classes."""
    found = describe_findings(task, counts)
    if not found:
        return {}
    confusion = task.confusion(counts)
    missed = ((confusion.sum(0) == 0) & (confusion.sum(1) > 0)).tolist()
    return {
        "classes": found["classes"],
        "absent_classes": [label for label, scores in found["classes"].items() if scores["f1"] is None],
        "never_predicted": [label for label, never in zip(task.labels, missed, strict=True) if never],
        "confusion": found["confusion"],
    }


def collect_worst(evaluation: Evaluation, worst: int) -> dict[str, Any]:
    """The examples that the model is most wrong about, by name; images are drawn too."""
    trained = evaluation.trained
    found, inputs = examples.find_worst(trained, evaluation.stream, worst)
    places = [one["example"] if evaluation.kept is None else int(evaluation.kept[one["example"]]) for one in found]
    names = examples.name_examples(evaluation.dataset, evaluation.split, places)
    described = [{**one, "example": at, **name} for one, at, name in zip(found, places, names, strict=True)]
    if not trained.kind.pixels or not inputs:
        return {"worst_examples": described}
    draw = partial(examples.draw_confused, trained, inputs, described)
    return {"worst_examples": described, **evaluation.draw("worst", draw, key="worst_picture")}


@contextmanager
def warn_if_not_written(messenger: Messenger) -> Iterator[None]:
    """A warning instead of an error where a file cannot be written: the metrics are what was asked for."""
    try:
        yield
    except OSError as error:
        messenger.warn(f"not kept: {error.filename}: {error.strerror}")


def record_evaluation(run: Path, result: Mapping[str, Any], messenger: Messenger) -> None:
    """Add the outcome to evaluations.jsonl, a record of how often the test set has been used."""
    if (run / "checkpoints").is_dir() or (run / SUMMARY).is_file():
        with warn_if_not_written(messenger), (run / EVALUATIONS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **result}) + "\n")
