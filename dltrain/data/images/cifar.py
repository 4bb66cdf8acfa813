"""Read the binary version of CIFAR-10 and CIFAR-100, and compare its files with what was published.

The format: records of the labels, a byte each (CIFAR-100: the superclass, then the class), and 3,072 pixels: red, green
and blue of 32 x 32, row by row (Krizhevsky 2009, "Learning multiple layers of features from tiny images"). The version
for Python is a pickle, which executes what is in it, and is not read.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy

from dltrain.data.images.check_idx import FileReport
from dltrain.data.images.idx import Bytes
from dltrain.data.images.sets import IMAGE_SETS, Split, locate_image_set
from dltrain.data.mirrors import PublishedFiles
from dltrain.data.reading import note_file
from dltrain.errors import DataError

CHANNELS, SIDE = 3, 32
_PIXELS = CHANNELS * SIDE * SIDE
_AGAIN = "delete it and fetch the set again"


class Records(NamedTuple):
    """The records of a file: images (N, 3, 32, 32), labels (N,), and the SHA-256 of its unpacked content."""

    images: Bytes
    labels: Bytes
    sha256: str


def read_records(path: Path, label_bytes: int, classes: int) -> Records:
    """Read a file; the last of the `label_bytes` is the label. Raises DataError if it is no such file."""
    note_file(path)
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error})", advice=_AGAIN) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    record = label_bytes + _PIXELS
    if not content or len(content) % record:
        message = f"{path}: {len(content)} bytes; expected is a multiple of {record}, the bytes of an image"
        raise DataError(message, advice=_AGAIN)
    records = numpy.frombuffer(content, numpy.uint8).reshape(-1, record)
    labels = records[:, label_bytes - 1]
    if labels.max() >= classes:
        index = int((labels >= classes).argmax())
        message = f"{path}: label {labels[index]} at index {index}; allowed are 0..{classes - 1}"
        raise DataError(message, advice=_AGAIN)
    images = records[:, label_bytes:].reshape(-1, CHANNELS, SIDE, SIDE)
    return Records(images, labels, hashlib.sha256(content).hexdigest())


def read_split(variant: str, files: PublishedFiles, split: Split) -> dict[str, Records]:
    """Read the files of a split, by name. Raises DataError if one is missing."""
    known, read = IMAGE_SETS[variant], {}
    for name in known.splits[split]:
        path = files.find(name)
        if path is None:
            raise DataError(files.describe_missing(known.splits[split]))
        read[name] = read_records(path, known.label_bytes, len(known.labels or ()))
    return read


def verify(variant: str, root: Path) -> list[FileReport]:
    """Report on each of the set's files; damaged and missing ones are reported, not raised."""
    known, files, reports = IMAGE_SETS[variant], locate_image_set(variant, root), []
    for split, names in known.splits.items():
        for name in names:
            report, path = FileReport(name), files.find(name)
            reports.append(report)
            if path is None:
                report.fault = files.describe_missing([name])
                continue
            report.path, report.hashed = str(path), "unpacked"
            try:
                found = read_records(path, known.label_bytes, len(known.labels or ()))
            except DataError as error:
                report.fault = str(error)
                continue
            report.shape, report.class_counts = list(found.images.shape), numpy.bincount(found.labels).tolist()
            record = known.label_bytes + _PIXELS
            report.bytes_found, report.bytes_expected = len(found.labels) * record, known.images[split] * record
            if report.bytes_found != report.bytes_expected:
                report.fault = f"{path}: {len(found.labels)} images, expected {known.images[split]}"
    return reports
