"""Batches of an encoded text: every token where it should be, and each the right number of times."""

from __future__ import annotations

import math
from collections import Counter

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from dltrain.batch import NO_TARGET
from dltrain.data import batching
from dltrain.data.text import passages
from dltrain.data.text.passages import (
    WARM_UP,
    EvaluationWindows,
    Passages,
    SentenceBatches,
    TextWindows,
    cut_lines,
    draw_lengths,
)
from dltrain.stream import Loader

END = 3


def text(tokens: int, words: int = 50, seed: int = 0) -> numpy.ndarray:
    """An encoded text (1 + tokens,) that ends with END, lines of some eight words."""
    draw = numpy.random.default_rng(seed)
    ids = draw.integers(4, words, tokens + 1)
    ids[draw.random(tokens + 1) < 0.12] = END
    ids[0] = ids[-1] = END
    return ids.astype(numpy.uint16)


def check_form(batch: Passages) -> None:
    for tensor in (batch.inputs, batch.targets):
        assert tensor.dtype == torch.int64
        assert tensor.is_contiguous()
    assert batch.inputs.shape == batch.targets.shape
    assert batch.count == int((batch.targets != NO_TARGET).sum()) > 0


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize(("tokens", "columns", "length"), [(100, 4, 5), (103, 4, 7), (30, 3, 10), (700, 1, 35)])
def test_windows_run_down_the_columns(tokens: int, columns: int, length: int, random: bool) -> None:
    ids = text(tokens)
    windows = TextWindows(ids, columns, length, seed=1, random_lengths=random)
    for epoch in (0, 1):
        batches = list(Loader(windows).epoch(epoch))
        assert len(batches) == len(windows)
        for batch in batches:
            check_form(batch)
            assert batch.continues
            assert batch.rate == (len(batch.inputs) / length if random else 1.0)
        rows = tokens // columns
        inputs, targets = (torch.cat([getattr(one, name) for one in batches]) for name in ("inputs", "targets"))
        expected = torch.from_numpy(ids.astype(numpy.int64))
        assert torch.equal(targets, expected[1 : 1 + rows * columns].view(columns, rows).T)
        assert torch.equal(inputs, expected[: rows * columns].view(columns, rows).T)
        if not random:
            assert [len(batch.inputs) for batch in batches[:-1]] == [length] * (math.ceil(rows / length) - 1)


def test_a_batch_depends_on_its_place_alone() -> None:
    ids = text(3000)
    batches = list(Loader(TextWindows(ids, 4, 20, seed=5, random_lengths=True)).epoch(2))
    later = list(Loader(TextWindows(ids, 4, 20, seed=5, random_lengths=True)).epoch(2, start=3))
    assert all(torch.equal(one.inputs, two.inputs) for one, two in zip(batches[3:], later, strict=True))


def test_random_lengths_are_those_of_merity() -> None:
    lengths = draw_lengths(200_000, 70, seed=3)
    assert sum(lengths) == 200_000
    assert min(lengths) >= 5
    assert lengths == draw_lengths(200_000, 70, seed=3) != draw_lengths(200_000, 70, seed=4)
    values = numpy.array(lengths[:-1], float)
    long = values[values > 52.5]  # 35 and 70 lie 3.5 standard deviations from it
    assert abs(1 - len(long) / len(values) - 0.05) < 0.015
    assert abs(long.mean() - 69.5) < 0.5  # whole numbers below the drawn ones
    assert abs(long.std() - 5) < 0.3
    assert abs(values[values < 52.5].mean() - 34.5) < 2
    assert draw_lengths(3, 70, seed=0) == [3]
    assert draw_lengths(0, 70, seed=0) == []
    assert min(min(draw_lengths(rows, 6, seed=0)) for rows in range(5, 60)) >= 5


def test_each_epoch_has_the_random_lengths_in_another_order() -> None:
    windows = TextWindows(text(4000), 2, 30, seed=9, random_lengths=True)
    orders = [[len(batch.inputs) for batch in Loader(windows).epoch(epoch)] for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(draw_lengths(2000, 30, seed=9))


def sentences_of(ids: numpy.ndarray, max_words: int) -> list[tuple[list[int], list[int]]]:
    """Inputs and targets of each line, cut into pieces, word by word."""
    found, line, before = [], [], [int(ids[0])]
    for token in ids[1:].tolist():
        line.append(token)
        if token == END:
            while line:
                size = len(line) if len(line) <= max_words + 1 else max_words
                piece, line = line[:size], line[size:]
                found.append((before + piece[:-1], piece))
                before = [piece[-1]]
    return found


def columns_of(batch: Passages) -> list[tuple[list[int], list[int]]]:
    found = []
    for inputs, targets in zip(batch.inputs.T.tolist(), batch.targets.T.tolist(), strict=True):
        length = sum(target != NO_TARGET for target in targets)
        assert targets[length:] == [NO_TARGET] * (len(targets) - length)
        assert inputs[length:] == [END] * (len(targets) - length)
        found.append((inputs[:length], targets[:length]))
    return found


@pytest.mark.parametrize("max_words", [1, 2, 5, 100])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_every_line_is_one_passage(monkeypatch: pytest.MonkeyPatch, max_words: int, batch_size: int) -> None:
    monkeypatch.setattr(batching, "_POOL_BATCHES", 3)
    monkeypatch.setattr(passages, "_PIECE_TOKENS", 64)
    ids = text(500)
    expected = sentences_of(ids, max_words)
    in_order = Loader(SentenceBatches(ids, END, batch_size, max_words=max_words, seed=0, shuffled=False))
    assert [column for batch in in_order.epoch(0) for column in columns_of(batch)] == expected
    shuffled = Loader(SentenceBatches(ids, END, batch_size, max_words=max_words, seed=0, shuffled=True))
    epochs = [list(shuffled.epoch(epoch)) for epoch in (0, 1, 0)]
    for batches in epochs:
        assert len(batches) == len(shuffled) == math.ceil(len(expected) / batch_size)
        found = [(tuple(a), tuple(b)) for batch in batches for a, b in columns_of(batch)]
        assert Counter(found) == Counter((tuple(a), tuple(b)) for a, b in expected)
        for batch in batches:
            check_form(batch)
            assert not batch.continues
            assert batch.rate == 1.0
    first, second, again = ([batch.targets.tolist() for batch in batches] for batches in epochs)
    assert first == again != second


def test_lines_of_similar_length_stand_together() -> None:
    ids = text(20_000)

    def padding(shuffled: bool) -> float:
        batches = list(Loader(SentenceBatches(ids, END, 16, max_words=100, seed=0, shuffled=shuffled)).epoch(0))
        return 1 - sum(batch.count for batch in batches) / sum(batch.targets.numel() for batch in batches)

    assert padding(shuffled=True) < 0.1 < 0.5 < padding(shuffled=False)


def test_a_text_without_lines_has_no_passages() -> None:
    none = numpy.array([END])
    assert len(SentenceBatches(none, END, 4, max_words=100, seed=0, shuffled=True)) == 0
    assert len(EvaluationWindows(none, END, 10, 35)) == 0
    starts, lengths = cut_lines(none, END, 100)
    assert len(starts) == len(lengths) == 0


@pytest.mark.parametrize("length", [1, 7, 1000])
@pytest.mark.parametrize("warm_up", [1, 3, 8])
def test_evaluation_scores_each_token_once_at_any_size(
    monkeypatch: pytest.MonkeyPatch, warm_up: int, length: int
) -> None:
    monkeypatch.setattr(passages, "WARM_UP", warm_up)
    for tokens in range(1, 70):
        ids = numpy.arange(tokens + 1)  # each token is its own place
        for columns in (1, 2, 5, 40):
            scored: Counter[int] = Counter()
            read = 0
            stream = Loader(EvaluationWindows(ids, 0, columns, length))
            for batch in stream.epoch(0):
                check_form(batch)
                assert batch.continues
                counted = batch.targets != NO_TARGET
                assert torch.equal(batch.inputs[counted] + 1, batch.targets[counted])
                scored.update(batch.targets[counted].tolist())
                read += len(batch.inputs)
            assert scored == Counter(range(1, tokens + 1))
            assert read <= tokens
            batch = stream.source.batch(0, 0)
            assert batch.inputs.shape[1] <= max(1, tokens // warm_up)


def test_a_column_reads_what_comes_before_it() -> None:
    ids = numpy.arange(2001)
    (batch,) = Loader(EvaluationWindows(ids, 0, 4, 10_000)).epoch(0)
    share = (2000 - WARM_UP) // 4
    for column, (inputs, targets) in enumerate(zip(batch.inputs.T.tolist(), batch.targets.T.tolist(), strict=True)):
        assert inputs == list(range(column * share, column * share + share + WARM_UP))
        assert targets[:WARM_UP] == ([NO_TARGET] * WARM_UP if column else list(range(1, WARM_UP + 1)))
        assert targets[WARM_UP:] == [token + 1 for token in inputs[WARM_UP:]]


def test_perplexity_does_not_depend_on_the_batch_size() -> None:
    torch.manual_seed(0)
    embedding, network, output = nn.Embedding(50, 16), nn.LSTM(16, 32), nn.Linear(32, 50)
    with torch.no_grad():
        output.weight *= 20  # far from uniform, so that the state matters

    def loss(columns: int, length: int) -> float:
        nats, tokens, state = 0.0, 0, None
        with torch.inference_mode():
            for batch in Loader(EvaluationWindows(text(4000), END, columns, length)).epoch(0):
                features, state = network(embedding(batch.inputs), state)
                logits = output(features).double().flatten(0, 1)
                nats += float(
                    functional.cross_entropy(logits, batch.targets.flatten(), reduction="sum", ignore_index=-1)
                )
                tokens += batch.count
        assert tokens == 4000
        return nats / tokens

    expected = math.exp(loss(1, 100))
    for columns, length in ((1, 17), (2, 50), (7, 64), (10, 35), (100, 35)):
        assert math.exp(loss(columns, length)) == pytest.approx(expected, rel=1e-5)
