"""Synthetic batches of the right shapes and no meaning, for exports where the data is not available."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from dltrain.batch import Examples

EXAMPLES, STEPS = 8, 24


def make_images(sizes: Mapping[str, int], draw: Generator) -> Examples:
    return _make_normal_examples(draw, sizes["image_channels"], sizes["height"], sizes["width"])


def make_rows(sizes: Mapping[str, int], draw: Generator) -> Examples:
    return _make_normal_examples(draw, sizes["inputs"])


def make_windows(sizes: Mapping[str, int], draw: Generator) -> Examples:
    """Windows (EXAMPLES, rows, channels); float64 where the task names `rows`, for windows relative to themselves."""
    if "rows" not in sizes:
        return _make_normal_examples(draw, sizes["window"], sizes["channels"])
    examples = _make_normal_examples(draw, sizes["rows"], sizes["channels"])
    return Examples(examples.inputs.double(), examples.targets)


def _make_normal_examples(draw: Generator, *shape: int) -> Examples:
    """Standard normal inputs (EXAMPLES, *shape) float32, and targets 0."""
    return Examples(torch.randn(EXAMPLES, *shape, generator=draw), torch.zeros(EXAMPLES, dtype=torch.int64))


def random_lengths(draw: Generator) -> Tensor:
    """Lengths (EXAMPLES,) int64 of sequences, even in 1..STEPS; the first one is STEPS."""
    lengths = torch.randint(1, STEPS + 1, (EXAMPLES,), generator=draw)
    lengths[0] = STEPS
    return lengths
