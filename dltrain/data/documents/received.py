"""Texts as a model receives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dltrain.data.documents.batches import Documents
from dltrain.dataset import ReceivedExample


def describe_documents(assets: Mapping[str, Any], batch: Documents) -> list[ReceivedExample]:
    """The tokens of each text, unknown ones as `<unk>`, their number, and the label."""
    words, between = assets["words"], " " if assets["unit"] == "word" else ""
    rows = zip(batch.tokens.tolist(), batch.lengths.tolist(), batch.targets.tolist(), strict=True)
    return [
        ReceivedExample(
            values={
                "tokens": between.join(words[token] for token in tokens[:length]),
                "length": length,
                "label": assets["labels"][target],
            }
        )
        for tokens, length, target in rows
    ]
