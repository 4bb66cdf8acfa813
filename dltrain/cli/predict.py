"""`dltrain predict`."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dltrain.cli.shared.kinds import get_data_kind
from dltrain.cli.shared.threshold import Threshold, override_threshold
from dltrain.errors import DataError, UsageError
from dltrain.kinds import resolve_reference

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.kinds import Kind, NamedInput, Reader
    from dltrain.runs.loading import Trained

BATCH = 256


class Inversion(str, Enum):
    auto = "auto"
    yes = "yes"
    no = "no"


class Prediction(NamedTuple):
    """What a model says of one input: labels with their probabilities, best first, or outputs with their numbers."""

    name: str
    values: Sequence[tuple[str, float]]


def predict(
    run: Annotated[Path, typer.Argument(help="A run directory, or one checkpoint's directory.")],
    inputs: Annotated[list[str], typer.Argument(help="Files, folders of images, rows such as x=6, or - (see above).")],
    top: Annotated[int, typer.Option(min=1, help="How many labels to give for each input.")] = 1,
    threshold: Threshold = None,
    invert: Annotated[
        Inversion, typer.Option(help="Swap dark and bright; auto does so where the image's border asks for it.")
    ] = Inversion.auto,
    checkpoint: Annotated[str | None, typer.Option(help="last, or the name of a checkpoint. [default: best]")] = None,
    device: Annotated[str | None, typer.Option(help="The device, if not the training's.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write a CSV file instead of lines.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Predict labels or numbers for new inputs.

    Prints a line for each input: its name, and label and probability, or numbers, tab-separated. What may be given
    depends on what the model was trained on. Images: PNG or JPEG files, folders, - for names on standard input. Tables:
    files with the columns of training, - for such a table on standard input, or rows as NAME=VALUE,NAME=VALUE. Texts:
    text files, a text a line, and tables. Series: tables, of which the last rows count.

    What cannot be read is named on stderr, the others are done, and the exit code is 3.

    Examples:

      dltrain predict runs/mnist_cnn digit.png --top 3

      find scans -name '*.png' | dltrain predict runs/mnist_cnn - --json

      dltrain predict runs/linear_regression x=6 x=7.5

      dltrain predict runs/iris_dense flowers.csv -o species.csv
    """
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained

    if output is not None and as_json:
        raise UsageError("--output writes CSV and --json lines of JSON; give one of the two")
    chosen = find_checkpoint(run, checkpoint)
    overrides = {"trainer": {"device": device}} if device else {}
    trained = load_trained(chosen, {**overrides, **override_threshold(run, chosen.record, threshold)})
    kind, reader, labels = _make_reader(run, trained, invert)
    trained.runtime.check(trained.model)
    notice = trained.record.notice
    if notice:
        typer.echo(f"warning: {notice}", err=True)
    written = io.StringIO()
    answered, refused, files = 0, 0, 0
    given = reader.read(inputs, iter(sys.stdin or ()))
    while some := list(islice(given, BATCH)):
        good = [one for one in some if not _report_fault(one)]
        answers = _predict_inputs(trained, reader, good, top)
        if output is not None:
            _write_csv(written, answers, labels, head=not answered)
        else:
            for line in _format_predictions(answers, kind, labels, as_json, head=not answered):
                typer.echo(line)
        whole = sum(one.whole_file for one in some)
        answered, refused, files = answered + len(good), refused + len(some) - len(good) - whole, files + whole
    if not answered + refused + files:
        raise DataError(f"no {kind.singular} was named, neither on the command line nor on standard input")
    if output is not None:
        _write_output(output, written.getvalue())
    for note in reader.notes():
        typer.echo(f"note: {note}", err=True)
    if refused or files:
        raise DataError(_describe_unread(kind, answered, refused, files))


def _describe_unread(kind: Kind, answered: int, refused: int, files: int) -> str:
    """How much could not be read: `files` as a whole, and of the others `refused` things."""
    told = [f"{files} {'file' if files == 1 else 'files'}"] if files else []
    told += [f"{refused} of {answered + refused} {kind.plural}"] if refused else []
    return f"{' and '.join(told)} could not be read" + ("; the others are done" if answered else "")


def _make_reader(run: Path, trained: Trained, invert: Inversion) -> tuple[Kind, Reader, bool]:
    """The kind of data, its reader, and whether the task gives labels.

    Raises UsageError where the task gives neither labels nor numbers, or nothing reads this kind.
    """
    from dltrain.capabilities import Estimates, Predicts

    task, kind = trained.experiment.task.name, get_data_kind(trained)
    if not isinstance(trained.task, Predicts | Estimates):
        raise UsageError(f"{run}: the task '{task}' gives neither labels nor numbers for inputs")
    if kind.reader is None:
        raise UsageError(
            f"{run}: nothing reads inputs of the kind of data '{kind.name}'",
            advice=f"register a reader in the plug-in: register(Kind(name='{kind.name}', reader=...)), see "
            "docs/extending.md",
        )
    options = {"invert": invert.value} if "invert" in kind.reader_options else {}
    if not options and invert is not Inversion.auto:
        raise UsageError(f"{run}: --invert is for images; the task '{task}' reads {kind.plural}", advice="leave it out")
    reader = resolve_reference(kind.reader)(trained.record.assets, **options)
    return kind, reader, isinstance(trained.task, Predicts)


def _report_fault(given: NamedInput) -> bool:
    """Whether there is no value; why not is told on stderr."""
    if isinstance(given.value, DataError):
        typer.echo(f"error: {given.value}", err=True)
        return True
    return False


def _predict_inputs(trained: Trained, reader: Reader, given: Sequence[NamedInput], top: int) -> list[Prediction]:
    import torch

    from dltrain.capabilities import Predicts

    if not given:
        return []
    task: Any = trained.task
    inputs = [tensor.to(trained.runtime.device) for tensor in reader.inputs([one.value for one in given])]
    labelled = isinstance(task, Predicts)
    with torch.inference_mode(), trained.runtime.autocast():
        found = (task.probabilities if labelled else task.estimates)(trained.model, *inputs).cpu()
    values: Iterator[list[tuple[str, float]]] = (
        _rankings(task, found, top)
        if labelled
        else (list(zip(task.outputs, row, strict=True)) for row in found.tolist())
    )
    return [Prediction(one.name, each) for one, each in zip(given, values, strict=True)]


def _rankings(task: Any, probabilities: Tensor, top: int) -> Iterator[list[tuple[str, float]]]:
    """For each input the `top` most probable labels with their probabilities; first the one that the task gives."""
    from dltrain.capabilities import Decides

    order = probabilities.clone()
    if isinstance(task, Decides):
        decided = task.decisions(probabilities)[:, None]
        order.scatter_(1, decided, 2.0)  # before all probabilities
    places = order.topk(min(top, probabilities.shape[1])).indices
    for row, values in zip(places.tolist(), probabilities.gather(1, places).tolist(), strict=True):
        yield [(task.labels[place], value) for place, value in zip(row, values, strict=True)]


def _format_predictions(
    answers: Sequence[Prediction], kind: Kind, labels: bool, as_json: bool, head: bool
) -> Iterator[str]:
    """Lines to print; numbers have a `head` with the outputs' names above them."""
    if answers and head and not labels and not as_json:
        yield "\t".join([kind.key, *(name for name, _ in answers[0].values)])
    for name, values in answers:
        if as_json:
            yield json.dumps({kind.key: name, **_values_to_json(values, labels)})
        elif labels:
            yield "\t".join([name, *(f"{label}\t{probability:.4f}" for label, probability in values)])
        else:
            yield "\t".join([name, *(f"{value:.7g}" for _, value in values)])


def _values_to_json(values: Sequence[tuple[str, float]], labels: bool) -> Mapping[str, Any]:
    if labels:
        return {"labels": [{"label": label, "probability": probability} for label, probability in values]}
    return {"estimates": dict(values)}


def _write_csv(file: io.StringIO, answers: Sequence[Prediction], labels: bool, head: bool) -> None:
    """Rows of CSV; numbers with all the digits that they have."""
    rows = csv.writer(file, lineterminator="\n")
    if answers and head:
        first = answers[0].values
        places = ["", *(f"_{place}" for place in range(2, len(first) + 1))]
        titles = [f"{what}{place}" for place in places for what in ("label", "probability")]
        rows.writerow(["input", *(titles if labels else [name for name, _ in first])])
    for name, values in answers:
        rows.writerow([name, *(part for pair in values for part in pair[0 if labels else 1 :])])


def _write_output(path: Path, text: str) -> None:
    from dltrain.files import write_atomically

    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise UsageError(f"--output {path}: cannot be written: {error.strerror}", advice="name another file") from error
