"""Small files in the format of CIFAR's binary version."""

from __future__ import annotations

from pathlib import Path

import numpy

from dltrain.data.images.sets import IMAGE_SETS


def write_cifar(root: Path, *, variant: str) -> None:
    """Write each file of a set: 20 random images in it (100 for a hundred classes), whose labels take turns."""
    known, random = IMAGE_SETS[variant], numpy.random.default_rng(0)
    folder, classes = root / str(known.folder), len(known.labels or ())
    folder.mkdir(parents=True)
    for name in (name for names in known.splits.values() for name in names):
        count = max(20, classes)
        labels = numpy.arange(count, dtype=numpy.uint8)[:, None] % classes
        superclasses = random.integers(0, 20, (count, known.label_bytes - 1), numpy.uint8)
        pixels = random.integers(0, 256, (count, 3072), numpy.uint8)
        (folder / name).write_bytes(numpy.hstack([superclasses, labels, pixels]).tobytes())
