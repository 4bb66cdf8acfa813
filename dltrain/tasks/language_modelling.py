"""The next word, or the next character, of a text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from dltrain.batch import NO_TARGET
from dltrain.capabilities import Baseline
from dltrain.data.text.language_model import LanguageModel
from dltrain.data.text.passages import Passages
from dltrain.data.text.vocabulary import Vocabulary
from dltrain.decoding.generation import generate_texts
from dltrain.goal import Goal
from dltrain.options import NonNegativeInt, PositiveInt
from dltrain.registry import tasks
from dltrain.task import Counts, Score, Step
from dltrain.tasks.baselines import make_unigram_baseline

SCORED_AT_ONCE = 2**23
"""Log-probabilities that an evaluation holds at a time: 32 MiB, however large the vocabulary and the batch."""

METRICS = ("perplexity", "loss", "accuracy", "bits_per_character")


@tasks.register("language_modelling", data="text", sizes=("vocabulary",), metrics=METRICS)
class LanguageModelling:
    """Predict each token from those before it; the best epoch has the lowest validation perplexity.

    Reports perplexity (the exponential of the mean loss), loss (mean negative log-probability of a token in nats),
    accuracy (the share of tokens to which the model assigns the highest probability), and for models of characters
    bits_per_character. The training loss includes the model's penalties.

    Options:
        samples: sample texts printed after each epoch.
        sample_tokens: length of each of them.
    """

    def __init__(
        self, assets: Mapping[str, Any], *, samples: NonNegativeInt = 2, sample_tokens: PositiveInt = 20
    ) -> None:
        self.goal = Goal("perplexity", "min", "characters" if assets["unit"] == "character" else "tokens")
        self.vocabulary = assets
        self.sizes = {"vocabulary": len(assets["words"])}
        self.samples = samples
        self.sample_tokens = sample_tokens

    @staticmethod
    def name_indices(assets: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        return {"vocabulary": assets["words"]}

    def step(self, model: nn.Module, batch: Passages, carry: Any) -> Step:
        reader = cast(LanguageModel, model)
        reading = reader(batch.inputs, carry if batch.continues else None)
        features, targets = select_targets(reading.features, batch)
        loss = reader.nats(features, targets).mean()
        if reading.penalty is not None:
            loss = loss + reading.penalty
        return Step(loss, reading.state if batch.continues else None)

    def score(self, model: nn.Module, batch: Passages, carry: Any) -> Score:
        reader = cast(LanguageModel, model)
        reading = reader(batch.inputs, carry if batch.continues else None)
        features, targets = select_targets(reading.features, batch)
        counts = self.tally(lambda rows: reader.log_probabilities(features[rows]), targets)
        return Score(counts, reading.state if batch.continues else None)

    def tally(self, log_probabilities: Callable[[slice], Tensor], targets: Tensor) -> Counts:
        """The counts of targets (M,), of which `log_probabilities` gives those of any slice, (rows, vocabulary)."""
        precise = torch.float32 if targets.device.type == "mps" else torch.float64
        nats = torch.zeros((), dtype=precise, device=targets.device)
        correct = torch.zeros((), dtype=torch.int64, device=targets.device)
        rows = max(1, SCORED_AT_ONCE // len(self.vocabulary["words"]))
        for start in range(0, len(targets), rows):
            some = slice(start, start + rows)
            logs, expected = log_probabilities(some), targets[some]
            nats -= logs.gather(1, expected[:, None]).sum(dtype=precise)
            correct += (logs.argmax(1) == expected).sum()
        return {"nats": nats, "correct": correct, "tokens": torch.full_like(correct, len(targets))}

    def report(self, counts: Counts) -> dict[str, float]:
        tokens = int(counts["tokens"])
        loss = float(counts["nats"]) / tokens
        report = {
            "perplexity": math.exp(loss) if loss < 700 else math.inf,
            "loss": loss,
            "accuracy": int(counts["correct"]) / tokens,
        }
        if self.vocabulary["unit"] == "character":
            report["bits_per_character"] = loss / math.log(2)
        return report

    def baselines(self) -> dict[str, Baseline]:
        """The share of each token in the training text."""
        return {"unigram": make_unigram_baseline(self.sizes["vocabulary"])}

    def show(self, model: nn.Module, device: torch.device, number: int) -> Sequence[str]:
        """A few short texts from the model, different for each `number`; a bar marks a line break."""
        vocabulary = Vocabulary(self.vocabulary)
        written = generate_texts(
            cast(LanguageModel, model), vocabulary, device, samples=self.samples, tokens=self.sample_tokens, seed=number
        )
        return ["writes: " + text.strip("\n").replace("\n", " | ") for text in written]


def select_targets(features: Tensor, batch: Passages) -> tuple[Tensor, Tensor]:
    """Features (M, H) and targets (M,) of the tokens that have a target."""
    features, targets = features.flatten(0, 1), batch.targets.flatten()
    if batch.count == len(targets):
        return features, targets
    counted = targets != NO_TARGET
    return features[counted], targets[counted]
