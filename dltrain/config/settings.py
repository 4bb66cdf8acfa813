"""Settings as a Python program gives them: keyword arguments become a tree of a config."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

SHORTHANDS = {
    "epochs": "trainer.epochs",
    "device": "trainer.device",
    "lr": "optimizer.learning_rate",
    "learning_rate": "optimizer.learning_rate",
    "batch_size": "data.batch_size",
}
"""Names of settings that everyone uses, and the options that they stand for."""


def nest_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of settings by name: a section, a shorthand, or a path with dots or double underscores.

    ``{"epochs": 2, "model__hidden": [8], "data": {"workers": 1}}`` sets three options of three sections.
    """
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        *sections, option = SHORTHANDS.get(name, name.replace("__", ".")).split(".")
        inner = tree
        for section in sections:
            held = inner.get(section)
            inner[section] = {"name": held} if isinstance(held, str) else held if isinstance(held, dict) else {}
            inner = inner[section]
        plain = make_plain(value)
        held = inner.get(option)
        inner[option] = {**held, **plain} if isinstance(held, dict) and isinstance(plain, dict) else plain
    return tree


def make_plain(value: Any) -> Any:
    """A value as YAML has it: paths as texts, tuples as lists, numbers of NumPy's as Python's."""
    if isinstance(value, Mapping):
        return {str(name): make_plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [make_plain(each) for each in value]
    if isinstance(value, PathLike):
        return fspath(value)
    return value.item() if hasattr(value, "item") and not isinstance(value, str) else value
