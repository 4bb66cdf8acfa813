"""Configs and runs that are at hand, found without reading them."""

from __future__ import annotations

import os
from collections.abc import Iterator

RUNS = "runs"
YAML = (".yaml", ".yml")


def list_configs_here(folders: tuple[str, ...] = ("", "configs")) -> list[str]:
    """The YAML files in the working directory and in its folder `configs`."""
    return [path for folder in folders for path, entry in _scan(folder) if entry.name.endswith(YAML)]


def list_runs_here(folder: str = RUNS) -> list[str]:
    """The run directories in a folder, the newest first, and those of seeds, folds and trials after their parents."""
    inside = [(path, entry) for path, entry in _scan(folder) if entry.is_dir()]
    inside.sort(key=lambda each: each[1].stat().st_mtime, reverse=True)
    return [run for path, _ in inside for run in ([path] if is_run(path) else _list_members(path))]


def is_run(path: str) -> bool:
    return os.path.isdir(os.path.join(path, "checkpoints"))  # noqa: PTH112, PTH118 - pathlib takes 10 ms to import


def _list_members(parent: str) -> list[str]:
    return [path for path, entry in _scan(parent) if entry.is_dir() and is_run(path)]


def _scan(folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The visible entries of a folder with their paths, by name; none where it cannot be read."""
    try:
        entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if not entry.name.startswith("."):
            yield os.path.join(folder, entry.name), entry  # noqa: PTH118
