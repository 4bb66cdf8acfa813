"""`dltrain predict`."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.errors import DataError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 256


class Inversion(str, Enum):
    auto = "auto"
    yes = "yes"
    no = "no"


def predict(
    run: Annotated[Path, typer.Argument(help="A run directory, or one checkpoint's directory.")],
    images: Annotated[list[str], typer.Argument(help="PNG or JPEG files, folders, or - for names on standard input.")],
    top: Annotated[int, typer.Option(min=1, help="How many labels to give for each image.")] = 1,
    invert: Annotated[
        Inversion, typer.Option(help="Swap dark and bright; auto does so where the image's border asks for it.")
    ] = Inversion.auto,
    checkpoint: Annotated[str | None, typer.Option(help="last, or the name of a checkpoint. [default: best]")] = None,
    device: Annotated[str | None, typer.Option(help="The device, if not the training's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Say what images show: a line each with the file, and label and probability, tab-separated.

    A file that cannot be read is named on stderr, the others are done, and the exit code is 3.

    Examples:

      dltrain predict runs/mnist_cnn digit.png --top 3

      find scans -name '*.png' | dltrain predict runs/mnist_cnn - --json
    """
    from dltrain.experiment import checkpoint_of, load
    from dltrain.inference.files import named_files
    from dltrain.inference.images import SUFFIXES, read_image
    from dltrain.task import Predicts

    trained = load(checkpoint_of(run, checkpoint), {"trainer": {"device": device}} if device else {})
    if not isinstance(trained.task, Predicts):
        raise UsageError(f"{run}: the task '{trained.experiment.task.name}' does not label inputs")
    notice = trained.record["notice"]
    if notice:
        typer.echo(f"warning: {notice}", err=True)
    files = named_files(images, iter(sys.stdin or ()), SUFFIXES, "image")
    if not files:
        raise DataError("no image was named, neither on the command line nor on standard input")
    unreadable = inverted = 0
    for start in range(0, len(files), BATCH):
        read: list[tuple[Path, Tensor]] = []
        for path in files[start : start + BATCH]:
            try:
                pixels, turned = read_image(path, trained.record["assets"], invert.value)
            except DataError as error:
                unreadable += 1
                typer.echo(f"error: {error}", err=True)
                continue
            inverted += turned
            read.append((path, pixels))
        for (path, _), ranking in zip(read, _rankings(trained, [pixels for _, pixels in read], top), strict=True):
            typer.echo(_line(path, ranking, as_json))
    if inverted and invert is Inversion.auto:
        typer.echo(f"note: {inverted} of {len(files)} images were inverted (--invert no leaves them)", err=True)
    if unreadable:
        raise DataError(f"{unreadable} of {len(files)} images could not be read; the others are done")


def _rankings(trained: Any, pixels: list[Tensor], top: int) -> list[list[tuple[str, float]]]:
    """For each image the `top` most probable labels with their probabilities."""
    import torch

    from dltrain.data.mnist import prepare

    if not pixels:
        return []
    inputs = prepare(trained.record["assets"], torch.stack(pixels)).to(trained.runtime.device)
    with torch.inference_mode(), trained.runtime.autocast():
        probabilities = trained.task.probabilities(trained.model, inputs).cpu()
    best = probabilities.topk(min(top, probabilities.shape[1]))
    labels = trained.task.labels
    return [
        [(labels[index], float(value)) for value, index in zip(values, indices, strict=True)]
        for values, indices in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def _line(path: Path, ranking: list[tuple[str, float]], as_json: bool) -> str:
    if as_json:
        return json.dumps({"file": str(path), "labels": [{"label": name, "probability": p} for name, p in ranking]})
    return "\t".join([str(path), *(f"{name}\t{probability:.4f}" for name, probability in ranking)])
