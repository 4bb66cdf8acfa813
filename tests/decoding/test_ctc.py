"""Decoding of CTC models against an enumeration of all paths."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from dltrain.data.speech.transcripts import count_needed_frames
from dltrain.decoding.ctc import (
    BeamSearch,
    SymbolSpan,
    Word,
    align_symbols,
    decode_greedily,
    group_words,
)
from dltrain.decoding.ngram import NGramModel, estimate_ngrams
from support.ngrams import score_sentence

ALPHABET = ("<blank>", " ", "a", "b")


def log_probabilities(frames: int, size: int = 4, seed: int = 0, sharpness: float = 1.5) -> np.ndarray:
    draw = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(frames, size, generator=draw)).log_softmax(1).numpy()


def labelling(path: Sequence[int]) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != 0)


def paths(scores: np.ndarray) -> list[tuple[tuple[int, ...], float]]:
    """All paths with their log-probabilities."""
    frames, size = scores.shape
    return [
        (path, float(sum(scores[frame, symbol] for frame, symbol in enumerate(path))))
        for path in itertools.product(range(size), repeat=frames)
    ]


def labellings(scores: np.ndarray) -> dict[tuple[int, ...], float]:
    """All labellings with their log-probabilities, each the sum over its paths."""
    totals: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for path, score in paths(scores):
        totals[labelling(path)] += math.exp(score)
    return {symbols: math.log(total) for symbols, total in totals.items()}


def padded(clips: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Clips as a batch, what lies after them favouring a symbol."""
    frames = [len(clip) for clip in clips]
    batch = torch.zeros(len(clips), max(frames), clips[0].shape[1])
    batch[:, :, -1] = 9
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    return batch, torch.tensor(frames)


def test_greedy_is_the_labelling_of_the_likeliest_path() -> None:
    clips = [log_probabilities(frames, seed=seed) for seed, frames in enumerate([6, 1, 5, 6, 3])]
    expected = [list(labelling(max(paths(clip), key=lambda path: path[1])[0])) for clip in clips]
    assert decode_greedily(*padded(clips)) == expected
    assert len(set(map(tuple, expected))) > 2


def test_greedy_merges_repeats_but_not_across_blanks() -> None:
    path = torch.tensor([[0, 2, 2, 0, 2, 3, 3, 1], [0, 0, 0, 0, 0, 0, 0, 0]])
    scores = torch.nn.functional.one_hot(path, 4).float()
    assert decode_greedily(scores, torch.tensor([8, 8])) == [[2, 2, 3, 1], []]
    assert decode_greedily(scores, torch.tensor([3, 0])) == [[2], []]


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_finds_every_labelling_and_its_probability(seed: int) -> None:
    scores = log_probabilities(5, seed=seed)
    expected = labellings(scores)
    found = BeamSearch(ALPHABET, width=10**6, floor=0).hypotheses(scores)
    assert {hypothesis.symbols: hypothesis.score for hypothesis in found} == pytest.approx(expected, rel=1e-5)
    scores_found = [hypothesis.score for hypothesis in found]
    assert scores_found == sorted(scores_found, reverse=True)
    assert math.log(sum(math.exp(hypothesis.score) for hypothesis in found)) == pytest.approx(0, abs=1e-5)


def test_the_best_labelling_is_not_that_of_the_best_path() -> None:
    """Graves's example: blank 0.6 and a 0.4 twice: the path of blanks has 0.36, the labelling a has 0.64."""
    scores = np.log(np.array([[0.6, 1e-9, 0.4, 1e-9]] * 2, dtype=np.float32))
    batch, frames = torch.from_numpy(scores)[None], torch.tensor([2])
    assert decode_greedily(batch, frames) == [[]]
    beam = BeamSearch(ALPHABET, width=4)
    assert beam(batch, frames) == [[2]]
    assert beam.hypotheses(scores)[0].score == pytest.approx(math.log(0.64))


def test_a_batch_is_decoded_clip_by_clip() -> None:
    clips = [log_probabilities(frames, seed=seed) for seed, frames in enumerate([6, 2, 4])]
    expected = [list(max(found, key=lambda symbols: found[symbols])) for found in map(labellings, clips)]
    assert BeamSearch(ALPHABET, width=200, floor=0)(*padded(clips)) == expected
    assert BeamSearch(ALPHABET)(torch.zeros(1, 3, 4), torch.tensor([0])) == [[]]


def fused(model: NGramModel, symbols: Sequence[int], score: float, alpha: float, beta: float) -> float:
    spoken = "".join(ALPHABET[symbol] for symbol in symbols).split()
    return score + alpha * math.log(10) * score_sentence(model, spoken) + beta * len(spoken)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_fusion_with_a_language_model_is_that_of_an_exhaustive_search(order: int, seed: int) -> None:
    model, alpha, beta = estimate_ngrams(["a b a", "ab b", "b a ab", "a b"], order), 0.7, 1.3
    scores = log_probabilities(6, seed=seed)
    expected = {symbols: fused(model, symbols, score, alpha, beta) for symbols, score in labellings(scores).items()}
    beam = BeamSearch(ALPHABET, 10**6, model, alpha, beta, floor=0)
    found = beam.hypotheses(scores)
    assert {hypothesis.symbols: hypothesis.score for hypothesis in found} == pytest.approx(expected, rel=1e-5)
    assert found[0].symbols == max(expected, key=lambda symbols: expected[symbols])


def test_a_language_model_turns_what_sounds_alike() -> None:
    """`b a` and `b b` are equally likely to the ear; the model has heard only the former, and a beam of 2 keeps it."""
    frames = [[0, 0, 0, 9], [0, 9, 0, 0], [0, 0, 9, 9], [9, 0, 0, 0]]
    scores = torch.tensor(frames, dtype=torch.float32).log_softmax(1)[None]
    lengths = torch.tensor([4])
    heard = BeamSearch(ALPHABET, 2, estimate_ngrams(["b a"] * 3, 2), alpha=1.0)
    assert heard(scores, lengths) == [[3, 1, 2]]
    assert BeamSearch(ALPHABET, 2, estimate_ngrams(["b b"] * 3, 2), alpha=1.0)(scores, lengths) == [[3, 1, 3]]


def test_unlikely_symbols_are_passed_over() -> None:
    scores = np.log(np.array([[0.0005, 0.0005, 0.999, 1e-6], [0.0005, 0.0005, 1e-6, 0.999]], dtype=np.float32))
    found = BeamSearch(ALPHABET, width=16, floor=1e-3).hypotheses(scores)
    assert [hypothesis.symbols for hypothesis in found] == [(2, 3)]
    flat = np.log(np.full((2, 4), 0.25, dtype=np.float32))
    assert BeamSearch(ALPHABET, width=3, floor=0.9).hypotheses(flat)  # the likeliest stays, however unlikely


def test_a_language_model_needs_a_space() -> None:
    with pytest.raises(ValueError, match="the alphabet has no space, so a language model of words finds none to score"):
        BeamSearch(("<blank>", "a"), language_model=estimate_ngrams(["a"], 1))


@pytest.mark.parametrize("symbols", [[2], [2, 3], [2, 2], [3, 1, 2], [2, 3, 3], [1, 2, 3, 2]])
@pytest.mark.parametrize("seed", range(3))
def test_spans_lie_on_the_likeliest_path_with_that_labelling(symbols: list[int], seed: int) -> None:
    scores = log_probabilities(5, seed=seed)
    best, score = max(
        ((path, score) for path, score in paths(scores) if labelling(path) == tuple(symbols)), key=lambda path: path[1]
    )
    found = align_symbols(scores, symbols)
    path = [0] * 5
    for symbol, span in zip(symbols, found, strict=True):
        path[span.first : span.end] = [symbol] * (span.end - span.first)
    assert tuple(path) == best
    blanks = sum(scores[frame, 0] for frame, symbol in enumerate(path) if symbol == 0)
    assert blanks + sum(span.log_probability * (span.end - span.first) for span in found) == pytest.approx(score)


def test_spans_of_nothing_and_of_too_much() -> None:
    scores = log_probabilities(3)
    assert align_symbols(scores, []) == []
    assert align_symbols(scores[:0], []) == []
    assert count_needed_frames([2, 2, 3]) == 4
    assert count_needed_frames([]) == 0
    with pytest.raises(ValueError, match="3 symbols need 4 frames, found 3"):
        align_symbols(scores, [2, 2, 3])


def test_words_stand_between_spaces() -> None:
    def span(first: int, end: int, probability: float = 0.5) -> SymbolSpan:
        return SymbolSpan(first, end, math.log(probability))

    symbols = [1, 2, 3, 1, 1, 3]
    where = [span(0, 1), span(2, 4, 0.4), span(4, 5, 0.9), span(5, 6), span(7, 8), span(9, 12, 0.3)]
    found = group_words(symbols, where, ALPHABET)
    assert [word._replace(confidence=0) for word in found] == [Word("ab", 2, 5, 0), Word("b", 9, 12, 0)]
    assert [word.confidence for word in found] == pytest.approx([0.6, 0.3])
    assert group_words([], [], ALPHABET) == []
    assert group_words([1], [span(0, 1)], ALPHABET) == []
