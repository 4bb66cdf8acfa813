"""Single examples in `dltrain eval`: the most confused ones, and images above their reconstructions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.cli.shared.kinds import get_data_kind
from dltrain.errors import UsageError
from dltrain.kinds import resolve_reference

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.core.evaluate import Mistake
    from dltrain.runs.loading import Trained
    from dltrain.stream import Stream

RECONSTRUCTED = 10
"""Images in the picture of reconstructions."""


def check_worst(run: Path, trained: Trained, worst: int | None) -> None:
    """Raises UsageError where --worst was given and the task does not judge single examples."""
    from dltrain.capabilities import Predicts
    from dltrain.data.speech.recognition import ScoresClips

    if worst is not None and not isinstance(trained.task, ScoresClips | Predicts):
        raise UsageError(
            f"{run}: --worst is for classifiers and speech recognisers; the task '{trained.experiment.task.name}' is "
            "neither",
            advice="leave it out; a plug-in's task needs labels and probabilities (docs/extending.md)",
        )


def find_confused(trained: Trained, stream: Stream[Any], number: int) -> list[Mistake]:
    """The `number` examples to whose true class the model assigns the lowest probability."""
    from dltrain.core.evaluate import find_worst_examples
    from dltrain.runtime.memory import explain_memory_errors

    task: Any = trained.task
    with explain_memory_errors():
        return find_worst_examples(trained.model, task, stream.epoch(0), runtime=trained.runtime, number=number)


def mistakes_to_json(mistakes: Sequence[Mistake], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The most confused examples as plain values."""
    return [
        {
            "example": one.example,
            "truth": labels[one.truth],
            "truth_probability": one.truth_probability,
            "predicted": labels[one.predicted],
            "predicted_probability": one.predicted_probability,
        }
        for one in mistakes
    ]


def format_mistakes(worst: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The most confused examples, as plain values, as lines to print."""
    for place, one in enumerate(worst, 1):
        yield (
            f"worst {place}: example {one['example']}, {one['truth']} ({one['truth_probability']:.4f}) "
            f"{_verdict(one['truth'], one['predicted'], one['predicted_probability'])}"
        )


def _verdict(truth: str, predicted: str, probability: float) -> str:
    """The predicted class; among more examples than there are mistakes, some are right."""
    return "rightly recognised" if predicted == truth else f"taken for {predicted} ({probability:.4f})"


def to_pixels(trained: Trained, inputs: Tensor) -> Tensor:
    """The pixels that inputs (N, C, H, W) were, of a kind of data that can be drawn."""
    convert = get_data_kind(trained).pixels
    assert convert is not None
    pixels: Tensor = resolve_reference(convert)(trained.record.assets, inputs)
    return pixels


def draw_confused(
    trained: Trained, mistakes: Sequence[Mistake], labels: Sequence[str], *, title: str, path: Path
) -> None:
    """Draw the most confused images as a PNG, each with its true and its predicted class."""
    import torch

    from dltrain.observers.pictures import draw_captioned_picture

    images = to_pixels(trained, torch.stack([one.inputs for one in mistakes]))
    captions = [
        f"example {one.example}\n{labels[one.truth]} ({one.truth_probability:.4f})\n"
        f"{_verdict(labels[one.truth], labels[one.predicted], one.predicted_probability)}"
        for one in mistakes
    ]
    draw_captioned_picture(images, captions, title, path)


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
