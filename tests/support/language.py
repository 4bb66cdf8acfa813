"""A toy language model, its task and random text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.batch import NO_TARGET
from dltrain.core.evaluate import accumulate_counts
from dltrain.data.text.language_model import Reading
from dltrain.data.text.passages import Passages
from dltrain.runtime.precision import Runtime
from dltrain.task import Score

VOCABULARY, HIDDEN = 11, 6


RUNTIME = Runtime(torch.device("cpu"), "test")


class ToyLSTM(nn.Module):
    """A language model whose output layer is its embedding, behind a dropout that evaluation must not use."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN)
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(HIDDEN, VOCABULARY)
        self.output.weight = self.embedding.weight
        self.unused = nn.Linear(2, 2)
        self.fixed = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, tokens: Tensor, state: Any) -> Reading:
        features, state = self.lstm(self.dropout(self.embedding(tokens)) * self.fixed, state)
        return Reading(features, state, features.square().mean())

    def nats(self, features: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(self.output(features), targets, reduction="none")

    def log_probabilities(self, features: Tensor) -> Tensor:
        logits = self.output(features)
        return (logits.float() if logits.dtype == torch.bfloat16 else logits).log_softmax(1)


class ToyTask:
    def score(self, model: Any, batch: Passages, carry: Any) -> Score:
        reading = model(batch.inputs, carry if batch.continues else None)
        counted = batch.targets != NO_TARGET
        features = reading.features[counted]
        counts = self.tally(lambda rows: model.log_probabilities(features[rows]), batch.targets[counted])
        return Score(counts, reading.state)

    def tally(self, log_probabilities: Callable[[slice], Tensor], targets: Tensor) -> Mapping[str, Tensor]:
        """In two parts, as one that counts a large vocabulary does."""
        half = len(targets) // 2
        logs = torch.cat([log_probabilities(slice(None, half)), log_probabilities(slice(half, None))])
        return {
            "nats": -logs.gather(1, targets[:, None]).double().sum(),
            "correct": (logs.argmax(1) == targets).sum(),
            "tokens": torch.tensor(len(targets)),
            "mass": logs.exp().sum().double(),
        }


class Fixed(list[Passages]):
    """A stream of the same batches always."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Passages]:
        return iter(self[start:])


def passages(text: Tensor, length: int, warm_up: int = 0) -> Fixed:
    """Windows of text (tokens + 1, N), each of `length` tokens; the first `warm_up` of all have no target."""
    inputs, targets = text[:-1], text[1:].clone()
    targets[:warm_up] = NO_TARGET
    return Fixed(
        Passages(some, wanted, int((wanted != NO_TARGET).sum()), True)
        for some, wanted in zip(inputs.split(length), targets.split(length), strict=True)
    )


def perplexity(counts: Mapping[str, Tensor]) -> float:
    return math.exp(float(counts["nats"] / counts["tokens"]))


def measured(model: nn.Module, task: Any, batches: Fixed) -> Mapping[str, Tensor]:
    return accumulate_counts(model, task, batches, RUNTIME)


def random_text(length: int, columns: int = 1, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (length + 1, columns), generator=torch.Generator().manual_seed(seed))
