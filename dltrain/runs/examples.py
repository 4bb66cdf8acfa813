"""Single examples in `dltrain eval`: the most confused ones, reconstructed images, and forecasts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dltrain.errors import UsageError
from dltrain.escaping import keep_on_line
from dltrain.kinds import resolve_reference

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.dataset import Dataset, SplitName
    from dltrain.runs.loading import Trained
    from dltrain.stream import Stream

RECONSTRUCTED = 10
"""Images in the picture of reconstructions."""
CAPTION = 24
"""Characters above an image."""
LONGEST_ROW = 200
"""Characters of what was read of an example that are printed; `--json` has all of it."""
TRUTHS, NUMBERS = ("label", "class"), ("truth", "estimate")
WINDOWS, OUTPUTS = 300, 4
"""The number of windows and outputs in the picture of forecasts."""


def check_worst(run: Path, trained: Trained, worst: int | None) -> None:
    """Raises UsageError where --worst was given and the task does not judge single examples."""
    from dltrain.capabilities import ComparesNumbers, Predicts
    from dltrain.data.speech.recognition import ScoresClips

    if worst is not None and not isinstance(trained.task, ScoresClips | Predicts | ComparesNumbers):
        task = trained.experiment.task.name
        raise UsageError(
            f"{run}: --worst is for classifiers, regression and speech recognisers; the task '{task}' is none of them",
            advice="leave it out; a plug-in's task needs labels and probabilities, or compare_numbers "
            "(docs/extending.md)",
        )


class WorstExamples(NamedTuple):
    """The examples that a model is most wrong about, the worst first, as plain values, and their inputs to draw."""

    described: Sequence[dict[str, Any]]
    inputs: Sequence[Tensor]


def find_worst(trained: Trained, stream: Stream[Any], number: int) -> WorstExamples:
    """Find the `number` examples with the least probable true class, or with the largest errors of their numbers."""
    from dltrain.capabilities import Predicts
    from dltrain.core.evaluate import find_largest_errors, find_worst_examples
    from dltrain.runtime.memory import explain_memory_errors

    model, task, batches = trained.model, cast(Any, trained.task), stream.epoch(0)
    with explain_memory_errors():
        if not isinstance(task, Predicts):
            errors = find_largest_errors(model, task, batches, runtime=trained.runtime, number=number)
            numbers = [
                {
                    "example": one.example,
                    "truth": dict(zip(task.numbers, one.truth, strict=True)),
                    "estimate": dict(zip(task.numbers, one.estimate, strict=True)),
                }
                for one in errors
            ]
            return WorstExamples(numbers, [])
        mistakes = find_worst_examples(model, task, batches, runtime=trained.runtime, number=number)
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
    return WorstExamples(described, [one.inputs for one in mistakes])


def name_examples(dataset: Dataset, split: SplitName, indices: Sequence[int]) -> list[dict[str, Any]]:
    """The name of each of a split's examples, and what was read of it, as far as the dataset knows them."""
    from dltrain.dataset import NamesExamples, ShowsRaw

    found: list[dict[str, Any]] = [{} for _ in indices]
    if isinstance(dataset, NamesExamples):
        found = [{"name": name} for name in dataset.name_examples(split, indices)]
    if isinstance(dataset, ShowsRaw):
        found = [{**one, "read": dict(raw)} for one, raw in zip(found, dataset.show_raw(split, indices), strict=True)]
    return found


def format_worst_examples(worst: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The worst examples, as plain values, as lines to print: where each is from, the mistake, and what was read."""
    for rank, one in enumerate(worst, 1):
        name, truth, verdict = _describe_mistake(one)
        yield f"worst {rank}: {name}, {truth} {verdict}"
        if cells := [f"{key} {value}" for key, value in one.get("read", {}).items() if not _is_shown(one, key, value)]:
            yield "  " + textwrap.shorten("; ".join(cells), LONGEST_ROW, placeholder=" ...")


def _is_shown(one: Mapping[str, Any], key: str, value: object) -> bool:
    """Whether what was read of an example is in its name, or its true class."""
    name = one.get("name", "")
    return name == value or name.endswith((f"/{value}", f" {value}")) or (key in TRUTHS and str(value) == one["truth"])


def _describe_mistake(one: Mapping[str, Any]) -> tuple[str, str, str]:
    """The example, the truth and the estimate; among more examples than there are mistakes, some are right."""
    name = keep_on_line(one.get("name", f"example {one['example']}"))
    if "estimate" in one:
        truth, estimate = (", ".join(f"{key} {value:.6g}" for key, value in one[of].items()) for of in NUMBERS)
        return name, keep_on_line(truth), keep_on_line(f"estimated as {estimate}")
    verdict = f"taken for {keep_on_line(one['predicted'])} ({one['predicted_probability']:.4f})"
    if one["predicted"] == one["truth"]:
        verdict = "rightly recognised"
    return name, f"{keep_on_line(one['truth'])} ({one['truth_probability']:.4f})", verdict


def shorten_name(name: str) -> str:
    """What fits above an image: the place in a file of several, or a file and its folder, the end of them if long."""
    short = "/".join(name.split("/")[-2:]).rpartition(", ")[2]
    return short if len(short) <= CAPTION else f"...{short[3 - CAPTION :]}"


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

    captions = ["\n".join([shorten_name(name), *others]) for name, *others in map(_describe_mistake, worst)]
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
