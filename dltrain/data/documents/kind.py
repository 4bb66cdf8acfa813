"""The kind of data "documents": padded tokens (N, T) and lengths (N,)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dltrain.kinds import BATCH, LENGTH, Kind, register

if TYPE_CHECKING:
    from torch import Generator

    from dltrain.batch import Batch


def synthetic(sizes: Mapping[str, int], draw: Generator) -> Batch:
    import torch

    from dltrain.data.documents.batches import Documents
    from dltrain.data.synthetic import EXAMPLES, STEPS, random_lengths

    lengths = random_lengths(draw)
    tokens = torch.randint(sizes["vocabulary"], (EXAMPLES, STEPS), generator=draw)
    inside = torch.arange(STEPS) < lengths[:, None]
    return Documents(tokens * inside, lengths, torch.zeros(EXAMPLES, dtype=torch.int64))


register(
    Kind(
        name="documents",
        axes=((BATCH, LENGTH), (BATCH,)),
        reader="dltrain.data.documents.reader:TextReader",
        singular="text",
        plural="texts",
        preparation=(
            "a token's number is its place in assets.words; assets.unit, lowercase and punctuation say what a token is",
            "at most assets.max_tokens; a shorter text ends with <eos>; unknown ones are assets.unknown, or left out",
            "tokens are 0 after each text's end, lengths the number of its own",
            "in Python: dltrain.data.documents.batches.DocumentEncoder(assets)",
        ),
        synthetic=synthetic,
    )
)
