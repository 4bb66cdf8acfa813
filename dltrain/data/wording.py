"""Parts of messages that name some of many things."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from dltrain.escaping import keep_on_line


def join_some(names: Sequence[str], limit: int, separator: str = ", ") -> str:
    """Join up to `limit` names, each kept on the line, and say how many more there are."""
    shown = separator.join(map(keep_on_line, names[:limit]))
    if len(names) <= limit:
        return shown
    return f"{shown}{' ' if separator == ', ' else separator}and {len(names) - limit} more"


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Return a line that asks whether the nearest of the known names was meant; empty if none is near."""
    near = get_close_matches(name, list(known), 1)
    return f"\ndid you mean '{near[0]}'?" if near else ""
