"""Folders of pictures, one for each class: find the splits and list their files. No file is opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.images.pictures import SUFFIXES
from dltrain.data.reading import note_folder
from dltrain.data.wording import join_some
from dltrain.errors import DataError

Split = Literal["training", "validation", "test"]
NAMES: Mapping[Split, tuple[str, ...]] = {
    "training": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
"""Allowed names of a split's folder under the root."""


class Listing(NamedTuple):
    """The pictures under a folder, by name: `names` (N) are CLASS/... with slashes, `labels` (N,) int64 their classes.

    `ignored` are files that are no pictures, or in no class's folder.
    """

    folder: Path
    names: Sequence[str]
    labels: NDArray[numpy.int64]
    classes: Sequence[str]
    ignored: Sequence[str]

    def digest(self) -> str:
        """Compute the SHA-256 of the names."""
        return hashlib.sha256("\n".join(self.names).encode("utf-8", "surrogateescape")).hexdigest()


def split_folders(root: Path) -> dict[Split, Path]:
    """Find the folder of each split that has one; `training` is ROOT itself without ROOT/train.

    Raises DataError without a root, or for folders of other splits without ROOT/train.
    """
    if not root.is_dir():
        raise DataError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}", advice=advise_folders(root))
    note_folder(root)
    found = {
        split: root / next(name for name in names if (root / name).is_dir())
        for split, names in NAMES.items()
        if any((root / name).is_dir() for name in names)
    }
    if found and "training" not in found:
        others = " and ".join(path.name for path in found.values())
        raise DataError(f"{root}: has the folder {others}, but not train", advice=advise_folders(root))
    return found or {"training": root}


def advise_folders(root: Path) -> str:
    return (
        f"put one folder of pictures for each class into {root / 'train'} and {root / 'test'}, or into {root} "
        "itself, or set data.root to the folder that has them, or train on a sample instead "
        "(data.when_missing=sample, or --sample)"
    )


def list_pictures(folder: Path, known: Sequence[str] | None = None) -> Listing:
    """List the pictures of each class under `folder`, recursively, in the order of their names.

    Names that begin with a dot are skipped. The classes are `known`, or those of the folder. Raises DataError for
    fewer than two classes, for a class without pictures, and for classes that are not `known`.
    """
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found = [path.name for path in inside if path.is_dir()]
    ignored = [path.name for path in inside if not path.is_dir()]
    classes = found if known is None else known
    if known is None and len(found) < 2:
        raise DataError(
            f"{folder}: {_describe_too_few(found, ignored)}; needed is one folder for each of two or more classes"
        )
    strangers = [name for name in found if name not in classes]
    if strangers:
        raise DataError(
            f"{folder}: the training pictures have no class {join_some(strangers, 10)}; they have "
            f"{join_some(classes, 10)}",
            advice="remove that folder, or put pictures of the class into the training folder and train again",
        )
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = _list_visible(folder / name)
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
    return Listing(folder, names, numpy.array(labels, numpy.int64), classes, ignored=ignored)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _list_visible(folder: Path) -> list[str]:
    """List all files under a folder that are not hidden, by their names relative to it."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [(Path(parent) / name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def _describe_too_few(classes: Sequence[str], files: Sequence[str]) -> str:
    if classes:
        return f"only one class, {classes[0]}"
    pictures = sum(map(_is_picture, files))
    return "no classes" + (f", but {pictures} pictures outside a class folder" if pictures else "")
