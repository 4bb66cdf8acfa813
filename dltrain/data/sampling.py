"""Which training examples an epoch uses: each of them once, or as many of each class."""

from __future__ import annotations

from typing import Any, Literal

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltrain.runtime.seeds import draw_permutation, make_generator

Sampling = Literal["shuffled", "balanced"]


def draw_examples(sampling: Sampling, targets: Tensor, seed: int, epoch: int) -> Tensor:
    """The training examples of an epoch in their order, (N,) int64, as many as there are; see `draw_balanced`."""
    count = len(targets)
    if sampling == "shuffled":
        return draw_permutation(seed, epoch, n=count)
    return draw_balanced(targets, seed, epoch) % count


def draw_balanced(targets: Tensor, seed: int, epoch: int) -> Tensor:
    """Draw N of the examples that have the classes `targets` (N,), each class equally often, (N,) int64.

    Every number is `example + N * k` for the (k+1)-th time that this example is drawn. The examples of a class take
    turns: none is drawn again before all others have been, and a class with more examples than its share leaves some
    out, other ones in each epoch. The classes' shares differ by one example at most.
    """
    count = len(targets)
    classes = torch.unique(targets)
    draw = make_generator("balanced", seed, epoch)
    share, left = divmod(count, len(classes))
    larger = set(torch.randperm(len(classes), generator=draw)[:left].tolist())
    parts = []
    for number, one in enumerate(classes):
        members = (targets == one).nonzero()[:, 0]
        wanted = share + (number in larger)
        rounds = -(-wanted // len(members))
        orders = torch.rand(rounds, len(members), generator=draw, dtype=torch.float64).argsort(1)
        repeats = count * torch.arange(rounds)[:, None]
        parts.append((members[orders] + repeats).view(-1)[:wanted])
    return torch.cat(parts)[draw_permutation(seed, epoch, n=count)]


def describe_classes(targets: NDArray[Any] | Tensor, classes: int, sampling: Sampling) -> dict[str, Any]:
    """The assets that a classifier's weights need: the training examples of each class, and how they are sampled."""
    counts = numpy.bincount(numpy.asarray(targets), minlength=classes).tolist()
    return {"class_counts": counts, **({} if sampling == "shuffled" else {"sampling": sampling})}
