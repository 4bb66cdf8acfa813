"""Rows as a model receives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dltrain.batch import Examples
from dltrain.dataset import ReceivedExample


def describe_rows(assets: Mapping[str, Any], batch: Examples) -> list[ReceivedExample]:
    """The inputs of each row by name, and its target: a label, or numbers as the loss compares them."""
    labels = assets.get("labels")
    names = assets.get("target", {}).get("columns", ["target"])
    rows = []
    for inputs, target in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        targets = [target if labels is None else labels[target]] if not isinstance(target, list) else target
        values = {**dict(zip(assets["inputs"], inputs, strict=True)), **dict(zip(names, targets, strict=True))}
        rows.append(ReceivedExample(values=values))
    return rows
