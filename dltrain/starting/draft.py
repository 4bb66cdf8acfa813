"""A config drafted for someone's own files: what was found in them, and the settings that train on them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dltrain.config.document import format_yaml

FileKind = Literal["table", "series", "texts", "text", "images", "audio"]
KINDS: Mapping[FileKind, str] = {
    "table": "a table (.csv, .tsv, .jsonl, plain or .gz, .parquet, .npz) with a column to predict",
    "series": "the same with a time column, rows oldest first: forecasts",
    "texts": "labelled texts: a table with a column of texts and one of labels, or folders of .txt files by class",
    "text": "a text, or a folder of texts (.txt, plain or .gz): a language model",
    "images": "a folder of pictures for each class, also in train, val and test folders; or IDX files as of MNIST",
    "audio": "a Common Voice release, or sound files with a table of their transcripts",
}
"""What can be drafted for, with what its files are."""

MOST_UP = 3
"""Folders up beyond which a path is written as absolute."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The settings of a config, whose paths are `Path`, with comments by their dotted names, and what was found.

    `title` says what is trained, `name` what the config's file can be called. `facts` are lines about the files;
    `columns` the rows of a table about their columns, the head first; `doubts` what the user should look at.
    """

    kind: FileKind
    name: str
    title: str
    settings: Mapping[str, Any]
    comments: Mapping[str, str] = field(default_factory=dict)
    facts: Sequence[str] = ()
    columns: Sequence[Sequence[str]] = ()
    doubts: Sequence[str] = ()

    def place(self, folder: Path) -> dict[str, Any]:
        """The settings for a config in a folder: paths are relative to it."""
        placed: dict[str, Any] = _place(self.settings, folder.absolute())
        return placed

    def format(self, folder: Path, command: str, following: str) -> str:
        """The config as commented YAML, for a file in `folder`; `command` wrote it, `following` uses it."""
        lines = [f"{self.title[:1].upper()}{self.title[1:]}.", f"Written by `{command}`; next: {following}"]
        if self.facts:
            lines += ["", *self.facts]
        if self.columns:
            lines += ["", *align_rows(self.columns)]
        if self.doubts:
            lines += ["", "To look at:", *(f"- {doubt}" for doubt in self.doubts)]
        remarks = "".join(f"# {line}".rstrip() + "\n" for line in lines)
        return f"{_UNPRINTED.sub(' ', remarks)}\n{format_yaml(self.place(folder), self.comments)}"


_UNPRINTED = re.compile(r"[^\n\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]")
"""What YAML does not allow, or what would end a comment."""


def align_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of aligned columns, the last one of any length."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]


def _place(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return locate_path(value, folder)
    if isinstance(value, Mapping):
        return {key: _place(each, folder) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_place(each, folder) for each in value]
    return value


def locate_path(path: Path, folder: Path) -> str:
    """A path as it is written in a config in `folder`: relative to it, unless it is far away."""
    absolute = _normalize(path)
    relative = os.path.relpath(absolute, folder)
    return str(absolute) if Path(relative).parts.count("..") > MOST_UP else relative


def _normalize(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def make_name(path: Path) -> str:
    """A name for a config from that of its data: letters, digits, dots, dashes and underscores."""
    name = _normalize(path).name.removesuffix(".gz")
    stem = Path(name).stem if path.is_file() else name
    return re.sub(r"[^\w.-]+", "_", stem).strip("._-") or "experiment"


def count(number: int, unit: str) -> str:
    """A number with its unit, thousands separated: 1,460 rows."""
    irregular = {"series": "series", "class": "classes", "category": "categories", "entry": "entries"}
    many = irregular.get(unit, f"{unit}s")
    return f"{number:,} {unit if number == 1 else many}"


def join_names(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def keep_given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that have a value."""
    return {name: value for name, value in settings.items() if value is not None and value != []}


def describe_classes(classes: Mapping[str, int], limit: int = 8) -> str:
    """The classes with their numbers of examples, the most frequent first."""
    ranked = sorted(classes.items(), key=lambda each: -each[1])
    shown = ", ".join(f"{name} {number:,}" for name, number in ranked[:limit])
    return shown + (f" and {len(ranked) - limit} more" if len(ranked) > limit else "")


IMBALANCED = 5
"""How many times as frequent as the rarest class the most common one is, from which accuracy says little."""


def is_imbalanced(classes: Mapping[str, int]) -> bool:
    return len(classes) > 1 and max(classes.values()) >= IMBALANCED * min(classes.values())


def balance_task(name: str, classes: Mapping[str, int]) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings of a task of several classes, and their comments: what decides where some classes are rare."""
    if not is_imbalanced(classes):
        return {"name": name}, {}
    most, least = max(classes, key=lambda each: classes[each]), min(classes, key=lambda each: classes[each])
    ratio = classes[most] / classes[least]
    comments = {
        "task.class_weights": f"'{most}' is {ratio:.0f} times as frequent as '{least}': all classes weigh alike",
        "task.goal": "accuracy would say little about rare classes",
    }
    return {"name": name, "class_weights": "balanced", "goal": "macro_f1"}, comments


def list_rare(classes: Mapping[str, int], unit: str, least: int = 10) -> Iterator[str]:
    """A doubt about classes that have too few examples to learn from, and to be in each split."""
    rare = {name: number for name, number in classes.items() if number < least}
    if rare:
        yield f"fewer than {least} {unit} of {describe_classes(rare, 5)}: add some, or join classes"


def choose_epochs(steps: int, updates: int, least: int, most: int) -> int:
    """The epochs that make about so many updates, of `steps` in an epoch, rounded to two digits."""
    epochs = max(least, min(most, round(updates / max(1, steps))))
    return epochs if epochs < 10 else int(round(epochs, -1)) if epochs > 30 else int(5 * round(epochs / 5))
