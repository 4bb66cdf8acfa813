"""Batches in parts: together they are the batch."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from dltrain.batch import Batch, Examples, divide_batch
from dltrain.data.documents.batches import Documents
from dltrain.data.speech.batches import Utterances


def make_batches() -> list[Batch]:
    draw = torch.Generator().manual_seed(0)
    numbers, weights = torch.randn(7, 3, generator=draw), torch.rand(7, generator=draw)
    tokens, lengths = torch.randint(1, 9, (7, 5), generator=draw), torch.randint(1, 6, (7,), generator=draw)
    return [
        Examples(numbers, torch.arange(7)),
        Examples(numbers, numbers[:, :1], weights),
        Documents(tokens, lengths, torch.arange(7), weights),
        Utterances(numbers[:, :, None], lengths, tokens, lengths, torch.arange(7), count=int(lengths.sum())),
    ]


@pytest.mark.parametrize("parts", [1, 2, 4, 7, 64])
@pytest.mark.parametrize("number", range(4))
def test_parts_have_the_examples_of_the_batch_in_order(number: int, parts: int) -> None:
    batch = make_batches()[number]
    pieces = divide_batch(batch, parts)
    assert len(pieces) == min(parts, 7)
    assert sum(piece.count for piece in pieces) == batch.count
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            assert torch.equal(torch.cat([getattr(piece, field.name) for piece in pieces]), value)
