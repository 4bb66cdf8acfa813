"""The language-modelling task against closed forms."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.batch import NO_TARGET
from dltrain.capabilities import Generates, Shows
from dltrain.data.text.language_model import Reading
from dltrain.data.text.passages import Passages
from dltrain.task import Score
from dltrain.tasks import language_modelling
from dltrain.tasks.language_modelling import LanguageModelling

ASSETS = {
    "dataset": "toy", "unit": "word", "words": ["<eos>", "the", "cat", "sat", "<unk>"],
    "lowercase": True, "end": "<eos>", "unknown": "<unk>",
}  # fmt: skip


class Table(nn.Module):
    """log p of the next token by the one before it, (V, V); counts the steps that its state has seen."""

    def __init__(self, log_probabilities: Tensor, penalty: float | None = None) -> None:
        super().__init__()
        self.table = nn.Parameter(log_probabilities)
        self.penalty = penalty

    def forward(self, tokens: Tensor, state: Any = None) -> Reading:
        seen = (torch.zeros(1, tokens.shape[1], 1) if state is None else state[0]) + len(tokens)
        penalty = None if self.penalty is None else torch.tensor(self.penalty)
        return Reading(functional.one_hot(tokens, len(self.table)).float(), (seen,), penalty)

    def log_probabilities(self, features: Tensor) -> Tensor:
        return (features @ self.table).log_softmax(1)

    def nats(self, features: Tensor, targets: Tensor) -> Tensor:
        return -self.log_probabilities(features).gather(1, targets[:, None])[:, 0]


def uniform() -> Table:
    return Table(torch.zeros(5, 5))


def passages(tokens: list[int], continues: bool = True, uncounted: int = 0) -> Passages:
    """One column that begins after <eos>; the first `uncounted` targets do not count."""
    inputs = torch.tensor([0, *tokens[:-1]])[:, None]
    targets = torch.tensor(tokens)[:, None]
    targets[:uncounted] = NO_TARGET
    return Passages(inputs, targets, len(tokens) - uncounted, continues)


def scored(task: LanguageModelling, model: nn.Module, batch: Passages, carry: Any) -> Score:
    with torch.no_grad():
        return task.score(model, batch, carry)


TEXT = [1, 2, 3, 0, 1, 2, 0, 1, 3, 3, 0, 2, 2, 4, 1, 0]


def test_a_uniform_models_perplexity_is_the_size_of_the_vocabulary() -> None:
    task = LanguageModelling(ASSETS)
    report = task.report(scored(task, uniform(), passages(TEXT), None).counts)
    assert report["perplexity"] == pytest.approx(5, rel=1e-6)
    assert report["loss"] == pytest.approx(math.log(5), rel=1e-6)
    assert report["accuracy"] == TEXT.count(0) / len(TEXT)  # of equals, the first is taken
    assert "bits_per_character" not in report


def test_a_bigram_models_perplexity_is_the_closed_form() -> None:
    """With maximum-likelihood bigrams, the mean loss is the text's entropy of a token given the one before."""
    pairs = Counter(zip([0, *TEXT[:-1]], TEXT, strict=True))
    firsts = Counter([0, *TEXT[:-1]])
    entropy = -sum(count / len(TEXT) * math.log(count / firsts[pair[0]]) for pair, count in pairs.items())
    table = torch.full((5, 5), -1e9)
    for (first, second), count in pairs.items():
        table[first, second] = math.log(count / firsts[first])
    task = LanguageModelling(ASSETS)
    report = task.report(scored(task, Table(table), passages(TEXT), None).counts)
    assert report["loss"] == pytest.approx(entropy, rel=1e-6)
    assert report["perplexity"] == pytest.approx(math.exp(entropy), rel=1e-6)


def test_characters_are_reported_in_bits_too() -> None:
    task = LanguageModelling({**ASSETS, "unit": "character"})
    report = task.report(scored(task, uniform(), passages(TEXT), None).counts)
    assert report["bits_per_character"] == pytest.approx(math.log2(5), rel=1e-6)
    assert task.goal.counted == "characters"


def test_only_targets_count(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Table(torch.randn(5, 5))
    task = LanguageModelling(ASSETS)
    batch = passages(TEXT, uncounted=6)
    with torch.no_grad():
        table = model.table.log_softmax(1)
    expected = -sum(float(table[first, second]) for first, second in pairwise(TEXT[5:])) / 10
    assert float(task.step(model, batch, None).loss.detach()) == pytest.approx(expected, rel=1e-6)
    counts = scored(task, model, batch, None).counts
    assert int(counts["tokens"]) == 10
    assert task.report(counts)["loss"] == pytest.approx(expected, rel=1e-6)
    monkeypatch.setattr(language_modelling, "SCORED_AT_ONCE", 15)  # three rows of five at a time
    pieces = scored(task, model, batch, None).counts
    assert float(pieces["nats"]) == pytest.approx(float(counts["nats"]), rel=1e-9)
    assert int(pieces["correct"]) == int(counts["correct"])


def test_scores_of_parts_add_up_to_those_of_the_whole() -> None:
    torch.manual_seed(0)
    model = Table(torch.randn(5, 5))
    task = LanguageModelling(ASSETS)
    whole = scored(task, model, passages(TEXT), None).counts
    inputs, targets = passages(TEXT).inputs, passages(TEXT).targets
    parts = [scored(task, model, Passages(inputs[a:b], targets[a:b], b - a, True), None) for a, b in ((0, 7), (7, 16))]
    for name in whole:
        assert float(sum(part.counts[name] for part in parts)) == pytest.approx(float(whole[name]), rel=1e-12)


def test_the_state_goes_on_only_where_passages_continue() -> None:
    task = LanguageModelling(ASSETS)
    first = task.step(uniform(), passages(TEXT), None)
    assert float(task.step(uniform(), passages(TEXT), first.carry).carry[0]) == 2 * len(TEXT)
    assert float(scored(task, uniform(), passages(TEXT), first.carry).carry[0]) == 2 * len(TEXT)
    assert task.step(uniform(), passages(TEXT, continues=False), None).carry is None
    assert scored(task, uniform(), passages(TEXT, continues=False), first.carry).carry is None


def test_a_models_penalty_is_part_of_the_training_loss_alone() -> None:
    task = LanguageModelling(ASSETS)
    model = Table(torch.zeros(5, 5), penalty=2.0)
    assert float(task.step(model, passages(TEXT), None).loss.detach()) == pytest.approx(2 + math.log(5))
    assert task.report(scored(task, model, passages(TEXT), None).counts)["loss"] == pytest.approx(math.log(5))


def test_it_shows_what_the_model_writes() -> None:
    """A table in which each word has one successor writes the same line over and over."""
    table = torch.full((5, 5), -1e9)
    for first, second in ((0, 1), (1, 2), (2, 3), (3, 0), (4, 0)):
        table[first, second] = 0.0
    task = LanguageModelling(ASSETS, samples=2, sample_tokens=6)
    assert isinstance(task, Shows)
    assert isinstance(task, Generates)
    shown = task.show(Table(table).eval(), torch.device("cpu"), 1)
    assert list(shown) == ["writes: the cat sat | the cat"] * 2
    assert list(LanguageModelling(ASSETS, samples=0).show(Table(table), torch.device("cpu"), 1)) == []
