"""`dltrain predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.shared.delimited import CsvSafe, format_csv, format_row
from dltrain.cli.shared.options import (
    CheckpointName,
    DeviceName,
    Invert,
    RunPath,
    Threshold,
    Views,
    check_output,
    load_members,
    load_model,
)
from dltrain.errors import DataError, UsageError
from dltrain.runs.averaging import AveragedPredictor, find_members
from dltrain.runs.prediction import Prediction, Predictor, make_predictor

if TYPE_CHECKING:
    from dltrain.kinds import Kind, NamedInput

DIGITS = 7
"""Significant digits of a number, where the task does not know better."""


@dataclass
class InputCounts:
    """Inputs that were read, inputs that could not be read, and files of several inputs that could not be read."""

    read: int = 0
    unreadable: int = 0
    files: int = 0

    def watch(self, given: Iterable[NamedInput]) -> Iterator[NamedInput]:
        """The same inputs, counted; those that could not be read are reported on stderr."""
        for one in given:
            if not isinstance(one.value, DataError):
                self.read += 1
            else:
                typer.echo(f"error: {one.value}", err=True)
                if one.whole_file:
                    self.files += 1
                else:
                    self.unreadable += 1
            yield one

    def describe_unread(self, kind: Kind) -> str:
        parts = [f"{self.files} {'file' if self.files == 1 else 'files'}"] if self.files else []
        parts += [f"{self.unreadable} of {self.read + self.unreadable} {kind.plural}"] if self.unreadable else []
        return f"{' and '.join(parts)} could not be read" + ("; the others are done" if self.read else "")


def predict(
    run: RunPath,
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders of images, rows such as x=6, texts, or - (see above).")
    ],
    top: Annotated[int, typer.Option(min=1, help="Number of labels to print for each input.")] = 1,
    threshold: Threshold = None,
    invert: Invert = "auto",
    views: Views = None,
    checkpoint: CheckpointName = None,
    device: DeviceName = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write a CSV file instead of lines.")
    ] = None,
    csv_safe: CsvSafe = False,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Repeat this column of the input; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Predict labels or numbers for new inputs.

    Prints a line for each input: its name, then label and probability, or numbers, tab-separated. A model of images
    reads PNG or JPEG files, folders, and - for file names on standard input. Of tables: files with the columns of
    training, - for such a table on standard input, or rows as NAME=VALUE,NAME=VALUE. Of texts: a text in quotes, text
    files, a text a line, and tables. Of series: tables, of which the last rows count.

    Of the directory of `fit --seeds` or `cv` the members are asked, and their probabilities or numbers averaged.

    Unreadable files are reported on stderr, the rest are processed, and the exit code is 3.

    Examples:

      dltrain predict runs/mnist_cnn digit.png --top 3

      find scans -name '*.png' | dltrain predict runs/mnist_cnn - --json

      dltrain predict runs/linear_regression x=6 x=7.5

      dltrain predict runs/iris_dense flowers.csv -o species.csv --keep id

      dltrain predict runs/text_classification 'How do I open a file?'
    """
    if output is not None and as_json:
        raise UsageError("--output writes CSV and --json lines of JSON; give one of the two")
    check_output(output)
    kept = list(dict.fromkeys(keep or ()))
    predictor = _load_predictor(
        run, checkpoint, device, threshold=threshold, invert=invert, top=top, views=views, keep=kept
    )
    _print_predictions(predictor, inputs, output, as_json, csv_safe=csv_safe)


def _print_predictions(
    predictor: Predictor | AveragedPredictor,
    inputs: Sequence[str],
    output: Path | None,
    as_json: bool,
    *,
    csv_safe: bool,
) -> None:
    """Predict, print or write, and report what could not be read."""
    counts, rows = InputCounts(), list[Sequence[object]]()
    for number, predictions in enumerate(_predict_batches(predictor, inputs, counts)):
        if output is not None:
            rows += _list_rows(predictions, predictor.labels, head=number == 0)
        else:
            typer.echo("\n".join(_format_predictions(predictor, predictions, as_json, head=number == 0)))
    if counts == InputCounts():
        raise DataError(f"no {predictor.kind.plural} given, on the command line or on standard input")
    if output is not None:
        _write_output(output, format_csv(rows, safe=csv_safe))
    for line in [*(f"note: {note}" for note in predictor.reader.notes()), *_describe_task(predictor.trained.task)]:
        typer.echo(line, err=True)
    if counts.unreadable or counts.files:
        raise DataError(counts.describe_unread(predictor.kind))


def _load_predictor(
    run: Path,
    checkpoint: str | None,
    device: str | None,
    *,
    threshold: float | None,
    views: int | None,
    top: int,
    **options: Any,
) -> Predictor | AveragedPredictor:
    """The predictor of a run, or of the mean of the members of a parent of runs."""
    members = find_members(run)
    if members is None:
        models = [load_model(run, checkpoint, device, threshold=threshold)]
    else:
        models = load_members(members, checkpoint, device, threshold=threshold)
    if views is not None:
        from dltrain.runs.views import average_views

        models = [average_views(run, one, views) for one in models]
    shown = top if members is None else None
    predictors = [make_predictor(run, one, top=shown, **options) for one in models]
    for one in models:
        one.runtime.check(one.model)
    return predictors[0] if members is None else AveragedPredictor(predictors, top)


def _list_digits(task: Any) -> Sequence[int]:
    """Significant digits to print of each number."""
    from dltrain.capabilities import Rounds

    return task.digits if isinstance(task, Rounds) else [DIGITS] * len(task.outputs)


def _describe_task(task: Any) -> list[str]:
    from dltrain.capabilities import Clarifies

    facts = task.facts if isinstance(task, Clarifies) else {}
    return [f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()]


def _predict_batches(
    predictor: Predictor | AveragedPredictor, names: Sequence[str], counts: InputCounts
) -> Iterator[list[Prediction]]:
    """Read the named inputs and predict in batches, never an empty one; faults are reported on stderr."""
    for batch in predictor.predict_named(names, iter(sys.stdin or ()), counts.watch):
        good = [one for one in batch if one.error is None]
        if good:
            yield good


def _format_predictions(
    predictor: Predictor | AveragedPredictor, predictions: Sequence[Prediction], as_json: bool, head: bool
) -> Iterator[str]:
    """Lines to print; numbers have a `head` with the outputs' names above them."""
    if head and not predictor.labels and not as_json:
        yield format_row([predictor.kind.key, *predictions[0].kept, *predictions[0].values])
    for one in predictions:
        if as_json:
            yield json.dumps(predictor.describe(one))
        elif predictor.labels:
            pairs = ((label, f"{probability:.4f}") for label, probability in one.probabilities.items())
            yield format_row([one.name, *one.kept.values(), *chain.from_iterable(pairs)])
        else:
            numbers = zip(_list_digits(predictor.trained.task), one.values.values(), strict=True)
            yield format_row([one.name, *one.kept.values(), *(f"{value:.{digits}g}" for digits, value in numbers)])


def _list_rows(predictions: Sequence[Prediction], labels: bool, head: bool) -> Iterator[Sequence[object]]:
    """Rows of CSV, below their `head`; numbers with all the digits that they have."""
    if head:
        first = predictions[0]
        suffixes = ["", *(f"_{number}" for number in range(2, len(first.probabilities) + 1))]
        titles = [f"{what}{suffix}" for suffix in suffixes for what in ("label", "probability")]
        titles = titles if labels else list(first.values)
        yield ["input", *first.kept, *(f"predicted {name}" if name in first.kept else name for name in titles)]
    for one in predictions:
        pairs = (part for pair in one.probabilities.items() for part in pair)
        yield [one.name, *one.kept.values(), *(pairs if labels else one.values.values())]


def _write_output(path: Path, text: str) -> None:
    from dltrain.files import write_atomically

    try:
        write_atomically(path, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise UsageError(f"--output {path}: cannot be written: {error.strerror}", advice="name another file") from error
