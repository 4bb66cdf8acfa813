"""The bare training loop that `dltrain fit` is timed against on text: a stacked LSTM, plain SGD, fp32.

Trains the model of Zaremba et al. 2014 (arXiv:1409.2329) without dropout on one text file of words, whose last tenth of
the lines is the validation set, and evaluates after each epoch::

    python -m bench.language_loop TEXT --units 200 --epochs 3    # one JSON line per epoch

`write_text` makes such a file: random words, with as many distinct ones as Penn Treebank.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COLUMNS, STEPS, LAYERS, WORDS = 20, 20, 2, 10_000


class Epoch(NamedTuple):
    """Seconds of training and evaluation together, and the mean losses in nats per token."""

    seconds: float
    training_loss: float
    validation_loss: float


def write_text(path: Path, lines: int) -> None:
    """Write lines of 20 words with frequencies proportional to 1/rank, after each of the 10,000 words once."""
    draw = random.Random(0)
    words = [f"w{number}" for number in range(WORDS - 1)]  # the end of a line is the last word
    weights = [1 / (rank + 1) for rank in range(len(words))]
    chosen = words + draw.choices(words, weights, k=20 * lines - len(words))
    path.write_text("".join(" ".join(chosen[start : start + 20]) + "\n" for start in range(0, len(chosen), 20)))


class Network(nn.Module):
    """Torch's own two-layer LSTM between an embedding and a softmax."""

    def __init__(self, words: int, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, units)
        self.lstm = nn.LSTM(units, units, LAYERS)
        self.output = nn.Linear(units, words)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def forward(self, tokens: Tensor, targets: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, object]:
        features, state = self.lstm(self.embedding(tokens), state)
        return F.cross_entropy(self.output(features.flatten(0, 1)), targets.flatten()), state


def in_columns(tokens: Tensor, columns: int) -> Tensor:
    rows = len(tokens) // columns
    return tokens[: rows * columns].view(columns, rows).t().contiguous()


def read(path: Path) -> tuple[Tensor, Tensor, int]:
    """Training and validation tokens in columns, and the number of words."""
    lines = path.read_text().splitlines()
    held_out = len(lines) // 10
    known: dict[str, int] = {}
    splits = []
    for part in (lines[:-held_out], lines[-held_out:]):
        tokens = [known.setdefault(word, len(known)) for line in part for word in [*line.split(), "<eos>"]]
        splits.append(torch.tensor(tokens))
    return in_columns(splits[0], COLUMNS), in_columns(splits[1], 10), len(known)


def epoch(network: Network, optimizer: torch.optim.Optimizer, training: Tensor, validation: Tensor) -> Epoch:
    start = time.perf_counter()
    network.train()
    loss_sum, state = torch.zeros(()), None
    windows = range(0, len(training) - 1, STEPS)
    for first in windows:
        targets = training[first + 1 : first + 1 + STEPS]
        loss, state = network(training[first : first + len(targets)], targets, state)
        optimizer.zero_grad()
        loss.backward()
        state = tuple(part.detach() for part in state)
        nn.utils.clip_grad_norm_(network.parameters(), 0.25)
        optimizer.step()
        loss_sum += loss.detach()
    network.eval()
    nats, state = torch.zeros(()), None
    with torch.no_grad():
        for first in range(0, len(validation) - 1, STEPS):
            targets = validation[first + 1 : first + 1 + STEPS]
            loss, state = network(validation[first : first + len(targets)], targets, state)
            nats += loss * targets.numel()
    count = validation[1:].numel()
    return Epoch(time.perf_counter() - start, float(loss_sum) / len(windows), float(nats) / count)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the bare loop.")
    parser.add_argument("text", type=Path)
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # What dltrain does for its own process: glibc keeps freed blocks, without which every step pays page faults.
    from dltrain.runtime.memory import keep_freed_blocks

    keep_freed_blocks()
    training, validation, words = read(arguments.text)
    torch.manual_seed(0)
    network = Network(words, arguments.units)
    optimizer = torch.optim.SGD(network.parameters(), lr=20.0, fused=True)
    for _ in range(arguments.epochs):
        sys.stdout.write(json.dumps(epoch(network, optimizer, training, validation)._asdict()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
