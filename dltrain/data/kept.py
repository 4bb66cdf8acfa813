"""Columns of the user's tables that `predict --keep` repeats beside the predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dltrain.data.wording import join_some, suggest_name
from dltrain.errors import DataError

_NAMED = 20


def list_kept_cells(
    columns: Mapping[str, Iterable[Any]], keep: Sequence[str], source: str, rows: int
) -> list[dict[str, str]]:
    """The cells of the columns `keep` as text, row by row. Raises DataError where the table lacks one of them."""
    for name in keep:
        if name not in columns:
            raise DataError(
                f"{source}: has no column '{name}' to keep; its columns are {join_some(list(columns), _NAMED)}"
                f"{suggest_name(name, columns)}",
                advice="correct --keep",
            )
    if not keep:
        return [{} for _ in range(rows)]
    return [
        dict(zip(keep, map(str, cells), strict=True)) for cells in zip(*(columns[name] for name in keep), strict=True)
    ]
