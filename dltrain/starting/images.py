"""Draft a config for pictures: a folder for each class, or IDX files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from dltrain.data.images.class_folders import Listing, check_classes, list_pictures, split_folders
from dltrain.data.images.idx import read_idx
from dltrain.data.images.sets import FILES, locate_image_set
from dltrain.data.input_files import is_hidden
from dltrain.errors import DataError, UsageError
from dltrain.starting.draft import (
    Draft,
    balance_task,
    choose_epochs,
    count,
    describe_classes,
    list_rare,
    make_name,
)

LOOKED_AT = 60
"""Pictures whose sizes are read, evenly among all."""
SMALL, USUAL, LARGE = 64, 64, 96
"""The side up to which pictures of one size keep it, and the sides of others: of few pictures, and of many."""
MANY = 5000


class PictureForm(NamedTuple):
    """What some pictures are: the size of all of them or None, the median of their shorter sides, and colour."""

    size: tuple[int, int] | None
    side: int
    grey: bool
    shown: str


def find_idx(path: Path) -> Path | None:
    """The root of an IDX set: a folder, or the one of MNIST and the like in it."""
    for root in (path, *(path / name for name in ("MNIST", "FashionMNIST", "KMNIST", "mnist"))):
        if not locate_image_set("idx", root).list_missing(FILES["train"]):
            return root
    return None


def draft_idx(path: Path, root: Path) -> Draft:
    """Draft a config for IDX files under a root."""
    found = [locate_image_set("idx", root).find(file) for file in FILES["train"]]
    images, labels = (read_idx(each) for each in found if each is not None)
    number, height, width = images.shape
    classes = {str(label): size for label, size in sorted(Counter(labels.tolist()).items())}
    form = PictureForm((height, width), min(height, width), grey=True, shown=f"{width} x {height}")
    return _compose(
        path,
        {"name": "idx", "root": root, "validation": 0.1},
        form,
        classes=classes,
        facts=[f"{path.name}: IDX files, {count(number, 'training picture')} of {width} x {height}, grey"],
        doubts=[],
        flip=False,
    )


def find_root(path: Path) -> Path:
    """The folder that has the classes or the splits: `path`, or the only folder in it, and so on."""
    while True:
        inside = [each for each in path.iterdir() if not is_hidden(each.name)]
        folders = [each for each in inside if each.is_dir()]
        if len(folders) != 1 or any(_is_picture_name(each) for each in inside) or not _has_folders(folders[0]):
            return path
        path = folders[0]


def _has_folders(folder: Path) -> bool:
    return any(each.is_dir() and not is_hidden(each.name) for each in folder.iterdir())


def _is_picture_name(path: Path) -> bool:
    return path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def draft_images(path: Path, target: str | None) -> Draft:
    """Draft a config for folders of pictures. Raises DataError if they are not in a folder for each class."""
    if target is not None:
        raise UsageError(
            f"{path}: --target is for tables; the classes of pictures are their folders", advice="leave it out"
        )
    root = find_root(path)
    _refuse_list(path, root)
    found = split_folders(root)
    training = list_pictures(found.folders["training"])
    if training.folder == root:
        check_classes(root)
    form = _measure(training)
    classes = {name: int((training.labels == label).sum()) for label, name in enumerate(training.classes)}
    own = {split: folder for split, folder in found.folders.items() if split != "training"}
    facts = [f"{path.name}: {count(len(training.names), 'picture')} to train on, {form.shown}"]
    facts += [f"{split} folder: {folder.relative_to(root)}" for split, folder in found.folders.items() if own]
    doubts = [beside] if (beside := found.describe_beside()) else []
    if training.ignored:
        doubts.append(
            f"{count(len(training.ignored), 'file')} are no pictures, or in no class: {training.ignored[0]}, ..."
        )
    side = form.side
    height, width = form.size if form.size and max(form.size) <= SMALL else (side, side)
    data: dict[str, Any] = {"name": "image_folder", "root": root, "height": height, "width": width}
    data["mode"] = "grey" if form.grey else "rgb"
    data |= {split: 0.15 for split in ("validation", "test") if split not in own}
    return _compose(path, data, form, classes=classes, facts=facts, doubts=doubts, flip=not form.grey)


def _refuse_list(path: Path, root: Path) -> None:
    """Raise DataError for pictures beside a table of their labels, with the commands that sort them into folders."""
    inside = [each for each in root.iterdir() if not is_hidden(each.name)]
    tables = sorted(each for each in inside if each.suffix.lower() in (".csv", ".tsv"))
    folders = [each for each in inside if each.is_dir()]
    if not tables or len(folders) > 1 or any(_has_folders(folder) for folder in folders):
        return
    raise DataError(
        f"{path}: pictures that are not in folders, and {tables[0].name}; labels are folders' names, not a table",
        advice="put each picture into a folder with the name of its class, such as cat/1.jpg",
    )


def _measure(listing: Listing) -> PictureForm:
    """Look at some of the pictures. Raises DataError if none of them can be read."""
    paths = listing.paths
    sizes, grey = [], []
    for path in paths[:: max(1, len(paths) // LOOKED_AT)]:
        try:
            with Image.open(path) as picture:
                sizes.append((picture.height, picture.width))
                grey.append(picture.mode in ("1", "L", "LA", "I", "I;16", "F"))
        except (OSError, ValueError, SyntaxError):
            continue
    if not sizes:
        raise DataError(f"{listing.folder}: none of its pictures can be read", advice="give other pictures")
    size = sizes[0] if len(set(sizes)) == 1 else None
    median = sorted(min(each) for each in sizes)[len(sizes) // 2]
    fitting = 32 if median <= 32 else USUAL if median <= USUAL or len(paths) < MANY else LARGE
    colour = "grey" if all(grey) else "in colour"
    shown = (
        f"{size[1]} x {size[0]}"
        if size
        else f"of {len(set(sizes))} sizes or more, {median} pixels high or wide (median)"
    )
    return PictureForm(size, fitting, grey=all(grey), shown=f"{shown}, {colour}")


def _compose(
    path: Path,
    data: Mapping[str, Any],
    form: PictureForm,
    *,
    classes: Mapping[str, int],
    facts: Sequence[str],
    doubts: Sequence[str],
    flip: bool,
) -> Draft:
    pictures = sum(classes.values())
    task, comments = balance_task("image_classification", classes)
    batch = 16 if pictures < 500 else 64 if pictures < 20000 else 128
    epochs = choose_epochs(round(0.75 * pictures) // batch, 6000, least=10, most=60)
    side = int(data.get("height", form.side))
    channels = [32, 64, 128] if side >= 48 else [32, 64]
    augment: dict[str, Any] = {"rotation_degrees": 10, "scale": [0.9, 1.1], "shift": 0.08}
    return Draft(
        kind="images",
        name=make_name(path),
        title=f"classify pictures as one of {len(classes)} classes",
        settings={
            "task": task,
            "seed": 0,
            "data": {**data, "batch_size": batch, "augment": {**augment, **({"flip": "horizontal"} if flip else {})}},
            "model": {"name": "cnn", "channels": channels, "padding": 1, "batch_norm": True, "dropout": 0.3},
            "optimizer": {"name": "adamw", "learning_rate": 0.002, "weight_decay": 0.02},
            "schedule": {"name": "one_cycle"},
            "trainer": {"epochs": epochs, "device": "auto"},
        },
        comments={
            **comments,
            "data.height": "larger is slower, and finer",
            "data.augment.flip": "remove it if left and right matter, as in letters",
            "model.name": "for photographs see also model: {name: torchvision, architecture: resnet18}" if flip else "",
        },
        facts=[*facts, f"classes: {describe_classes(classes)}"],
        doubts=[*doubts, *_list_doubts(classes)],
    )


def _list_doubts(classes: Mapping[str, int]) -> Iterator[str]:
    yield from list_rare(classes, "pictures")
