"""Windows of a series as a model receives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dltrain.batch import Examples
from dltrain.dataset import ReceivedExample


def describe_windows(assets: Mapping[str, Any], batch: Examples) -> list[ReceivedExample]:
    """The values of each column in a window, and those to predict; the window (T, columns) is drawn."""
    described = []
    for window, target in zip(batch.inputs, batch.targets, strict=True):
        values = {name: column.tolist() for name, column in zip(assets["columns"], window.T, strict=True)}
        described.append(ReceivedExample(values={**values, "to predict": target.tolist()}, picture=window))
    return described
