"""Compare the files of an image set with what its authors published."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy

from dltrain.data.images import idx
from dltrain.data.images.sets import IMAGE_SETS, PublishedFile, locate_image_set
from dltrain.data.mirrors import PublishedFiles
from dltrain.errors import DataError


@dataclass
class FileReport:
    """Report on one file. Sizes and MD5 are of the unpacked content, or of the packed file if `hashed` says so.

    `class_counts` are given for labels; `fault` is None if nothing is wrong.
    """

    name: str
    path: str | None = None
    hashed: str | None = None
    bytes_found: int | None = None
    bytes_expected: int | None = None
    md5_found: str | None = None
    md5_expected: str | None = None
    shape: list[int] = field(default_factory=list)
    class_counts: list[int] | None = None
    fault: str | None = None

    def lines(self) -> list[str]:
        lines = [f"{self.name}: {'NOT FINE' if self.fault else 'ok'}", f"  path    {self.path or 'not found'}"]
        if self.shape:
            lines.append(f"  holds   {' x '.join(map(str, self.shape))}")
            size, checksum = self.bytes_expected or "none published", self.md5_expected or "none published"
            lines.append(f"  bytes   {self.bytes_found} ({self.hashed}), expected {size}")
            lines.append(f"  MD5     {self.md5_found}, expected {checksum}")
        if self.class_counts:
            present = [label for label, count in enumerate(self.class_counts) if count]
            lines.append(f"  labels  {present[0]}..{present[-1]}, of each {', '.join(map(str, self.class_counts))}")
        if self.fault:
            lines.append(f"  fault   {self.fault}")
        return lines


def verify(variant: str, root: Path) -> list[FileReport]:
    """Report on each of the set's four files; damaged and missing ones are reported, not raised."""
    known, files = IMAGE_SETS[variant], locate_image_set(variant, root)
    published = {file.name: file for file in known.files}
    reports = []
    for split in ("train", "test"):
        pair = [_verify_file(files, name, published.get(name)) for name in known.splits[split]]
        if not any(report.fault for report in pair):
            try:
                idx.read_split(files, split, None if known.labels is None else len(known.labels))
            except DataError as error:
                pair[1].fault = str(error)
        reports += pair
    return reports


def _verify_file(files: PublishedFiles, name: str, published: PublishedFile | None) -> FileReport:
    report = FileReport(name)
    path = files.find(name)
    if path is None:
        report.fault = files.describe_missing([name])
        return report
    report.path = str(path)
    try:
        array = idx.read_idx(path)
    except DataError as error:
        report.fault = str(error)
        return report
    report.shape = list(array.shape)
    if array.ndim == 1:
        report.class_counts = numpy.bincount(array).tolist()
    _compare(report, path, array, published)
    return report


def _compare(report: FileReport, path: Path, array: idx.Bytes, published: PublishedFile | None) -> None:
    report.bytes_found, report.md5_found = 4 + 4 * array.ndim + array.size, idx.hash_content(array, "md5")
    report.hashed = "unpacked"
    if published is None:
        return
    report.bytes_expected, report.md5_expected = published.unpacked_bytes, published.unpacked_md5
    if published.unpacked_md5 is None and path.suffix == ".gz":
        report.hashed = "packed"
        report.bytes_found, report.bytes_expected = path.stat().st_size, published.packed_bytes
        report.md5_found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        report.md5_expected = published.packed_md5
    if report.bytes_found != report.bytes_expected:
        report.fault = f"{path}: {report.bytes_found} bytes {report.hashed}, expected {report.bytes_expected}"
    elif report.md5_expected not in (None, report.md5_found):
        report.fault = f"{path}: MD5 {report.md5_found} ({report.hashed}), expected {report.md5_expected}"
