"""The report of `dltrain data check image_folder`: every picture of every split is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

from dltrain.data.images.class_folders import Listing, check_classes, list_pictures, split_folders
from dltrain.data.images.findings import describe_depth, list_contradictions
from dltrain.data.images.pictures import FULL, OriginalPicture, PictureFormat, UnreadablePicture, open_picture
from dltrain.data.progress import map_with_progress
from dltrain.data.wording import join_some
from dltrain.errors import DataError
from dltrain.escaping import keep_on_line
from dltrain.files import hash_file

NAMED = 5
_WHOLE = PictureFormat(3, 1 << 20, 1 << 20, "fit")  # larger than any picture, so each is decoded at its own size


@dataclass
class FolderReport:
    """Report on a split's folder. `classes` count the pictures of each, `sizes` those of each size, as 640 x 480.

    `bad` lists name and reason of each unreadable picture, `notes` say what stands out; `fault` is None if nothing is
    wrong.
    """

    name: str
    path: str
    classes: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fault: str | None = None

    def lines(self) -> list[str]:
        lines = [f"{self.name}: {'NOT FINE' if self.fault else 'ok'}", f"  path      {self.path}"]
        if self.classes:
            counts = ", ".join(f"{keep_on_line(name)}: {count}" for name, count in self.classes.items())
            lines.append(f"  pictures  {sum(self.classes.values())} of {len(self.classes)} classes ({counts})")
            lines.append(f"  sizes     {len(self.sizes)}: {join_some(list(self.sizes), NAMED)}")
        if self.ignored:
            lines.append(f"  ignored   {len(self.ignored)} other files: {join_some(self.ignored, NAMED)}")
        lines += [f"    {name}: {reason}" for name, reason in self.bad[:NAMED]]
        if len(self.bad) > NAMED:
            lines.append(f"    and {len(self.bad) - NAMED} more (--json lists all)")
        return lines + [f"  note      {note}" for note in self.notes]


class MeasuredPicture(NamedTuple):
    """A picture's size once turned, what it was in its file, its only colour, if it has one, and the file's SHA-256."""

    size: tuple[int, int]
    original: OriginalPicture
    colour: tuple[int, ...] | None
    sha256: str


class CheckedSplit(NamedTuple):
    """The report on a split's folder, and the name of each picture by the hash of its file."""

    report: FolderReport
    names: Mapping[str, str]


def verify(name: str, root: Path) -> list[FolderReport]:
    """Report on each split's folder under `root`. Raises DataError if the classes cannot be determined."""
    found = split_folders(root)
    training = list_pictures(found.folders["training"])
    if training.folder == root:
        check_classes(root)
    checked = [_check("training", training)]
    if beside := found.describe_beside():
        checked[0].report.notes.append(beside)
    for split in ("validation", "test"):
        if split not in found.folders:
            continue
        folder = found.folders[split]
        try:
            checked.append(_check(split, list_pictures(folder, training.classes)))
        except DataError as error:
            checked.append(CheckedSplit(FolderReport(split, str(folder), fault=str(error)), {}))
    _note_repeated(checked)
    return [one.report for one in checked]


def _note_repeated(checked: Sequence[CheckedSplit]) -> None:
    """Note the pictures that are in an earlier split too: a model is not tested on what it was trained on."""
    for index, (report, names) in enumerate(checked):
        for other, others in checked[:index]:
            if same := [f"{name} is {others[digest]}" for digest, name in names.items() if digest in others]:
                what = f"{len(same)} of {len(names)} pictures are in the {other.name} folder too"
                report.notes.append(f"{what}: {join_some(same, NAMED)}")


def _check(split: str, listing: Listing) -> CheckedSplit:
    counts = Counter(listing.labels.tolist())
    classes = {name: counts[label] for label, name in enumerate(listing.classes)}
    report = FolderReport(split, str(listing.folder), classes, ignored=list(listing.ignored))
    paths = [listing.folder / name for name in listing.names]
    measured = list(map_with_progress(_measure_picture, paths, f"reading {split} pictures"))
    good = [one for one in measured if isinstance(one, MeasuredPicture)]
    report.bad = [
        (name, str(one))
        for name, one in zip(listing.names, measured, strict=True)
        if isinstance(one, UnreadablePicture)
    ]
    report.sizes = dict(Counter(f"{width} x {height}" for (width, height), *_ in good).most_common())
    hashes = [one.sha256 if isinstance(one, MeasuredPicture) else "-" for one in measured]
    deep = [one.original.largest for one in good if one.original.bits == 16 and not one.original.colour]
    report.notes += describe_depth(deep, len(good), FULL)
    if len(good) > 1 and good[0].colour is not None and all(one.colour == good[0].colour for one in good):
        report.notes.append(f"all {len(good)} pictures have one and the same colour: there is nothing to learn")
    if twice := list_contradictions(listing, hashes):
        report.notes.append(f"{len(twice)} pictures are in two classes: {join_some(twice, NAMED, '; ')}")
    if not listing.names:
        report.fault = f"{listing.folder}: no pictures in it"
    elif report.bad:
        report.fault = f"{listing.folder}: {len(report.bad)} of {len(paths)} pictures cannot be read"
    names = {digest: name for digest, name in zip(hashes, listing.names, strict=True) if digest != "-"}
    return CheckedSplit(report, names)


def _measure_picture(path: Path) -> MeasuredPicture | UnreadablePicture:
    """Measure a picture, or say why it cannot be read."""
    try:
        image, original = open_picture(path, _WHOLE)
    except UnreadablePicture as fault:
        return fault
    ends = cast("tuple[tuple[int, int], ...]", image.getextrema())  # of red, green and blue
    colour = tuple(low for low, _ in ends) if all(low == high for low, high in ends) else None
    return MeasuredPicture(image.size, original, colour, hash_file(path))
