"""`dltrain eval`."""

from __future__ import annotations

import json
import operator
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dltrain.cli.shared import examples, forecasts
from dltrain.cli.shared.adaptation import adaptation, adapting, check_finite, with_its_data
from dltrain.cli.shared.decoding import LanguageModelFile, LanguageModelWeight, WordBonus, decoding
from dltrain.cli.shared.judgements import judging, mistake_rows, told
from dltrain.cli.shared.threshold import Threshold, with_threshold
from dltrain.core.history import HISTORY
from dltrain.errors import DataError, RequirementNotMet, UsageError

if TYPE_CHECKING:
    from dltrain.dataset import Dataset
    from dltrain.runs.loading import Trained
    from dltrain.stream import Stream

OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq}


class Split(str, Enum):
    test = "test"
    validation = "validation"


class Requirement(NamedTuple):
    """`metric operator number`, as given to --require."""

    metric: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.bound:g}"

    def check(self, metrics: Collection[str]) -> None:
        """Raises UsageError, listing the metrics, where it asks for one that is not among them."""
        if self.metric not in metrics:
            raise UsageError(f"--require {self}: no metric '{self.metric}'; there are {', '.join(metrics)}")

    def met(self, report: Mapping[str, float]) -> bool:
        """Whether the report fulfils it; UsageError as `check`."""
        self.check(report)
        return bool(OPERATORS[self.comparison](report[self.metric], self.bound))


def requirement(text: str) -> Requirement:
    """Raises UsageError for what is not `metric operator number`."""
    match = re.fullmatch(r"\s*(\w+)\s*(>=|<=|==|>|<)\s*([-+.\deE]+)\s*", text)
    try:
        return Requirement(match[1], match[2], float(match[3])) if match else _refuse(text)
    except ValueError:
        return _refuse(text)


def _refuse(text: str) -> Requirement:
    raise UsageError(
        f"--require: found '{text}'; allowed is METRIC>=NUMBER (or <=, >, <, ==), such as 'accuracy>=0.99'"
    )


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory, or one checkpoint's directory.")],
    split: Annotated[Split, typer.Option(help="Which split to evaluate on.")] = Split.test,
    checkpoint: Annotated[str | None, typer.Option(help="last, or the name of a checkpoint. [default: best]")] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC>=NUMBER", help="Exit with 6 unless this holds; may be given again."),
    ] = None,
    root: Annotated[str | None, typer.Option(help="Where the data lies, if not where it was in training.")] = None,
    device: Annotated[str | None, typer.Option(help="The device, if not the training's.")] = None,
    threshold: Threshold = None,
    neural_cache: Annotated[
        int | None,
        typer.Option(min=1, metavar="TOKENS", help="Mix in a cache of the last tokens (arXiv:1612.04426)."),
    ] = None,
    cache_weight: Annotated[
        float | None, typer.Option(min=0, max=1, help="The cache's share of the probability. [default: 0.1]")
    ] = None,
    cache_flatness: Annotated[
        float | None, typer.Option(min=0, help="How much the likest entries of the cache stand out. [default: 1]")
    ] = None,
    dynamic: Annotated[
        float | None,
        typer.Option(min=0, metavar="LEARNING_RATE", help="Learn from each window once scored (arXiv:1709.07432)."),
    ] = None,
    dynamic_decay: Annotated[
        float | None, typer.Option(min=0, max=1, help="Pull back to the trained weights after each. [default: 0]")
    ] = None,
    dynamic_window: Annotated[int | None, typer.Option(min=1, help="Tokens in each window. [default: 5]")] = None,
    dynamic_rms: Annotated[
        bool, typer.Option("--dynamic-rms", help="Scale by the gradients over the training text, read first.")
    ] = False,
    worst: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="K", help="Show the K clips with the most mistakes, or the K most confused examples."
        ),
    ] = None,
    beam: Annotated[
        int | None,
        typer.Option(min=1, metavar="WIDTH", help="Search so many texts at a time (speech). [default: greedy]"),
    ] = None,
    lm: LanguageModelFile = None,
    lm_weight: LanguageModelWeight = None,
    word_bonus: WordBonus = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Measure a trained model on the test set (or the validation set).

    Reads the best checkpoint by default: the one with the best validation score. Every evaluation is added to the run
    directory's evaluations.jsonl, and the confusion matrix is drawn in its plots/, or an autoencoder's images and
    what became of them.

    A classifier's most confused examples are those whose true class it holds for the least probable. They are named by
    their places in the split, counted from 0, and drawn if they are images.

    A language model may adapt to the text as it reads it, one token after another: by a cache, or by learning.

    A speech recogniser may search for the likeliest text, with a language model of words (dltrain data lm).

    Examples:

      dltrain eval runs/mnist_cnn

      dltrain eval runs/mnist_cnn --require 'accuracy>=0.99' --json

      dltrain eval runs/mnist_cnn --worst 20

      dltrain eval runs/ptb_lstm --neural-cache 500

      dltrain eval runs/common_voice --beam 16 --lm words.arpa --worst 5
    """
    requirements = [requirement(text) for text in require or []]
    adapts = adaptation(
        {
            "--neural-cache": neural_cache,
            "--cache-weight": cache_weight,
            "--cache-flatness": cache_flatness,
            "--dynamic": dynamic,
            "--dynamic-decay": dynamic_decay,
            "--dynamic-window": dynamic_window,
            "--dynamic-rms": dynamic_rms or None,
        }
    )
    decodes = decoding(beam, lm, lm_weight, word_bonus)
    from dltrain.capabilities import Classifies, Forecasts, Predicts, Reconstructs
    from dltrain.core.checkpoint import WEIGHTS
    from dltrain.observers.report import confusion_picture
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained

    chosen = find_checkpoint(run, checkpoint)
    if known := _metrics(chosen.record):
        for one in requirements:
            one.check(known)
    sections = {"data": {"root": root} if root else {}, "trainer": {"device": device} if device else {}}
    trained = load_trained(chosen, {**sections, **with_threshold(run, chosen.record, threshold)})
    if adapts:
        trained = with_its_data(run, trained, adapts)
    examples.check_worst(run, trained, worst)
    judges = judging(run, trained, decodes, {"--beam": beam, "--lm": lm})
    dataset = trained.dataset()
    stream = stream_of(trained, dataset, split)
    if dataset.notice:
        typer.echo(f"warning: {dataset.notice}", err=True)
    scored = adapting(trained, adapts, dataset) if adapts else judges.scoring(trained) if judges else trained
    counts = scored.counts(stream)
    report = trained.task.report(counts)
    if adapts:
        check_finite(run, adapts, report)
    result: dict[str, Any] = {
        "run": str(run),
        "checkpoint": chosen.name,
        "split": split.value,
        **({"adaptation": {"method": adapts.method, **adapts.numbers}} if adapts else {}),
        **({"decoder": decodes.record()} if judges else {}),
        **({} if threshold is None else {"threshold": threshold}),
        "dataset": dataset.name,
        "seed": trained.experiment.seed,
        "device": str(trained.runtime.device),
        "torch": trained.runtime.signature()["torch"],
        "metrics": {name: None if value != value else value for name, value in report.items()},  # JSON knows no NaN
        "data_sha256": dict(dataset.fingerprint),
        "weights_sha256": chosen.manifest["files"][WEIGHTS]["sha256"],
    }
    title = f"{trained.experiment.model.name} on {dataset.name}, {split.value}"
    pictured = (run / "checkpoints").is_dir()  # a checkpoint that stands alone has no place for pictures
    if judges:
        result |= judges.findings(counts, worst, dataset, split.value)
    if isinstance(trained.task, Classifies):
        by_class = {name: values.tolist() for name, values in trained.task.by_class(counts).items()}
        confusion = trained.task.confusion(counts)
        result["classes"] = {
            label: {name: values[index] for name, values in by_class.items()}
            for index, label in enumerate(trained.task.labels)
        }
        result["confusion"] = confusion.tolist()
        if pictured:
            picture = run / "plots" / f"confusion-{split.value}.png"
            with _warned():
                confusion_picture(confusion, trained.task.labels, title, picture)
                result["picture"] = str(picture)
    if isinstance(trained.task, Predicts) and worst is not None:
        mistakes = examples.confused(trained, stream, worst)
        result["worst_examples"] = examples.plain(mistakes, trained.task.labels)
        if pictured and examples.of_images(trained):
            picture = run / "plots" / f"worst-{split.value}.png"
            with _warned():
                examples.draw_confused(trained, mistakes, trained.task.labels, title, picture)
                result["worst_picture"] = str(picture)
    if isinstance(trained.task, Reconstructs) and pictured and examples.of_images(trained):
        picture = run / "plots" / f"reconstructions-{split.value}.png"
        with _warned():
            examples.draw_reconstructions(trained, stream, title, picture)
            result["picture"] = str(picture)
    if isinstance(trained.task, Forecasts) and pictured:
        picture = run / "plots" / f"forecasts-{split.value}.png"
        with _warned():
            forecasts.draw_forecasts(trained, stream, title, picture)
            result["picture"] = str(picture)
    with _warned():
        _keep(run, result)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print(result, adapts or (decodes if judges else None))
    missed = [one for one in requirements if not one.met(report)]
    if missed:
        told = ", ".join(f"{one} (found {report[one.metric]:.6g})" for one in missed)
        raise RequirementNotMet(f"{run}: on the {split.value} split of {dataset.name}: not met: {told}")


def stream_of(trained: Trained, dataset: Dataset, split: Split) -> Stream[Any]:
    """The split's batches. Raises UsageError where there are none; it offers the other split, if that has some."""
    splits = {Split.test: dataset.test, Split.validation: dataset.validation}
    stream = splits.pop(split)()
    if len(stream):
        return stream
    ((other, read),) = splits.items()
    try:
        advice = f"use --split {other.value}" if len(read()) else None
    except (UsageError, DataError):
        advice = None
    raise UsageError(
        f"{trained.checkpoint.path}: the split to evaluate on is empty "
        f"(data.{split.value}: {trained.experiment.data.options.get(split.value)})",
        advice=f"{advice or f'train with data.{split.value} as a share above 0'}",
    )


def _metrics(record: Mapping[str, Any]) -> list[str]:
    """The names of the task's metrics, as the run's validations recorded them; empty where there was none."""
    history = record["history"]
    return [name for name in history[-1] if name not in HISTORY] if history else []


@contextmanager
def _warned() -> Iterator[None]:
    """The numbers are what was asked for: where they cannot be written down too, a warning is enough."""
    try:
        yield
    except OSError as error:
        typer.echo(f"warning: not kept: {error.filename}: {error.strerror}", err=True)


def _keep(run: Path, result: Mapping[str, Any]) -> None:
    """Add the outcome to evaluations.jsonl, so that it shows how often a test set has been looked at."""
    if (run / "checkpoints").is_dir():
        with (run / "evaluations.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **result}) + "\n")


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)


def _print(result: Mapping[str, Any], method: object | None) -> None:
    by = f", {method}" if method else ""
    typer.echo(
        f"{result['split']} split of {result['dataset']}{by}, checkpoint {result['checkpoint']}, "
        f"seed {result['seed']}, torch {result['torch']} on {result['device']}"
    )
    width = max(map(len, result["metrics"])) + 2
    for name, value in result["metrics"].items():
        typer.echo(f"{name:<{width}}{'undefined' if value is None else format(value, '.4f')}")
    for line in told(result):
        typer.echo(line)
    if result.get("confused"):
        typer.echo("\n" + _table(["said", "understood", "times"], mistake_rows(result)))
    if "classes" in result:
        rows = [
            [label, *(f"{facts[name]:.4f}" for name in ("precision", "recall", "f1")), int(facts["examples"])]
            for label, facts in result["classes"].items()
        ]
        typer.echo("\n" + _table(["class", "precision", "recall", "f1", "examples"], rows))
        labels = list(result["classes"])
        rows = [[label, *counts] for label, counts in zip(labels, result["confusion"], strict=True)]
        typer.echo("\nconfusion matrix (rows: true, columns: predicted)\n" + _table(["", *labels], rows))
    if result.get("worst_examples"):
        typer.echo("\n" + "\n".join(examples.told(result["worst_examples"])))
    if pictures := [result[name] for name in ("picture", "worst_picture") if name in result]:
        typer.echo("\n" + "\n".join(f"picture: {path}" for path in pictures))
