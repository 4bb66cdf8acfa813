"""`dltrain explain`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.shared.delimited import format_row
from dltrain.cli.shared.options import CheckpointName, DeviceName, Invert, RunPath, list_files, load_model
from dltrain.data.images.options import ExplanationMethod
from dltrain.errors import DataError, UsageError
from dltrain.files import is_stream
from dltrain.runs.prediction import Inversion

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.data.images.explanation import Explainer, Explanation
    from dltrain.data.images.pictures import PictureFormat
    from dltrain.runs.loading import Trained

STEPS = 64
CLOSE = 0.05
"""Relative error of the attributions' sum, as a share of the logits' difference, that is reported to the user."""
METHODS = {"saliency": "saliency", "integrated_gradients": "integrated gradients", "grad_cam": "Grad-CAM"}
LARGEST_SIDE = 1024
"""Larger pictures are drawn with so many pixels on their longer side."""
FILTERS = 256
"""How many filters of a layer are drawn at most."""


ImagePaths = Annotated[
    list[str] | None, typer.Argument(help="PNG or JPEG files, folders, or - for names on standard input.")
]
MethodName = Annotated[
    ExplanationMethod,
    typer.Option(
        help="saliency: the logit's gradient (arXiv:1312.6034); integrated_gradients: each pixel's share of the logit, "
        "compared with an empty image (arXiv:1703.01365); grad_cam: the areas whose features speak for the label "
        "(arXiv:1610.02391)."
    ),
]
Label = Annotated[
    str | None, typer.Option("--class", metavar="LABEL", help="Explain this label. [default: the predicted one]")
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, help=f"Points between empty image and image (integrated_gradients). [default: {STEPS}]"),
]
Copies = Annotated[
    int | None,
    typer.Option(
        "--smooth", min=2, metavar="COPIES", help="Average saliency over noisy copies of the image (arXiv:1706.03825)."
    ),
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
    method: MethodName = "saliency",
    label: Label = None,
    steps: Steps = None,
    copies: Copies = None,
    filters: ShowFilters = False,
    invert: Invert = "auto",
    output: PictureOutput = None,
    checkpoint: CheckpointName = None,
    device: DeviceName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, with all numbers.")] = False,
) -> None:
    """Show what a prediction is based on.

    Draws each image at its own size beside what speaks for the label, as explain-NAME.png, or the first layer's
    weights as filters.png. Prints a line for each image: file, explained label, its probability, and picture,
    tab-separated.

    Unreadable files are reported on stderr, the rest are processed, and the exit code is 3.

    The images of a test set that a model is most wrong about: dltrain eval RUN --worst K.

    Examples:

      dltrain explain runs/mnist_cnn digit.png

      dltrain explain runs/mnist_cnn digit.png --method integrated_gradients --class 7 -o why_not_7.png

      dltrain explain runs/photos cat.jpg --method grad_cam

      find scans -name '*.png' | dltrain explain runs/mnist_cnn - -o explained --json

      dltrain explain runs/mnist_cnn --filters
    """
    check_options(images, filters, method=method, label=label, steps=steps, copies=copies)
    from dltrain.data.images.pictures import is_picture

    trained = load_model(run, checkpoint, device)
    if trained.kind.explainer is None:
        raise trained.refuse(run, "read images")
    if filters:
        draw_filters(trained, choose_pictures(run, output, ["filters.png"])[0], as_json)
        return
    explainer = make_explainer(run, trained, method, steps=steps, copies=copies)
    chosen = find_label(label, explainer.task.labels)
    files = list_files(images or (), is_picture, "image", "images")
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
    from dltrain.data.images.pictures import PictureFormat
    from dltrain.data.images.reader import ImageReader

    form = PictureFormat.from_assets(explainer.assets)
    reader, unreadable = ImageReader(explainer.assets, invert), 0
    for one, picture in zip(reader.read_files(files), pictures, strict=True):
        if isinstance(one.value, DataError):
            unreadable += 1
            typer.echo(f"error: {one.value}", err=True)
            continue
        explanation = explainer.explanation(one.value, label)
        facts = describe_explanation(one.name, explanation, explainer) | {"picture": str(picture)}
        draw_explanation(Path(one.name), form, explanation.attributions, facts)
        if as_json:
            typer.echo(json.dumps({**facts, "attributions": explanation.attributions.tolist()}))
        else:
            typer.echo(format_row([one.name, facts["class"], f"{facts['probability']:.4f}", picture]))
    for note in reader.notes():
        typer.echo(f"note: {note}", err=True)
    if unreadable:
        raise DataError(f"{unreadable} of {len(files)} images could not be read; the others are done")


def check_options(
    images: Sequence[str] | None,
    filters: bool,
    *,
    method: ExplanationMethod,
    label: str | None,
    steps: int | None,
    copies: int | None,
) -> None:
    """Raises UsageError for options that do not go together."""
    if filters and images:
        raise UsageError("--filters needs no images, but some were named", advice="leave out one of the two")
    if filters and label is not None:
        raise UsageError("--class goes with images, and --filters draws no label's", advice="leave out one of the two")
    if not filters and not images:
        raise UsageError("there is nothing to explain", advice="name images, or draw the first layer with --filters")
    if steps is not None and method != "integrated_gradients":
        raise UsageError("--steps goes with --method integrated_gradients, which was not given", advice="add it")
    if copies is not None and method != "saliency":
        raise UsageError(f"--smooth goes with --method saliency, not with {method}", advice="leave out one of the two")


def make_explainer(
    run: Path, trained: Trained, method: ExplanationMethod, *, steps: int | None, copies: int | None
) -> Explainer:
    """The chosen method for a trained model. Raises UsageError where it is no classifier's."""
    from dltrain.capabilities import Predicts
    from dltrain.data.images.explanation import Explainer

    if not isinstance(trained.task, Predicts):
        raise trained.refuse(run, "label inputs")
    return Explainer(
        model=trained.model,
        task=trained.task,
        assets=trained.record.assets,
        device=trained.runtime.device,
        method=method,
        steps=steps or STEPS,
        copies=copies or 1,
    )


def find_label(label: str | None, labels: Sequence[str]) -> int | None:
    """The index of a label. Raises UsageError, listing the labels, for one that is not among them."""
    if label is None:
        return None
    if label not in labels:
        raise UsageError(f"--class: there is no label '{label}'; there are {', '.join(labels)}")
    return labels.index(label)


def choose_pictures(run: Path, output: Path | None, names: Sequence[str]) -> list[Path]:
    """Choose a path for each picture, no two alike.

    Raises UsageError where `output` is one file for several pictures, or is None and `run` is not a run directory.
    """
    if output is None and not (run / "checkpoints").is_dir():
        raise UsageError(f"{run}: a checkpoint that stands alone has no place for pictures", advice="name one with -o")
    if output is not None and (output.suffix.lower() == ".png" or is_stream(output)):
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


def describe_explanation(name: str, explanation: Explanation, explainer: Explainer) -> dict[str, Any]:
    """The explanation as plain values; a note where its attributions do not sum to the difference of the logits."""
    labels = explainer.task.labels
    facts: dict[str, Any] = {
        "file": name,
        "method": explainer.method,
        "class": labels[explanation.label],
        "probability": explanation.probability,
        "predicted": labels[explanation.predicted],
        "logit": explanation.logit,
    }
    if explainer.copies > 1:
        facts["copies"] = explainer.copies
    if explanation.baseline_logit is not None:
        difference, total = explanation.logit - explanation.baseline_logit, float(explanation.attributions.sum())
        facts |= {"baseline_logit": explanation.baseline_logit, "attributions_sum": total}
        if abs(total - difference) > CLOSE * abs(difference):
            sums = f"the attributions sum to {total:.4g}, the logits differ by {difference:.4g}"
            typer.echo(f"note: {name}: {sums}; more --steps bring them together", err=True)
    return facts


def draw_explanation(path: Path, form: PictureFormat, attributions: Tensor, facts: Mapping[str, Any]) -> None:
    """Draw the picture of a file and its attributions (C, H, W), summed over colours and spread over it, as a PNG."""
    import numpy
    import torch

    from dltrain.data.images.pictures import open_picture, spread_over_picture
    from dltrain.observers.pictures import draw_attribution_picture

    image = open_picture(path, form._replace(height=LARGEST_SIDE // 2, width=LARGEST_SIDE // 2)).image
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    title = f"{facts['class']} with probability {facts['probability']:.4f}"
    if facts["predicted"] != facts["class"]:
        title += f", predicted: {facts['predicted']}"
    signed = facts["method"] == "integrated_gradients"
    by_pixel = attributions.sum(0) if signed else attributions.abs().amax(0)
    pixels = torch.from_numpy(numpy.asarray(image).reshape(image.height, image.width, -1) / 255).permute(2, 0, 1)
    copies = f", mean of {facts['copies']} copies" if "copies" in facts else ""
    draw_attribution_picture(
        pixels,
        torch.from_numpy(spread_over_picture(by_pixel.numpy(), image.size, form).copy()),
        title,
        meaning=METHODS[facts["method"]] + copies,
        path=Path(facts["picture"]),
        signed=signed,
        overlay=facts["method"] == "grad_cam",
    )


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
        typer.echo(format_row([found.layer, " x ".join(map(str, found.weights.shape)), picture]))
