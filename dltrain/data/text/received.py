"""Passages of a text as a model receives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dltrain.batch import NO_TARGET
from dltrain.data.text.passages import Passages
from dltrain.dataset import ReceivedExample


def describe_passages(assets: Mapping[str, Any], batch: Passages) -> list[ReceivedExample]:
    """The tokens that each passage predicts, after the one that precedes them."""
    words, between = assets["words"], " " if assets["unit"] == "word" else ""
    described = []
    for inputs, targets in zip(batch.inputs.T.tolist(), batch.targets.T.tolist(), strict=True):
        scored = [token for token in targets if token != NO_TARGET]
        values = {"after": words[inputs[0]], "tokens": between.join(words[token] for token in scored)}
        described.append(ReceivedExample(values={**values, "length": len(scored)}))
    return described
