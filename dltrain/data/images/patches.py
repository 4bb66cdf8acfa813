"""A small set of colour pictures that needs no download: patches of the two photographs that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy
from PIL import Image

from dltrain.data.cache import Cache, CacheEntry
from dltrain.data.images.class_folders import Listing
from dltrain.data.substitute import Sample
from dltrain.errors import UsageError

SAMPLE = Sample(
    name="patches sample (two photographs of scikit-learn)", replaces="your pictures", contents="32 x 32 pixels each"
)

CLASSES = ("flower", "temple")
_PHOTOGRAPHS = ("flower.jpg", "china.jpg")
_PATCH = 32
_TEST_FROM = 480  # the columns of the 427 x 640 photographs from here to the right are for test
_FORMAT = 1  # incremented when the patches change


def make_picture_sample(cache: Cache) -> CacheEntry:
    """Return the cache entry with train-CLASS-*.png and test-CLASS-*.png, 32 x 32: 390 for training, 130 for test.

    They do not overlap; test patches are from the right quarter of each photograph: flower.jpg and china.jpg of
    `sklearn.datasets.load_sample_images` (CC BY 2.0). Raises UsageError without scikit-learn.
    """
    try:
        from sklearn import __version__ as version
    except ImportError as error:
        raise UsageError(
            f"the {SAMPLE.name} comes with scikit-learn, which cannot be imported ({error})",
            advice="install it (pip install scikit-learn), or give your own pictures",
        ) from error
    return cache.entry("picture-sample", {"format": _FORMAT, "version": version}, _cut_patches)


def _cut_patches(folder: Path) -> None:
    from sklearn.datasets import load_sample_image

    for name, photograph in zip(CLASSES, _PHOTOGRAPHS, strict=True):
        pixels = load_sample_image(photograph)  # (427, 640, 3) uint8
        for top in range(0, pixels.shape[0] - _PATCH + 1, _PATCH):
            for left in range(0, pixels.shape[1] - _PATCH + 1, _PATCH):
                split = "train" if left < _TEST_FROM else "test"
                patch = pixels[top : top + _PATCH, left : left + _PATCH]
                Image.fromarray(patch).save(folder / f"{split}-{name}-{top:03}-{left:03}.png")


def list_sample(sample: CacheEntry, split: str) -> Listing:
    """List the patches of a split, `training` or `test`, class by class."""
    prefix = {"training": "train", "test": "test"}[split]
    files = [sorted(path.name for path in sample.path.glob(f"{prefix}-{name}-*.png")) for name in CLASSES]
    labels = numpy.repeat(numpy.arange(len(CLASSES)), [len(of_class) for of_class in files])
    names = [name for of_class in files for name in of_class]
    return Listing(folder=sample.path, names=names, labels=labels, classes=CLASSES, ignored=())
