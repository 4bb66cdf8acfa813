"""`dltrain predict`."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer

from dltrain.cli.shared.options import (
    CheckpointName,
    DeviceName,
    Inversion,
    Invert,
    RunPath,
    Threshold,
    check_output,
    load_model,
)
from dltrain.errors import DataError, UsageError
from dltrain.kinds import resolve_reference

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.kinds import Kind, NamedInput, Reader
    from dltrain.runs.loading import Trained

NO_ABILITY = "a plug-in's task needs labels and probabilities, or outputs and estimates (docs/extending.md)"
BATCH = 256
DIGITS = 7
"""Significant digits of a number, where the task does not know better."""


class Prediction(NamedTuple):
    """The result for one input: labels with their probabilities, best first, or outputs with their numbers."""

    name: str
    values: Sequence[tuple[str, float]]


class Predictor(NamedTuple):
    """A trained model, the reader of its kind of data, and whether its task gives labels; `top` of them are printed."""

    trained: Trained
    kind: Kind
    reader: Reader
    labels: bool
    top: int

    @property
    def digits(self) -> Sequence[int]:
        """Significant digits to print of each number."""
        from dltrain.capabilities import Rounds

        task: Any = self.trained.task
        return task.digits if isinstance(task, Rounds) else [DIGITS] * len(task.outputs)


@dataclass
class InputCounts:
    """Inputs that were read, inputs that could not be read, and files of several inputs that could not be read."""

    read: int = 0
    unreadable: int = 0
    files: int = 0

    def describe_unread(self, kind: Kind) -> str:
        parts = [f"{self.files} {'file' if self.files == 1 else 'files'}"] if self.files else []
        parts += [f"{self.unreadable} of {self.read + self.unreadable} {kind.plural}"] if self.unreadable else []
        return f"{' and '.join(parts)} could not be read" + ("; the others are done" if self.read else "")


def predict(
    run: RunPath,
    inputs: Annotated[list[str], typer.Argument(help="Files, folders of images, rows such as x=6, or - (see above).")],
    top: Annotated[int, typer.Option(min=1, help="Number of labels to print for each input.")] = 1,
    threshold: Threshold = None,
    invert: Invert = "auto",
    checkpoint: CheckpointName = None,
    device: DeviceName = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write a CSV file instead of lines.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Predict labels or numbers for new inputs.

    Prints a line for each input: its name, then label and probability, or numbers, tab-separated. A model of images
    reads PNG or JPEG files, folders, and - for file names on standard input. Of tables: files with the columns of
    training, - for such a table on standard input, or rows as NAME=VALUE,NAME=VALUE. Of texts: text files, a text a
    line, and tables. Of series: tables, of which the last rows count.

    Unreadable files are reported on stderr, the rest are processed, and the exit code is 3.

    Examples:

      dltrain predict runs/mnist_cnn digit.png --top 3

      find scans -name '*.png' | dltrain predict runs/mnist_cnn - --json

      dltrain predict runs/linear_regression x=6 x=7.5

      dltrain predict runs/iris_dense flowers.csv -o species.csv
    """
    if output is not None and as_json:
        raise UsageError("--output writes CSV and --json lines of JSON; give one of the two")
    check_output(output)
    trained = load_model(run, checkpoint, device, threshold=threshold)
    predictor = _make_predictor(run, trained, invert, top)
    trained.runtime.check(trained.model)
    counts, table = InputCounts(), io.StringIO()
    for number, predictions in enumerate(_predict_batches(predictor, inputs, counts)):
        if output is not None:
            _write_csv(table, predictions, predictor.labels, head=number == 0)
        else:
            typer.echo("\n".join(_format_predictions(predictor, predictions, as_json, head=number == 0)))
    if counts == InputCounts():
        raise DataError(f"no {predictor.kind.plural} given, on the command line or on standard input")
    if output is not None:
        _write_output(output, table.getvalue())
    for line in [*(f"note: {note}" for note in predictor.reader.notes()), *_describe_task(trained.task)]:
        typer.echo(line, err=True)
    if counts.unreadable or counts.files:
        raise DataError(counts.describe_unread(predictor.kind))


def _make_predictor(run: Path, trained: Trained, invert: Inversion, top: int) -> Predictor:
    """Raises UsageError where the task gives neither labels nor numbers, or nothing reads this kind of data."""
    from dltrain.capabilities import Estimates, Predicts

    task, kind = trained.experiment.task.name, trained.kind
    if not isinstance(trained.task, Predicts | Estimates):
        raise UsageError(f"{run}: the task '{task}' gives neither labels nor numbers for inputs", advice=NO_ABILITY)
    if kind.reader is None:
        advice = f"register a reader in the plug-in: register(Kind(name='{kind.name}', reader=...))"
        message = f"{run}: nothing reads inputs of the kind of data '{kind.name}'"
        raise UsageError(message, advice=f"{advice}, see docs/extending.md")
    options = {"invert": invert} if "invert" in kind.reader_options else {}
    if not options and invert != "auto":
        raise UsageError(f"{run}: --invert is for images; the task '{task}' reads {kind.plural}", advice="leave it out")
    try:
        reader = resolve_reference(kind.reader)(trained.record.assets, **options)
    except KeyError as error:
        raise UsageError(
            f"{run}: predict cannot read {kind.plural}: its dataset's assets lack {error}",
            advice="add it to the dataset's assets (docs/extending.md), and train again",
        ) from error
    return Predictor(trained, kind, reader, isinstance(trained.task, Predicts), top=top)


def _describe_task(task: Any) -> list[str]:
    from dltrain.capabilities import Clarifies

    facts = task.facts if isinstance(task, Clarifies) else {}
    return [f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()]


def _predict_batches(predictor: Predictor, names: Sequence[str], counts: InputCounts) -> Iterator[Sequence[Prediction]]:
    """Read the named inputs and predict in batches, never an empty one; faults are reported on stderr."""
    given = predictor.reader.read(names, iter(sys.stdin or ()))
    while batch := list(islice(given, BATCH)):
        good = [one for one in batch if not isinstance(one.value, DataError)]
        for one in batch:
            if isinstance(one.value, DataError):
                typer.echo(f"error: {one.value}", err=True)
                if one.whole_file:
                    counts.files += 1
                else:
                    counts.unreadable += 1
        counts.read += len(good)
        if good:
            yield _predict_inputs(predictor, good)


def _predict_inputs(predictor: Predictor, given: Sequence[NamedInput]) -> list[Prediction]:
    import torch

    from dltrain.batch import move_tensor

    trained, task = predictor.trained, cast(Any, predictor.trained.task)
    tensors = predictor.reader.inputs([one.value for one in given])
    inputs = [move_tensor(tensor, trained.runtime.device) for tensor in tensors]
    with torch.inference_mode(), trained.runtime.autocast():
        results = (task.probabilities if predictor.labels else task.estimates)(trained.model, *inputs).cpu()
    if predictor.labels:
        values = _rank_labels(task, results, predictor.top)
    else:
        values = [list(zip(task.outputs, row, strict=True)) for row in results.tolist()]
    return [Prediction(one.name, each) for one, each in zip(given, values, strict=True)]


def _rank_labels(task: Any, probabilities: Tensor, top: int) -> list[list[tuple[str, float]]]:
    """For each input the `top` most probable labels with their probabilities; the task's decision comes first."""
    from dltrain.capabilities import Decides

    order = probabilities.clone()
    if isinstance(task, Decides):
        decided = task.decisions(probabilities)[:, None]
        order.scatter_(1, decided, 2.0)  # before all probabilities
    indices = order.topk(min(top, probabilities.shape[1])).indices
    rows = zip(indices.tolist(), probabilities.gather(1, indices).tolist(), strict=True)
    return [[(task.labels[index], value) for index, value in zip(row, values, strict=True)] for row, values in rows]


def _format_predictions(
    predictor: Predictor, predictions: Sequence[Prediction], as_json: bool, head: bool
) -> Iterator[str]:
    """Lines to print; numbers have a `head` with the outputs' names above them."""
    key = predictor.kind.key
    if head and not predictor.labels and not as_json:
        yield "\t".join([key, *(name for name, _ in predictions[0].values)])
    for name, values in predictions:
        if as_json:
            labels = [{"label": label, "probability": probability} for label, probability in values]
            yield json.dumps({key: name, **({"labels": labels} if predictor.labels else {"estimates": dict(values)})})
        elif predictor.labels:
            yield "\t".join([name, *(f"{label}\t{probability:.4f}" for label, probability in values)])
        else:
            numbers = zip(predictor.digits, values, strict=True)
            yield "\t".join([name, *(f"{value:.{digits}g}" for digits, (_, value) in numbers)])


def _write_csv(file: io.StringIO, predictions: Sequence[Prediction], labels: bool, head: bool) -> None:
    """Rows of CSV; numbers with all the digits that they have."""
    rows = csv.writer(file, lineterminator="\n")
    if head:
        first = predictions[0].values
        suffixes = ["", *(f"_{number}" for number in range(2, len(first) + 1))]
        titles = [f"{what}{suffix}" for suffix in suffixes for what in ("label", "probability")]
        rows.writerow(["input", *(titles if labels else [name for name, _ in first])])
    for name, values in predictions:
        rows.writerow([name, *(part for pair in values for part in pair[0 if labels else 1 :])])


def _write_output(path: Path, text: str) -> None:
    from dltrain.files import write_atomically

    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise UsageError(f"--output {path}: cannot be written: {error.strerror}", advice="name another file") from error
