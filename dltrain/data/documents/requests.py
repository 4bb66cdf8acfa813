"""Texts in requests to `dltrain serve`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dltrain.errors import DataError


class TextForm:
    """A text."""

    text = "a text"
    example = "How do I open a file?"
    suffixes = (".txt", ".csv", ".tsv", ".jsonl")

    def __init__(self, assets: Mapping[str, Any]) -> None:
        self._column = assets["text"]

    def convert(self, value: Any) -> Any:
        if isinstance(value, dict):
            value = value.get(self._column, value)
        if not isinstance(value, str):
            advice = f'give a text, or an object such as {{"{self._column}": "..."}}'
            raise DataError(f"found {type(value).__name__}; expected is a text", advice=advice)
        return value
