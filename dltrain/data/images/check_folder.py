"""The report of `dltrain data check image_folder`: every picture of every split is decoded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from dltrain.data.images.class_folders import Listing, list_pictures, split_folders
from dltrain.data.images.pictures import PictureFormat, UnreadablePicture, open_picture
from dltrain.data.progress import map_with_progress
from dltrain.data.wording import join_some
from dltrain.errors import DataError

NAMED = 5
_WHOLE = PictureFormat(3, 1 << 20, 1 << 20, "fit")  # larger than any picture, so each is decoded at its own size


@dataclass
class FolderReport:
    """Report on a split's folder. `classes` count the pictures of each, `sizes` those of each size, as 640 x 480.

    `bad` lists name and reason of each unreadable picture; `fault` is None if nothing is wrong.
    """

    name: str
    path: str
    classes: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    fault: str | None = None

    def lines(self) -> list[str]:
        lines = [f"{self.name}: {'NOT FINE' if self.fault else 'ok'}", f"  path      {self.path}"]
        if self.classes:
            counts = ", ".join(f"{name}: {count}" for name, count in self.classes.items())
            lines.append(f"  pictures  {sum(self.classes.values())} of {len(self.classes)} classes ({counts})")
            lines.append(f"  sizes     {len(self.sizes)}: {join_some(list(self.sizes), NAMED)}")
        if self.ignored:
            lines.append(f"  ignored   {len(self.ignored)} other files: {join_some(self.ignored, NAMED)}")
        lines += [f"    {name}: {reason}" for name, reason in self.bad[:NAMED]]
        if len(self.bad) > NAMED:
            lines.append(f"    and {len(self.bad) - NAMED} more (--json lists all)")
        return lines


def verify(name: str, root: Path) -> list[FolderReport]:
    """Report on each split's folder under `root`. Raises DataError if the classes cannot be determined."""
    folders = split_folders(root)
    training = list_pictures(folders["training"])
    reports = [_report("training", training)]
    for split in ("validation", "test"):
        if split not in folders:
            continue
        try:
            reports.append(_report(split, list_pictures(folders[split], training.classes)))
        except DataError as error:
            reports.append(FolderReport(split, str(folders[split]), fault=str(error)))
    return reports


def _report(split: str, listing: Listing) -> FolderReport:
    counts = Counter(listing.labels.tolist())
    classes = {name: counts[label] for label, name in enumerate(listing.classes)}
    report = FolderReport(split, str(listing.folder), classes, ignored=list(listing.ignored))
    sizes: Counter[str] = Counter()
    paths = [listing.folder / name for name in listing.names]
    measured = map_with_progress(_measure_picture, paths, f"reading {split} pictures")
    for name, found in zip(listing.names, measured, strict=True):
        if isinstance(found, UnreadablePicture):
            report.bad.append((name, str(found)))
        else:
            sizes[f"{found[0]} x {found[1]}"] += 1
    report.sizes = dict(sizes.most_common())
    if not listing.names:
        report.fault = f"{listing.folder}: no pictures in it"
    elif report.bad:
        report.fault = f"{listing.folder}: {len(report.bad)} of {len(paths)} pictures cannot be read"
    return report


def _measure_picture(path: Path) -> tuple[int, int] | UnreadablePicture:
    """Read width and height, or say why the picture cannot be read."""
    try:
        image: Image.Image = open_picture(path, _WHOLE)
    except UnreadablePicture as fault:
        return fault
    return image.size
