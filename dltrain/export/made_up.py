"""Inputs of the right form that mean nothing, for where the data is not at hand."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dltrain.batch import Batch, Examples
from dltrain.data.documents.batches import Documents
from dltrain.data.speech.batches import Utterances
from dltrain.data.text.passages import Passages
from dltrain.runtime.seeds import generator

EXAMPLES, STEPS = 8, 24


def made_up(kind: str, sizes: Mapping[str, int], seed: int) -> Batch | None:
    """A batch for a kind of data and a task's sizes; None for a kind that only a plug-in knows.

    Normalised numbers are drawn from the standard normal distribution, tokens evenly, lengths evenly too.
    """
    draw = generator("made up", seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(EXAMPLES, *shape, generator=draw)

    def tokens(*shape: int) -> Tensor:
        return torch.randint(sizes["vocabulary"], shape, generator=draw)

    unknown = torch.zeros(EXAMPLES, dtype=torch.int64)
    lengths = torch.randint(1, STEPS + 1, (EXAMPLES,), generator=draw)
    lengths[0] = STEPS
    inside = torch.arange(STEPS) < lengths[:, None]
    if kind == "images":
        return Examples(normal(sizes["image_channels"], sizes["height"], sizes["width"]), unknown)
    if kind == "table":
        return Examples(normal(sizes["inputs"]), unknown)
    if kind == "series":
        return Examples(normal(sizes["window"], sizes["channels"]), unknown)
    if kind == "documents":
        return Documents(tokens(EXAMPLES, STEPS) * inside, lengths, unknown)
    if kind == "text":
        return Passages(tokens(STEPS, EXAMPLES), tokens(STEPS, EXAMPLES), STEPS * EXAMPLES, continues=True)
    if kind == "speech":
        features = normal(STEPS, sizes["bands"]) * inside[:, :, None]
        return Utterances(features, lengths, unknown[:, None], unknown, torch.arange(EXAMPLES), EXAMPLES)
    return None
