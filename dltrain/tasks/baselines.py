"""The simplest models of a task: one output for every example, and a linear function of the inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dltrain.batch import NO_TARGET, Batch
from dltrain.capabilities import Baseline, LinearInWeights
from dltrain.core.solving import solve_linear
from dltrain.data.text.language_model import Reading
from dltrain.stream import Stream
from dltrain.task import Task

MOST_VALUES = 2**28
"""Input values after which no more examples are read for a constant output: all of 300,000 pictures of 28 x 28."""


class ConstantOutput(nn.Module):
    """The same outputs (K,) for every example, whatever its inputs are."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = nn.Parameter(torch.zeros(outputs))

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.outputs.expand(len(inputs[0]), -1)


def make_constant_baseline(
    outputs: int, summarize: Callable[[Tensor, Tensor], Tensor], class_counts: Sequence[int] | None = None
) -> Baseline:
    """One output for all examples: what `summarize` makes of all training targets (N, ...) and weights (N,), (K,).

    Where the targets are classes whose examples have been counted, the training split is not read.
    """
    model = ConstantOutput(outputs)

    @torch.no_grad()
    def fit(training: Stream[Any]) -> str:
        if class_counts is not None:
            weights_by_class = torch.tensor(class_counts, dtype=torch.float64)
            model.outputs.copy_(summarize(torch.arange(len(class_counts)), weights_by_class))
            return f"{sum(class_counts)} examples"
        targets: list[Tensor] = []
        weights: list[Tensor] = []
        examples = values = 0
        for batch in training.epoch(0):
            own = getattr(batch, "weights", None)
            targets.append(batch.targets)
            weights.append(torch.ones(batch.count, dtype=torch.float64) if own is None else own.double())
            examples += batch.count
            values += batch.arguments[0].numel()
            if values >= MOST_VALUES:
                break
        model.outputs.copy_(summarize(torch.cat(targets), torch.cat(weights)))
        return f"{examples} examples"

    return Baseline(model, fit)


class UnigramModel(nn.Module):
    """A language model (`dltrain.data.text.language_model`) that gives each token its share, whatever came before."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.logs = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, tokens: Tensor, state: Any) -> Reading:
        return Reading(tokens[:, :, None], None)

    def nats(self, features: Tensor, targets: Tensor) -> Tensor:
        return -self.logs[targets]

    def log_probabilities(self, features: Tensor) -> Tensor:
        return self.logs.expand(len(features), -1)


def make_unigram_baseline(vocabulary: int) -> Baseline:
    """The share of each token in the training split."""
    model = UnigramModel(vocabulary)

    @torch.no_grad()
    def fit(training: Stream[Any]) -> str:
        counts = torch.zeros(vocabulary, dtype=torch.int64)
        tokens = 0
        for batch in training.epoch(0):
            counts += torch.bincount(batch.targets[batch.targets != NO_TARGET], minlength=vocabulary)
            tokens += batch.count
            if tokens >= MOST_VALUES:
                break
        model.logs.copy_(compute_log_shares(torch.arange(vocabulary), counts.double(), vocabulary))
        return f"{tokens} tokens"

    return Baseline(model, fit)


def make_linear_baseline(build: Callable[..., nn.Module], task: Task[Any]) -> Baseline:
    """What `build` makes of the task's sizes, a model that is linear in its weights, at the optimum of its loss."""
    model = build(**task.sizes)
    assert isinstance(model, LinearInWeights)
    solve = partial(solve_linear, model, task)

    def fit(training: Stream[Batch]) -> str:
        return str(solve(training.epoch(0)))

    return Baseline(model, fit)


def average_targets(targets: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of targets (N, K), (K,)."""
    return (weights @ targets.double()) / weights.sum()


def compute_log_shares(targets: Tensor, weights: Tensor, classes: int) -> Tensor:
    """The logarithm of each class's share of targets (N,) int64, (classes,); half an example for an absent class."""
    counts = torch.bincount(targets, weights, minlength=classes).clamp(min=0.5)
    return (counts / counts.sum()).log()


def to_full_precision(numbers: Tensor) -> Tensor:
    """The numbers in float32, or in float64 where they are: optima are computed so."""
    return numbers if numbers.dtype == torch.float64 else numbers.float()
