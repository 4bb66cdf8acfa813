"""Single examples in `dltrain eval`: the most confused ones, reconstructed images, and forecasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.errors import UsageError
from dltrain.kinds import resolve_reference

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.runs.loading import Trained
    from dltrain.stream import Stream

RECONSTRUCTED = 10
"""Images in the picture of reconstructions."""
WINDOWS, OUTPUTS = 300, 4
"""The number of windows and outputs in the picture of forecasts."""


def check_worst(run: Path, trained: Trained, worst: int | None) -> None:
    """Raises UsageError where --worst was given and the task does not judge single examples."""
    from dltrain.capabilities import Predicts
    from dltrain.data.speech.recognition import ScoresClips

    if worst is not None and not isinstance(trained.task, ScoresClips | Predicts):
        task = trained.experiment.task.name
        message = f"{run}: --worst is for classifiers and speech recognisers; the task '{task}' is neither"
        raise UsageError(
            message, advice="leave it out; a plug-in's task needs labels and probabilities (docs/extending.md)"
        )


def find_confused(
    trained: Trained, task: Any, stream: Stream[Any], number: int
) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """The `number` examples to whose true class the model assigns the lowest probability, and their inputs."""
    from dltrain.core.evaluate import find_worst_examples
    from dltrain.runtime.memory import explain_memory_errors

    with explain_memory_errors():
        mistakes = find_worst_examples(trained.model, task, stream.epoch(0), runtime=trained.runtime, number=number)
    described = [
        {
            "example": one.example,
            "truth": task.labels[one.truth],
            "truth_probability": one.truth_probability,
            "predicted": task.labels[one.predicted],
            "predicted_probability": one.predicted_probability,
        }
        for one in mistakes
    ]
    return described, [one.inputs for one in mistakes]


def format_mistakes(worst: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The most confused examples, as plain values, as lines to print."""
    for rank, one in enumerate(worst, 1):
        example, truth, verdict = _describe_mistake(one)
        yield f"worst {rank}: {example}, {truth} {verdict}"


def _describe_mistake(one: Mapping[str, Any]) -> tuple[str, str, str]:
    """The example, its true and its predicted class; among more examples than there are mistakes, some are right."""
    verdict = f"taken for {one['predicted']} ({one['predicted_probability']:.4f})"
    if one["predicted"] == one["truth"]:
        verdict = "rightly recognised"
    return f"example {one['example']}", f"{one['truth']} ({one['truth_probability']:.4f})", verdict


def to_pixels(trained: Trained, inputs: Tensor) -> Tensor:
    """The pixels that inputs (N, C, H, W) were, of a kind of data that can be drawn."""
    convert = trained.kind.pixels
    assert convert is not None
    pixels: Tensor = resolve_reference(convert)(trained.record.assets, inputs)
    return pixels


def draw_confused(
    trained: Trained, inputs: Sequence[Tensor], worst: Sequence[Mapping[str, Any]], *, title: str, path: Path
) -> None:
    """Draw the most confused images as a PNG, each with its true and its predicted class."""
    import torch

    from dltrain.observers.pictures import draw_captioned_picture

    captions = ["\n".join(_describe_mistake(one)) for one in worst]
    draw_captioned_picture(to_pixels(trained, torch.stack(list(inputs))), captions, title, path)


def draw_reconstructions(trained: Trained, stream: Stream[Any], title: str, path: Path) -> None:
    """Draw the first images of a split above their reconstructions, as a PNG."""
    import torch

    from dltrain.observers.pictures import draw_reconstruction_picture

    task: Any = trained.task
    inputs: list[Tensor] = []
    for batch in stream.epoch(0):
        inputs.append(batch.inputs)
        if sum(map(len, inputs)) >= RECONSTRUCTED:
            break
    images = torch.cat(inputs)[:RECONSTRUCTED]
    with torch.inference_mode(), trained.runtime.autocast():
        outputs = task.reconstructions(trained.model, images.to(trained.runtime.device)).cpu()
    draw_reconstruction_picture(to_pixels(trained, images), to_pixels(trained, outputs), title, path)


def draw_forecasts(trained: Trained, stream: Stream[Any], title: str, path: Path) -> None:
    """Draw the first windows of a split as a PNG: true values and the model's forecasts, or medians and intervals."""
    import torch

    from dltrain.batch import to_device
    from dltrain.capabilities import EstimatesQuantiles
    from dltrain.observers.pictures import draw_forecast_picture

    task: Any = trained.task
    names, estimate = task.outputs, task.estimates
    quantiles: Sequence[float] = ()
    if isinstance(task, EstimatesQuantiles) and task.quantiles:
        names, estimate, quantiles = task.numbers, task.estimate_quantiles, task.quantiles
    truth: list[Tensor] = []
    forecast: list[Tensor] = []
    with torch.inference_mode(), trained.runtime.autocast():
        for batch in stream.epoch(0):
            moved = to_device(batch, trained.runtime.device)
            forecast.append(estimate(trained.model, *moved.arguments))
            truth.append(task.in_units(batch.targets))
            if sum(map(len, truth)) >= WINDOWS:
                break
    true, forecasts = (torch.cat(parts)[:WINDOWS, :OUTPUTS] for parts in (truth, forecast))
    draw_forecast_picture(true, forecasts, names[:OUTPUTS], quantiles=quantiles, title=title, path=path)
