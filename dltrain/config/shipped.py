"""The configs and recipes that come with dltrain, found by name from any folder.

They are in the folders `configs` and `recipes` of the source, which the package contains (there as symbolic links).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dltrain

CONFIGS = Path(dltrain.__file__).parent / "configs"
RECIPES = CONFIGS.with_name("recipes")
SUFFIXES = ("", ".yaml", ".yml")
"""How a shipped config may be named."""
HELPERS = ("train_and_require",)
"""Programs among the recipes that others call."""


@dataclass(frozen=True)
class Shipped:
    """A config or a recipe of the package; `summary` is the first sentence of the comment at its start."""

    name: str
    path: Path
    summary: str


def list_shipped() -> list[Shipped]:
    """The configs, by name."""
    return [_describe_file(path) for path in sorted(CONFIGS.glob("*.yaml"))]


def list_recipes() -> list[Shipped]:
    """The recipes, by name: shell scripts that train and evaluate."""
    files = [path for path in sorted(RECIPES.glob("*")) if path.is_file() and not path.suffix]
    return [_describe_file(path) for path in files if path.name not in HELPERS]


def list_shipped_names() -> list[str]:
    """The names of the configs, without reading them."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def find_shipped(name: str) -> Path | None:
    """The config called `name`, with or without its suffix; None where no config that comes with dltrain is."""
    path = Path(name)
    if path.name != name or path.suffix not in SUFFIXES:
        return None
    found = CONFIGS / f"{path.stem}.yaml"
    return found if found.is_file() else None


def find_recipe(name: str) -> Path | None:
    """The recipe called `name`; None where there is none."""
    return next((recipe.path for recipe in list_recipes() if recipe.name == name), None)


def resolve_config(path: Path) -> Path:
    """`path`, or the shipped config that it names where it is no file."""
    return path if path.is_file() else find_shipped(str(path)) or path


_END = re.compile(r"(?<=\.)(?<! al\.) (?=[A-Z]|bf16)|: (?=[A-Z]+=|`)| Usage: ")
"""What ends the first sentence: a full stop, or an example or the usage after it."""


def _describe_file(path: Path) -> Shipped:
    comment = " ".join(_read_comment(path.read_text(encoding="utf-8")))
    return Shipped(path.stem, path, f"{_END.split(comment)[0].rstrip('.')}.")


def _read_comment(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        if not line.startswith("#!"):
            yield line.removeprefix("#").strip()
