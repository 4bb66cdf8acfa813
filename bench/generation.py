"""Tokens per second of generation, compared with a hand-written loop in the same process.

    python -m bench.generation

A language model of two LSTM layers with untrained weights and a vocabulary of 10,000 words, at 200 and at 650 units.
The bare loop runs `nn.LSTMCell`s with the same weights and samples with `torch.multinomial`. All take turns, so that a
slow second of the machine affects them all; a ratio is the median over the rounds.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor, nn

from dltrain.decoding.generation import generate_tokens
from dltrain.decoding.sampling import Sampling
from dltrain.models.language_rnn import RecurrentLanguageModel
from dltrain.runtime.memory import keep_freed_blocks

VOCABULARY, ROUNDS = 10_000, 21
THREADS = int(os.environ.get("THREADS", "2"))
STREAMS = 64


class Bare:
    """Two LSTM cells and a softmax, stepped by hand, sharing a model's weights: the place in memory matters too."""

    def __init__(self, model: RecurrentLanguageModel, units: int) -> None:
        self.embedding, self.output, self.units = model.embedding, model.output, units
        self.cells = [nn.LSTMCell(units, units) for _ in model.layers]
        for cell, layer in zip(self.cells, model.layers, strict=True):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                setattr(cell, name, getattr(layer, f"{name}_l0"))

    def write(self, tokens: int) -> list[int]:
        with torch.inference_mode():
            zero = torch.zeros(1, self.units)
            states: list[tuple[Tensor, Tensor]] = [(zero, zero) for _ in self.cells]
            token = torch.zeros(1, dtype=torch.int64)
            written = []
            for _ in range(tokens):
                hidden = self.embedding(token)
                for layer, cell in enumerate(self.cells):
                    states[layer] = cell(hidden, states[layer])
                    hidden = states[layer][0]
                token = torch.multinomial(self.output(hidden).softmax(1), 1)[:, 0]
                written.append(token.item())
        return written


def rate(write: Callable[[int], object], tokens: int) -> float:
    """Steps per second."""
    start = time.perf_counter()
    write(tokens)
    return tokens / (time.perf_counter() - start)


def ratio(some: list[float], others: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(some[1:], others[1:], strict=True))


def measure(units: int, tokens: int) -> bool:
    torch.manual_seed(0)
    model = RecurrentLanguageModel(VOCABULARY, hidden=units).eval()
    bare = Bare(model, units)

    def ours(streams: int, sampling: Sampling = Sampling()) -> Callable[[int], object]:
        def write(count: int) -> object:
            text = generate_tokens(
                model, (), end=0, device=torch.device("cpu"), sampling=sampling, samples=range(streams), seed=0
            )
            return list(islice(text, count))

        return write

    one, many = f"dltrain, 1 stream, {units}", f"dltrain, {STREAMS} streams, {units}"
    contestants: dict[str, tuple[Callable[[int], object], int, int]] = {
        "bare loop": (bare.write, tokens, 1),
        one: (ours(1), tokens, 1),
        many: (ours(STREAMS), tokens // 5, STREAMS),
        "  1 stream, greedy": (ours(1, Sampling(temperature=0)), tokens, 1),
        "  1 stream, <unk> banned": (ours(1, Sampling(banned=(1,))), tokens, 1),
        "  1 stream, top-k 40": (ours(1, Sampling(top_k=40)), tokens, 1),
        "  1 stream, top-p 0.9": (ours(1, Sampling(top_p=0.9)), tokens, 1),
        "  1 stream, repetition penalty": (ours(1, Sampling(repetition_penalty=1.2)), tokens, 1),
        f"  {STREAMS} streams, top-k 40": (ours(STREAMS, Sampling(top_k=40)), tokens // 5, STREAMS),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, (write, count, streams) in contestants.items():
            rates[name].append(rate(write, count) * streams)
    for name, values in rates.items():
        print(f"{name:<34} {statistics.median(values[1:]):8.0f} tokens/s")  # the first warms up
    beside_bare, beside_one = ratio(rates[one], rates["bare loop"]), ratio(rates[many], rates[one])
    met = beside_bare >= 0.9 and beside_one >= 10
    print(
        f"goal at 2 x {units}: one stream >= 0.9 x the bare loop ({beside_bare:.2f}), {STREAMS} streams >= 10 x one "
        f"({beside_one:.1f}): {'met' if met else 'MISSED'}"
    )
    return met


def main() -> int:
    keep_freed_blocks()
    torch.set_num_threads(THREADS)
    met = [measure(units, tokens) for units, tokens in ((200, 100), (650, 50))]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
