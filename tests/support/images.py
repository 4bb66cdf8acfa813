"""Small images in MNIST's file format, easy to classify."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from dltrain.data.images.sets import IMAGE_SETS

CLASSES = 10


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def patterns(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images (count, 28, 28) with a bright bar whose row tells the class, and the classes."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = draw.integers(0, 60, (count, 28, 28))
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 4 : 2 * label + 6, 4:24] = draw.integers(150, 255)
    return images.astype(np.uint8), labels.astype(np.uint8)


def write_images(root: Path, training: int = 200, test: int = 60) -> Path:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count, seed in (("train", training, 1), ("t10k", test, 2)):
        images, labels = patterns(count, seed)
        write_idx(raw / f"{split}-images-idx3-ubyte", images)
        write_idx(raw / f"{split}-labels-idx1-ubyte", labels)
    return root


def write_emnist(root: Path, variant: str = "emnist_letters", training: int = 104, test: int = 52) -> dict[str, tuple]:
    """Write a set of EMNIST, whose images lie on their side; the upright images and the labels from 0 of each split."""
    known, written = IMAGE_SETS[variant], {}
    folder = root / "EMNIST" / "raw"
    folder.mkdir(parents=True)
    for split, count, seed in (("train", training, 1), ("test", test, 2)):
        draw = np.random.default_rng(seed)
        labels = (np.arange(count) % len(known.labels or ())).astype(np.uint8)
        images = draw.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        names = known.splits[split]  # type: ignore[index]
        write_idx(folder / names[0], images.transpose(0, 2, 1))
        write_idx(folder / names[1], labels + known.first_label)
        written[split] = images, labels
    return written
