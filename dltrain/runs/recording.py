"""What an evaluation finds beside its metrics: the curves, points and examples that a report shows.

A `Recorder` scores batches as its scorer does, and takes what it needs from the same forward passes. What it finds is
plain JSON of bounded size, whatever the size of the split.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from dltrain.capabilities import (
    ComparesNumbers,
    EstimatesQuantiles,
    Forecasts,
    Predicts,
    Reconstructs,
    Shows,
)
from dltrain.data.speech.recognition import ClipResult, ScoresClips, Transcribes
from dltrain.decoding.ctc import decode_greedily
from dltrain.kinds import resolve_reference
from dltrain.runs.class_findings import describe_probabilities
from dltrain.runs.examples import name_examples
from dltrain.runs.number_findings import describe_numbers

if TYPE_CHECKING:
    from dltrain.dataset import Dataset, SplitName
    from dltrain.runs.loading import Trained
    from dltrain.task import Score

WORST = 12
"""Examples that the model is most wrong about."""
SHOWN = 8
"""Images beside their reconstructions."""
WINDOWS, OUTPUTS = 300, 4
"""Windows and outputs of a forecast that are drawn."""
CLIPS = 5
"""Clips whose words are aligned."""
SIDE = 160
"""Pixels that the longer side of a picture in the findings has at most."""
CELLS, LONGEST_CELL = 12, 400
"""Values of an example that are kept, and characters of each."""


class Part(Protocol):
    """Collects one thing from the batches of an evaluation."""

    def note(self, model: nn.Module, batch: Any) -> None: ...

    def describe(self, look_up: Callable[[Sequence[int]], list[dict[str, Any]]]) -> dict[str, Any]:
        """The findings; `look_up` gives names and values of examples by their places among those evaluated."""


class Recorder:
    """Scores as `scorer` does; a part that fails is dropped, with a warning, and the score is what it was."""

    def __init__(self, trained: Trained, scorer: Any, warn: Callable[[str], None]) -> None:
        self._trained, self._scorer, self._warn = trained, scorer, warn
        self._parts = list(choose_parts(trained))

    def score(self, model: nn.Module, batch: Any, carry: Any) -> Score:
        with remember_outputs(model):
            score: Score = self._scorer.score(model, batch, carry)
            for part in list(self._parts):
                with self._guarding(part):
                    part.note(model, batch)
        return score

    def describe(self, dataset: Dataset, split: SplitName, kept: Any) -> dict[str, Any]:
        """Everything that was found on a split; `kept` are the places (N,) of its examples, None for all of them."""

        def look_up(indices: Sequence[int]) -> list[dict[str, Any]]:
            places = [index if kept is None else int(kept[index]) for index in indices]
            named = name_examples(dataset, split, places)
            return [{"example": place, **shorten_cells(each)} for place, each in zip(places, named, strict=True)]

        found: dict[str, Any] = {}
        for part in list(self._parts):
            with self._guarding(part):
                found |= part.describe(look_up)
        return found

    @contextmanager
    def _guarding(self, part: Part) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a plug-in's task, say: the metrics are what was asked for
            self._parts.remove(part)
            name = type(part).__name__
            self._warn(f"the report lacks what {name} collects: {type(error).__name__}: {error}")


def choose_parts(trained: Trained) -> Iterator[Part]:
    """What can be found for a task, by its capabilities."""
    task: Any = trained.task
    if isinstance(task, ScoresClips):
        yield ClipFindings(trained)
    elif isinstance(task, Predicts):
        yield ClassFindings(trained)
    elif isinstance(task, ComparesNumbers):
        yield NumberFindings(trained)
    if isinstance(task, Reconstructs) and trained.kind.pixels:
        yield ReconstructionFindings(trained)
    if isinstance(task, Shows):
        yield SampleFindings(trained)


@contextmanager
def remember_outputs(model: nn.Module) -> Iterator[None]:
    """While this lasts, a second call of the model with the same tensors gives the first one's output."""
    known: list[tuple[tuple[Any, ...], Any]] = []
    original = model.forward

    def forward(*inputs: Any, **options: Any) -> Any:
        if options:
            return original(*inputs, **options)
        for others, output in known:
            if len(others) == len(inputs) and all(one is other for one, other in zip(inputs, others, strict=True)):
                return output
        output = original(*inputs)
        known.append((inputs, output))
        return output

    model.forward = forward
    try:
        yield
    finally:
        del model.forward


class ClassFindings:
    """Probabilities and true classes: curves, calibration, and the examples with the least probable true class."""

    def __init__(self, trained: Trained) -> None:
        self._trained = trained
        self._task: Any = trained.task
        self._probabilities: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._worst: list[tuple[float, int, int, float, int, Tensor | None]] = []
        self._seen = 0

    def note(self, model: nn.Module, batch: Any) -> None:
        from dltrain.capabilities import Decides

        probabilities = self._task.probabilities(model, *batch.arguments).float().cpu()
        targets = batch.targets.cpu()
        decided = self._task.decisions(probabilities) if isinstance(self._task, Decides) else probabilities.argmax(1)
        chances = probabilities.gather(1, targets.view(-1, 1)).squeeze(1)
        drawn = self._trained.kind.pixels is not None
        for index in chances.argsort(stable=True)[:WORST].tolist():
            given = int(decided[index])
            image = batch.arguments[0][index].cpu().clone() if drawn else None
            truth, sure = int(targets[index]), float(probabilities[index, given])
            self._worst.append((float(chances[index]), self._seen + index, truth, sure, given, image))
        self._worst = sorted(self._worst, key=lambda each: each[:2])[:WORST]
        self._probabilities.append(probabilities)
        self._targets.append(targets)
        self._seen += len(targets)

    def describe(self, look_up: Callable[[Sequence[int]], list[dict[str, Any]]]) -> dict[str, Any]:
        labels: list[str] = [str(label) for label in self._task.labels]
        positive = getattr(self._task, "positive", None)
        found = describe_probabilities(
            torch.cat(self._probabilities).numpy(),
            torch.cat(self._targets).numpy(),
            labels,
            positive if isinstance(positive, int) else None,
        )
        images = [image for *_, image in self._worst if image is not None]
        pictures = encode_images(self._trained, torch.stack(images)) if images else [None] * len(self._worst)
        named = look_up([index for _, index, *_ in self._worst])
        worst = [
            {
                **name,
                "truth": labels[truth],
                "truth_probability": chance,
                "predicted": labels[given],
                "predicted_probability": sure,
                **({} if picture is None else {"picture": picture}),
            }
            for (chance, _, truth, sure, given, _), name, picture in zip(self._worst, named, pictures, strict=True)
        ]
        return {"probabilities": found, "worst_examples": worst}


class NumberFindings:
    """Estimates and true numbers: points, residuals, the largest errors, and of a forecast its course."""

    def __init__(self, trained: Trained) -> None:
        self._task: Any = trained.task
        self._estimates: list[Tensor] = []
        self._truths: list[Tensor] = []
        self._quantiles: list[Tensor] = []
        self._seen = 0

    def note(self, model: nn.Module, batch: Any) -> None:
        estimates, truths = self._task.compare_numbers(model, batch)
        self._estimates.append(estimates)
        self._truths.append(truths)
        if self._seen < WINDOWS and isinstance(self._task, EstimatesQuantiles) and self._task.quantiles:
            self._quantiles.append(self._task.estimate_quantiles(model, *batch.arguments).cpu())
        self._seen += len(truths)

    def describe(self, look_up: Callable[[Sequence[int]], list[dict[str, Any]]]) -> dict[str, Any]:
        names = [str(name) for name in self._task.numbers]
        estimates, truths = torch.cat(self._estimates).double(), torch.cat(self._truths).double()
        deviations = truths.std(0, correction=0)
        scaled = (estimates - truths) / torch.where(deviations > 0, deviations, 1.0)
        order = scaled.square().mean(1).argsort(descending=True, stable=True)[:WORST].tolist()
        worst = [
            {
                **name,
                "truth": dict(zip(names, truths[index].tolist(), strict=True)),
                "estimate": dict(zip(names, estimates[index].tolist(), strict=True)),
            }
            for index, name in zip(order, look_up(order), strict=True)
        ]
        found = {
            "numbers": describe_numbers(names[:OUTPUTS], estimates.numpy(), truths.numpy()),
            "worst_examples": worst,
        }
        if isinstance(self._task, Forecasts):
            found["forecast"] = self._describe_forecast(names, estimates, truths)
        return found

    def _describe_forecast(self, names: Sequence[str], estimates: Tensor, truths: Tensor) -> list[dict[str, Any]]:
        bands = torch.cat(self._quantiles)[:WINDOWS] if self._quantiles else None
        return [
            {
                "name": name,
                "truth": [round_number(value) for value in truths[:WINDOWS, column].tolist()],
                "estimate": [round_number(value) for value in estimates[:WINDOWS, column].tolist()],
                **(
                    {}
                    if bands is None
                    else {
                        "quantiles": list(self._task.quantiles),
                        "low": [round_number(value) for value in bands[:, column, 0].tolist()],
                        "high": [round_number(value) for value in bands[:, column, -1].tolist()],
                    }
                ),
            }
            for column, name in enumerate(names[:OUTPUTS])
        ]


class ReconstructionFindings:
    """The first images of a split, and what became of them."""

    def __init__(self, trained: Trained) -> None:
        self._trained, self._task = trained, trained.task
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def note(self, model: nn.Module, batch: Any) -> None:
        if sum(len(images) for images, _ in self._pairs) < SHOWN:
            task: Any = self._task
            outputs = task.reconstructions(model, *batch.arguments)
            self._pairs.append((batch.arguments[0][:SHOWN].cpu(), outputs[:SHOWN].float().cpu()))

    def describe(self, look_up: Callable[[Sequence[int]], list[dict[str, Any]]]) -> dict[str, Any]:
        images, outputs = (torch.cat(parts)[:SHOWN] for parts in zip(*self._pairs, strict=True))
        inputs, results = encode_images(self._trained, images), encode_images(self._trained, outputs)
        pairs = zip(inputs, results, strict=True)
        return {"reconstructions": [{"input": image, "output": output} for image, output in pairs]}


class SampleFindings:
    """What the model writes."""

    def __init__(self, trained: Trained) -> None:
        self._trained = trained

    def note(self, model: nn.Module, batch: Any) -> None: ...

    def describe(self, look_up: Callable[[Sequence[int]], list[dict[str, Any]]]) -> dict[str, Any]:
        trained, task = self._trained, self._trained.task
        assert isinstance(task, Shows)
        with torch.inference_mode():
            lines = task.show(trained.model, trained.runtime.device, 0)
        return {"samples": [line.removeprefix("writes: ") for line in lines]}


class ClipFindings:
    """The clips with the most edits: reference and hypothesis aligned, and each word of the hypothesis in time."""

    def __init__(self, trained: Trained) -> None:
        self._trained = trained
        self._task: Any = trained.task
        self._worst: list[tuple[ClipResult, int, Tensor, int]] = []
        self._seen = 0

    def note(self, model: nn.Module, batch: Any) -> None:
        results = self._task.decode_clips(model, batch, decode_greedily)
        for index, result in enumerate(results):
            frames = int(batch.frames[index])
            self._worst.append((result, self._seen + index, batch.features[index, :frames].cpu().clone(), frames))
        chosen = self._task.select_worst([result for result, *_ in self._worst], CLIPS)
        places = {result.clip: place for place, result in enumerate(chosen)}
        kept = [each for each in self._worst if each[0].clip in places]
        self._worst = sorted(kept, key=lambda each: places[each[0].clip])
        self._seen += len(results)

    def describe(self, look_up: Callable[[Sequence[int]], list[dict[str, Any]]]) -> dict[str, Any]:
        clips = []
        for result, _, features, frames in self._worst:
            (name,) = look_up([result.clip])
            clip = {**name, "reference": result.reference, "hypothesis": result.hypothesis}
            clip["compared"] = [list(pair) for pair in self._task.align_result(result)]
            clips.append({**clip, **self._locate_words(features, frames)})
        return {"clips": clips}

    def _locate_words(self, features: Tensor, frames: int) -> dict[str, Any]:
        """The clip's spectrogram, and each word with its place in it as shares of the width."""
        found: dict[str, Any] = {"picture": encode_spectrogram(features)}
        hop_ms = self._trained.record.assets.get("features", {}).get("hop_ms")
        if hop_ms is not None:
            found["seconds"] = round(frames * float(hop_ms) / 1000, 3)
        if isinstance(self._task, Transcribes):
            device = self._trained.runtime.device
            moved, length = features[None].to(device), torch.tensor([frames], device=device)
            with torch.inference_mode(), self._trained.runtime.autocast():
                (transcript,) = self._task.transcribe(self._trained.model, moved, length, decode_greedily)
            found["words"] = [
                [word.text, round(word.first / frames, 4), round(word.end / frames, 4), round(word.confidence, 4)]
                for word in transcript.words
            ]
        return found


def shorten_cells(named: Mapping[str, Any]) -> dict[str, Any]:
    """An example's name and what was read of it, as texts of bounded number and length."""
    found = {key: value for key, value in named.items() if key != "read"}
    if "read" in named:
        cells = list(named["read"].items())[:CELLS]
        found["read"] = {str(key): shorten_cell(str(value)) for key, value in cells}
        if len(named["read"]) > CELLS:
            found["read_more"] = len(named["read"]) - CELLS
    return found


def shorten_cell(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def round_number(value: float) -> float:
    """Six significant digits."""
    return float(f"{value:.6g}")


def encode_images(trained: Trained, inputs: Tensor) -> list[str]:
    """Inputs (N, C, H, W) as the pictures that they were: PNGs in data URIs, at most SIDE pixels high and wide."""
    convert = trained.kind.pixels
    assert convert is not None
    pixels: Tensor = resolve_reference(convert)(trained.record.assets, inputs)
    return [encode_picture(image) for image in pixels]


def encode_picture(pixels: Tensor) -> str:
    """Pixels (C, H, W) in 0..1 as a data URI: three channels in colour, of others the mean in grey."""
    from PIL import Image

    scaled = (pixels.clamp(0, 1) * 255).round().byte()
    image = Image.fromarray(
        scaled.permute(1, 2, 0).numpy() if len(scaled) == 3 else scaled.float().mean(0).round().byte().numpy()
    )
    if max(image.size) > SIDE:
        image.thumbnail((SIDE, SIDE))
    return encode_png(image)


def encode_spectrogram(features: Tensor) -> str:
    """Features (T, bands) as a grey data URI of at most 600 x 80 pixels, loud parts dark, low bands at the bottom."""
    from PIL import Image

    low, high = (
        float(each) for each in torch.quantile(features.flatten()[:1_000_000].float(), torch.tensor([0.02, 0.995]))
    )
    shares = ((features.float() - low) / max(high - low, 1e-9)).clamp(0, 1)
    image = Image.fromarray(((1 - shares.T.flip(0)) * 255).round().byte().numpy())
    image.thumbnail((600, 80))
    return encode_png(image)


def encode_png(image: Any) -> str:
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
