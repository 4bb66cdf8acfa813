"""Folders of pictures, one for each class: find the splits and list their files. No file is opened."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.cleaning import compose_text
from dltrain.data.images.pictures import SUFFIXES, is_picture
from dltrain.data.input_files import is_hidden
from dltrain.data.reading import note_folder
from dltrain.data.wording import join_some
from dltrain.errors import DataError

Split = Literal["training", "validation", "test"]
NAMES: Mapping[Split, tuple[str, ...]] = {
    "training": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing", "tests"),
}
"""Names of a split's folder under the root, in any case; of several, the first one in this order is used."""

_SPLIT_WORD = re.compile(
    rf"(?i)(.*[\W_])?({'|'.join(name for names in NAMES.values() for name in names)}|holdout)([\W_\d].*)?"
)

Accepts = Callable[[Path], bool]
"""Whether a file is a picture."""


class Listing(NamedTuple):
    """The pictures under a folder, by name: `names` (N) are CLASS/... with slashes, `labels` (N,) int64 their classes.

    `ignored` are files that are no pictures, or in no class's folder.
    """

    folder: Path
    names: Sequence[str]
    labels: NDArray[numpy.int64]
    classes: Sequence[str]
    ignored: Sequence[str]

    @property
    def paths(self) -> list[Path]:
        return [self.folder / name for name in self.names]

    def digest(self) -> str:
        """Compute the SHA-256 of the names."""
        return hashlib.sha256("\n".join(self.names).encode("utf-8", "surrogateescape")).hexdigest()


class SplitFolders(NamedTuple):
    """The folder of each split that has one, and the names of other folders next to them."""

    folders: Mapping[Split, Path]
    beside: Sequence[str]

    def describe_beside(self) -> str | None:
        """Say which folders are not read; None if all are."""
        if not self.beside:
            return None
        root = self.folders["training"].parent
        known = "; ".join(f"{split}: {', '.join(names)}" for split, names in NAMES.items())
        what = "the folder" if len(self.beside) == 1 else "the folders"
        return (
            f"{root}: {what} {join_some(self.beside, 5)} next to {self.folders['training'].name} "
            f"{'is' if len(self.beside) == 1 else 'are'} not read; names of splits are {known} (in any case)"
        )


def split_folders(root: Path) -> SplitFolders:
    """Find the folder of each split that has one; `training` is ROOT itself without ROOT/train.

    Raises DataError without a root, or for folders of other splits without ROOT/train.
    """
    if not root.is_dir():
        raise DataError(
            f"{root.absolute()}: {'not a folder' if root.exists() else 'no such folder'}", advice=advise_folders(root)
        )
    note_folder(root)
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not is_hidden(path.name)]
    found: dict[Split, Path] = {}
    for split, names in NAMES.items():
        of_split = [path for name in names for path in folders if path.name.casefold() == name]
        if of_split:
            found[split] = of_split[0]
    if "training" not in found and not any(_list_folders(path) for path in found.values()):
        return SplitFolders({"training": root}, ())  # folders of pictures with such names are classes
    if "training" not in found:
        others = " and ".join(path.name for path in found.values())
        raise DataError(f"{root}: has the folder {others}, but not train", advice=advise_folders(root))
    return SplitFolders(found, [path.name for path in folders if path not in found.values()])


def _list_folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def check_classes(root: Path) -> None:
    """Raise DataError if the folders under `root` are probably those of splits, not of classes."""
    classes = _list_folders(root)
    words = [(name, match) for name in classes if (match := _SPLIT_WORD.fullmatch(name))]
    remainders = Counter(((match[1] or "").casefold(), (match[3] or "").casefold()) for _, match in words)
    twins = [name for name, match in words if remainders[(match[1] or "").casefold(), (match[3] or "").casefold()] > 1]
    if len(twins) > 1:
        raise DataError(
            f"{root}: the folders {join_some(twins, 5)} look like splits, but would be classes",
            advice=f"rename them to train, validation and test; if they are classes, put them into {root / 'train'}",
        )
    inside = [_list_folders(root / name) for name in classes]
    if len(inside[0]) < 2 or any(names != inside[0] for names in inside):
        return
    if any(path.is_file() and not is_hidden(path.name) for name in classes for path in (root / name).iterdir()):
        return
    raise DataError(
        f"{root}: its folders {join_some(classes, 5)} would be the classes, but each has the same folders in it "
        f"({join_some(inside[0], 5)}), as splits of the same classes have",
        advice="name the splits' folders train, validation and test, with a folder for each class in them; if "
        f"{join_some(classes, 2)} are the classes, put them into {root / 'train'}",
    )


def advise_folders(root: Path) -> str:
    return (
        f"put one folder of pictures for each class into {root / 'train'} and {root / 'test'}, or into {root} itself, "
        "or give the folder that has them (--set data.root=DIR, or --root DIR of a trained model), or train on a "
        "sample instead (data.when_missing=sample, or --sample)"
    )


def list_pictures(folder: Path, known: Sequence[str] | None = None, accepts: Accepts = is_picture) -> Listing:
    """List the pictures of each class under `folder`, recursively, in the order of their names.

    Hidden files and folders are skipped. The classes are `known`, or those of the folder. Raises DataError for
    fewer than two classes, for a class without pictures, and for classes that are not `known`.
    """
    inside = sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    homes: dict[str, list[str]] = {}  # the folders of each class; macOS writes an accent apart
    for path in inside:
        if path.is_dir():
            homes.setdefault(compose_text(path.name), []).append(path.name)
    found, ignored = sorted(homes), [path.name for path in inside if not path.is_dir()]
    classes = found if known is None else known
    if known is None and len(found) < 2:
        raise DataError(
            f"{folder}: {_describe_too_few(found, ignored)}; needed is one folder for each of two or more classes",
            advice=_advise_too_few(folder, found, ignored),
        )
    composed = {compose_text(name) for name in classes}
    strangers = [name for name in found if name not in composed]
    if strangers:
        raise DataError(
            f"{folder}: the training pictures have no class {join_some(strangers, 10)}; they have "
            f"{join_some(classes, 10)}",
            advice="remove that folder, or put pictures of the class into the training folder and train again",
        )
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = [
            f"{home}/{file}" for home in homes.get(compose_text(name), ()) for file in _list_visible(folder / home)
        ]
        pictures = [file for file in files if accepts(folder / file)]
        if known is None and not pictures:
            others = f", only {len(files)} other files such as {Path(files[0]).name}" if files else ""
            raise DataError(
                f"{folder / name}: no picture of this class{others}",
                advice="add some, or remove the folder",
            )
        names += pictures
        labels += [label] * len(pictures)
        ignored += sorted({*files} - {*pictures})
    return Listing(folder, names, numpy.array(labels, numpy.int64), classes, ignored=ignored)


def _list_visible(folder: Path) -> list[str]:
    """List all files under a folder that are not hidden, by their names relative to it.

    A link to a folder is in the list, since it is not followed: it may lead in a circle.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        visible = [name for name in files if not is_hidden(name)]
        found += [(Path(parent) / name).relative_to(folder).as_posix() for name in (*visible, *links)]
    return sorted(found)


def _describe_too_few(classes: Sequence[str], files: Sequence[str]) -> str:
    if classes:
        return f"only one class, {classes[0]}"
    pictures = sum(name.lower().endswith(SUFFIXES) for name in files)
    return "no classes" + (f", but {pictures} pictures outside a class folder" if pictures else "")


def _advise_too_few(folder: Path, classes: Sequence[str], files: Sequence[str]) -> str | None:
    """Suggest the folder inside, if it is the one that has the splits or the classes; or to make folders."""
    if len(classes) == 1 and len(_list_folders(folder / classes[0])) > 1:
        return f"set data.root to {folder / classes[0]} if that has the classes, or the splits"
    if not classes and any(name.lower().endswith(SUFFIXES) for name in files):
        return "move each picture into a folder with the name of its class; lists of labels are not read"
    return None
