"""Scores over a whole split, and the examples that a model is most wrong about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dltrain.batch import to_device
from dltrain.capabilities import ComparesNumbers, Decides, Predicts
from dltrain.runtime.precision import Runtime
from dltrain.stream import Stream
from dltrain.task import Counts, Task


def accumulate_counts(
    model: nn.Module, task: Task[Any], stream: Stream[Any], runtime: Runtime, between: Callable[[], None] | None = None
) -> Counts:
    """The task's counts over all of `stream`, in evaluation mode; training's carry and generators stay untouched.

    They are added up on the device. `between` is called after each batch and may raise.
    """
    tally = runtime.world.start_tally()
    carries: dict[int, Any] = {}
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), runtime.autocast():
            for number, whole in enumerate(stream.epoch(0)):
                for shard, batch in runtime.world.deal(number, whole):
                    score = task.score(model, to_device(batch, runtime.device), carries.get(shard))
                    carries[shard] = score.carry
                    tally.add(number, shard, score.counts)
                if between is not None:
                    between()
    finally:
        model.train(training)
    return tally.total()


@dataclass(frozen=True)
class FirstBatch:
    """The stream of another one's first batch."""

    stream: Stream[Any]

    def __len__(self) -> int:
        return min(1, len(self.stream))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        return islice(self.stream.epoch(epoch, start), len(self) - start)


def list_reported_metrics(model: nn.Module, task: Task[Any], stream: Stream[Any], runtime: Runtime) -> list[str]:
    """The names of the metrics that the task reports for this data, from one batch of it."""
    return list(task.report(accumulate_counts(model, task, FirstBatch(stream), runtime)))


class Mistake(NamedTuple):
    """An example by its index in the split, its true class and the predicted one, with the probability of each.

    `inputs` are the first of the model's arguments for it, on the CPU.
    """

    example: int
    truth: int
    predicted: int
    truth_probability: float
    predicted_probability: float
    inputs: Tensor


def find_worst_examples(
    model: nn.Module, task: Predicts, batches: Iterable[Any], *, runtime: Runtime, number: int
) -> list[Mistake]:
    """The `number` examples whose true class is the least probable, the worst first; rightly classified ones included.

    The model is in evaluation mode; the batches have `targets` (N,) int64 that are classes.
    """
    kept: list[Mistake] = []
    before = 0
    with torch.inference_mode(), runtime.autocast():
        for batch in batches:
            probabilities = task.probabilities(model, *to_device(batch, runtime.device).arguments).float().cpu()
            truths = batch.targets.view(-1, 1)
            chances = probabilities.gather(1, truths).squeeze(1)
            predicted = task.decisions(probabilities) if isinstance(task, Decides) else probabilities.argmax(1)
            for index in chances.argsort(stable=True)[:number].tolist():
                kept.append(
                    Mistake(
                        example=before + index,
                        truth=int(truths[index]),
                        predicted=int(predicted[index]),
                        truth_probability=float(chances[index]),
                        predicted_probability=float(probabilities[index, predicted[index]]),
                        inputs=batch.arguments[0][index].clone(),
                    )
                )
            kept = sorted(kept, key=lambda mistake: mistake.truth_probability)[:number]
            before += batch.count
    return kept


class NumericError(NamedTuple):
    """An example by its index in the split, its true numbers and the estimated ones, in units."""

    example: int
    truth: tuple[float, ...]
    estimate: tuple[float, ...]


def find_largest_errors(
    model: nn.Module, task: ComparesNumbers, batches: Iterable[Any], *, runtime: Runtime, number: int
) -> list[NumericError]:
    """The `number` examples with the largest squared errors, the largest first.

    Of several numbers it is the mean, each in standard deviations of its truth in these batches. The model is in
    evaluation mode.
    """
    with torch.inference_mode(), runtime.autocast():
        pairs = [task.compare_numbers(model, to_device(batch, runtime.device)) for batch in batches]
    estimates, truths = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    deviations = truths.std(0, correction=0)
    scaled = (estimates - truths) / torch.where(deviations > 0, deviations, 1.0)
    order = scaled.square().mean(1).argsort(descending=True, stable=True)[:number].tolist()
    return [NumericError(index, tuple(truths[index].tolist()), tuple(estimates[index].tolist())) for index in order]
