"""`dltrain explain`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.predict import Inversion, Invert
from dltrain.cli.shared.kinds import get_data_kind
from dltrain.cli.shared.options import CheckpointName, DeviceName, RunPath
from dltrain.errors import DataError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.data.images.explanation import Explainer, Explanation
    from dltrain.runs.loading import Trained

STEPS = 64
CLOSE = 0.05
"""Relative error of the attributions' sum, as a share of the logits' difference, that is reported to the user."""
FILTERS = 256
"""How many filters of a layer are drawn at most."""


class Method(str, Enum):
    saliency = "saliency"
    integrated_gradients = "integrated_gradients"


ImagePaths = Annotated[
    list[str] | None, typer.Argument(help="PNG or JPEG files, folders, or - for names on standard input.")
]
MethodName = Annotated[
    Method,
    typer.Option(
        help="saliency: the logit's gradient (arXiv:1312.6034); integrated_gradients: each pixel's share of the logit, "
        "compared with an empty image (arXiv:1703.01365)."
    ),
]
Label = Annotated[
    str | None, typer.Option("--class", metavar="LABEL", help="Explain this label. [default: the predicted one]")
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, help=f"Points between empty image and image (integrated_gradients). [default: {STEPS}]"),
]
ShowFilters = Annotated[
    bool, typer.Option("--filters", help="Draw the weights of the first layer; no images are needed.")
]
PictureOutput = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="PLACE", help="A .png file for one picture, or a folder. [default: RUN/plots]"
    ),
]


def explain(
    run: RunPath,
    images: ImagePaths = None,
    method: MethodName = Method.saliency,
    label: Label = None,
    steps: Steps = None,
    filters: ShowFilters = False,
    invert: Invert = Inversion.auto,
    output: PictureOutput = None,
    checkpoint: CheckpointName = None,
    device: DeviceName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, with all numbers.")] = False,
) -> None:
    """Show what a prediction is based on.

    Draws each image beside the pixels that speak for the label, as explain-NAME.png, or the first layer's weights as
    filters.png. Prints a line for each image: file, explained label, its probability, and picture, tab-separated.

    Unreadable files are reported on stderr, the rest are processed, and the exit code is 3.

    The images of a test set that a model is most wrong about: dltrain eval RUN --worst K.

    Examples:

      dltrain explain runs/mnist_cnn digit.png

      dltrain explain runs/mnist_cnn digit.png --method integrated_gradients --class 7 -o why_not_7.png

      find scans -name '*.png' | dltrain explain runs/mnist_cnn - -o explained --json

      dltrain explain runs/mnist_cnn --filters
    """
    check_options(images, filters, method=method, label=label, steps=steps)
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained

    trained = load_trained(find_checkpoint(run, checkpoint), {"trainer": {"device": device}} if device else {})
    if get_data_kind(trained).explainer is None:
        raise UsageError(f"{run}: the task '{trained.experiment.task.name}' does not read images")
    if notice := trained.record.notice:
        typer.echo(f"warning: {notice}", err=True)
    if filters:
        draw_filters(trained, choose_pictures(run, output, ["filters.png"])[0], as_json)
        return
    explainer = make_explainer(run, trained, method, steps)
    chosen = None if label is None else find_label(label, explainer.task.labels)
    files = list_images(images or ())
    pictures = choose_pictures(run, output, [f"explain-{path.stem}.png" for path in files])
    explain_images(explainer, files, pictures, label=chosen, invert=invert, as_json=as_json)


def explain_images(
    explainer: Explainer,
    files: Sequence[Path],
    pictures: Sequence[Path],
    *,
    label: int | None,
    invert: Inversion,
    as_json: bool,
) -> None:
    """Draw and print the explanation of each image file. Raises DataError at the end where some could not be read."""
    from dltrain.data.images.reader import ImageReader

    reader, unreadable, labels = ImageReader(explainer.assets, invert.value), 0, explainer.task.labels
    method = Method.saliency if explainer.steps is None else Method.integrated_gradients
    for one, picture in zip(reader.read_files(files), pictures, strict=True):
        if isinstance(one.value, DataError):
            unreadable += 1
            typer.echo(f"error: {one.value}", err=True)
            continue
        explanation = explainer.explanation(one.value, label)
        draw_explanation(one.value, explanation, method, labels=labels, picture=picture)
        print_explanation(one.name, picture, explanation, method=method, labels=labels, as_json=as_json)
    for note in reader.notes():
        typer.echo(f"note: {note}", err=True)
    if unreadable:
        raise DataError(f"{unreadable} of {len(files)} images could not be read; the others are done")


def check_options(
    images: Sequence[str] | None, filters: bool, *, method: Method, label: str | None, steps: int | None
) -> None:
    """Raises UsageError for options that do not go together."""
    if filters and images:
        raise UsageError("--filters needs no images, but some were named", advice="leave out one of the two")
    if filters and label is not None:
        raise UsageError("--class goes with images, and --filters draws no label's", advice="leave out one of the two")
    if not filters and not images:
        raise UsageError("there is nothing to explain", advice="name images, or draw the first layer with --filters")
    if steps is not None and method is not Method.integrated_gradients:
        raise UsageError("--steps goes with --method integrated_gradients, which was not given", advice="add it")


def make_explainer(run: Path, trained: Trained, method: Method, steps: int | None) -> Explainer:
    """The chosen method for a trained model. Raises UsageError where it is no classifier's."""
    from dltrain.capabilities import Predicts
    from dltrain.data.images.explanation import Explainer

    if not isinstance(trained.task, Predicts):
        raise UsageError(f"{run}: the task '{trained.experiment.task.name}' does not label inputs")
    return Explainer(
        model=trained.model,
        task=trained.task,
        assets=trained.record.assets,
        device=trained.runtime.device,
        steps=(steps or STEPS) if method is Method.integrated_gradients else None,
    )


def find_label(label: str, labels: Sequence[str]) -> int:
    """Raises UsageError, listing the labels, for one that is not among them."""
    if label not in labels:
        raise UsageError(f"--class: there is no label '{label}'; there are {', '.join(labels)}")
    return labels.index(label)


def list_images(words: Sequence[str]) -> list[Path]:
    """Raises DataError where there is none."""
    from dltrain.data.images.reader import SUFFIXES
    from dltrain.data.input_files import list_input_files

    files = list_input_files(words, iter(sys.stdin or ()), SUFFIXES, "image")
    if not files:
        raise DataError("no images given, on the command line or on standard input")
    return files


def choose_pictures(run: Path, output: Path | None, names: Sequence[str]) -> list[Path]:
    """Choose a path for each picture, no two alike.

    Raises UsageError where `output` is one file for several pictures, or is None and `run` is not a run directory.
    """
    if output is None and not (run / "checkpoints").is_dir():
        raise UsageError(f"{run}: a checkpoint that stands alone has no place for pictures", advice="name one with -o")
    if output is not None and output.suffix.lower() == ".png":
        if len(names) > 1:
            raise UsageError(f"-o {output}: one file for {len(names)} pictures", advice="name a folder with -o")
        return [output]
    folder = run / "plots" if output is None else output
    found: list[Path] = []
    for name in names:
        path, number = folder / name, 1
        while path in found:
            number += 1
            path = folder / f"{name.removesuffix('.png')}-{number}.png"
        found.append(path)
    return found


def draw_explanation(
    pixels: Tensor, explanation: Explanation, method: Method, *, labels: Sequence[str], picture: Path
) -> None:
    """Draw the image (C, H, W) uint8 and its attributions, summed over colours, as a PNG."""
    from dltrain.observers.pictures import draw_attribution_picture

    title = f"{labels[explanation.label]} with probability {explanation.probability:.4f}"
    if explanation.predicted != explanation.label:
        title += f", predicted: {labels[explanation.predicted]}"
    signed = method is Method.integrated_gradients
    values = explanation.attributions
    by_pixel = values.sum(0) if signed else values.abs().amax(0)
    draw_attribution_picture(
        pixels / 255, by_pixel, title, meaning=method.value.replace("_", " "), path=picture, signed=signed
    )


def print_explanation(
    name: str, picture: Path, explanation: Explanation, *, method: Method, labels: Sequence[str], as_json: bool
) -> None:
    """Print a line, and a note on stderr where the attributions do not sum to the difference of the logits."""
    label, probability = labels[explanation.label], explanation.probability
    path_facts: dict[str, Any] = {}
    if explanation.baseline_logit is not None:
        difference, total = explanation.logit - explanation.baseline_logit, float(explanation.attributions.sum())
        path_facts = {"baseline_logit": explanation.baseline_logit, "attributions_sum": total}
        if abs(total - difference) > CLOSE * abs(difference):
            typer.echo(
                f"note: {name}: the attributions sum to {total:.4g}, the logits differ by {difference:.4g}; "
                "more --steps bring them together",
                err=True,
            )
    if not as_json:
        typer.echo(f"{name}\t{label}\t{probability:.4f}\t{picture}")
        return
    facts = {
        "file": name,
        "method": method.value,
        "class": label,
        "probability": probability,
        "predicted": labels[explanation.predicted],
        "logit": explanation.logit,
        **path_facts,
        "picture": str(picture),
        "attributions": explanation.attributions.tolist(),
    }
    typer.echo(json.dumps(facts))


def draw_filters(trained: Trained, picture: Path, as_json: bool) -> None:
    """Draw the weights of the first layer as a PNG, and print its path."""
    from dltrain.data.images.explanation import find_first_filters
    from dltrain.observers.pictures import draw_filter_grid

    assets = trained.record.assets
    found = find_first_filters(trained.model, (assets["channels"], assets["height"], assets["width"]))
    count = len(found.weights)
    title = f"{trained.experiment.model.name}: {found.layer}"
    if count > FILTERS:
        title += f", the first {FILTERS} of {count}"
        typer.echo(f"note: the picture shows the first {FILTERS} of {count} filters", err=True)
    draw_filter_grid(found.weights[:FILTERS], title, picture)
    if as_json:
        facts = {"layer": found.layer, "shape": list(found.weights.shape), "picture": str(picture)}
        typer.echo(json.dumps({**facts, "weights": found.weights.tolist()}))
    else:
        typer.echo(f"{found.layer}\t{' x '.join(map(str, found.weights.shape))}\t{picture}")
