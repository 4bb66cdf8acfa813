"""Folders of pictures, one for each class: where the splits lie, and what is in them. No file is opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.images.pictures import SUFFIXES
from dltrain.errors import DataError

Split = Literal["training", "validation", "test"]
NAMES: Mapping[Split, tuple[str, ...]] = {
    "training": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
"""What a split's folder may be called, under the root."""


class Listing(NamedTuple):
    """The pictures under a folder, by name: `names` (N) are CLASS/... with slashes, `labels` (N,) int64 their classes.

    `ignored` are files that are no pictures, or that lie in no class's folder.
    """

    folder: Path
    names: Sequence[str]
    labels: NDArray[numpy.int64]
    classes: Sequence[str]
    ignored: Sequence[str]

    def digest(self) -> str:
        """SHA-256 of the names."""
        return hashlib.sha256("\n".join(self.names).encode("utf-8", "surrogateescape")).hexdigest()


def split_folders(root: Path) -> dict[Split, Path]:
    """The folder of each split that has one; `training` is ROOT itself where ROOT/train is not there.

    Raises DataError without a root, or for folders of other splits beside no ROOT/train.
    """
    if not root.is_dir():
        raise DataError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}", advice=ways_out(root))
    found = {
        split: root / next(name for name in names if (root / name).is_dir())
        for split, names in NAMES.items()
        if any((root / name).is_dir() for name in names)
    }
    if found and "training" not in found:
        others = " and ".join(path.name for path in found.values())
        raise DataError(f"{root}: has the folder {others}, but not train", advice=ways_out(root))
    return found or {"training": root}


def ways_out(root: Path) -> str:
    """What a user without the folders can do."""
    return (
        f"put one folder of pictures for each class into {root / 'train'} and {root / 'test'}, or into {root} "
        "itself, or set data.root to the folder that has them, or train on a sample instead "
        "(data.when_missing=sample, or --sample)"
    )


def list_pictures(folder: Path, known: Sequence[str] | None = None) -> Listing:
    """The pictures of each class under `folder`, deeply, in the order of their names.

    Names that begin with a dot are passed over. The classes are `known`, or those that the folder has. Raises DataError
    for fewer than two classes, for a class without pictures, and for classes that are not `known`.
    """
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found = [path.name for path in inside if path.is_dir()]
    ignored = [path.name for path in inside if not path.is_dir()]
    classes = found if known is None else known
    if known is None and len(found) < 2:
        raise DataError(f"{folder}: {_too_few(found, ignored)}; needed is one folder for each of two or more classes")
    strangers = [name for name in found if name not in classes]
    if strangers:
        raise DataError(
            f"{folder}: the training pictures have no class {_some(strangers)}; they have {_some(classes)}",
            advice="take that folder away, or put pictures of the class into the training folder and train anew",
        )
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = _files(folder / name)
        pictures = [file for file in files if _is_picture(file)]
        if known is None and not pictures:
            others = f", only {len(files)} other files such as {files[0]}" if files else ""
            raise DataError(
                f"{folder / name}: no picture of this class{others}; allowed are {', '.join(SUFFIXES)}",
                advice="add some, or remove the folder",
            )
        names += [f"{name}/{file}" for file in pictures]
        labels += [label] * len(pictures)
        ignored += [f"{name}/{file}" for file in files if not _is_picture(file)]
    return Listing(folder, names, numpy.array(labels, numpy.int64), classes, ignored)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _files(folder: Path) -> list[str]:
    """All files under a folder, by their names from there; nothing that is hidden."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def _too_few(classes: Sequence[str], files: Sequence[str]) -> str:
    if classes:
        return f"only one class, {classes[0]}"
    pictures = sum(map(_is_picture, files))
    return "no classes" + (f", but {pictures} pictures that lie in no class's folder" if pictures else "")


def _some(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
