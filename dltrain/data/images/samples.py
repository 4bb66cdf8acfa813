"""Images that need no download: scikit-learn's handwritten digits in MNIST's format, and patches of its photographs."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dltrain.data.cache import Cache, CacheEntry
from dltrain.data.images.class_folders import Listing
from dltrain.data.images.sets import Split
from dltrain.data.substitute import Sample
from dltrain.errors import UsageError

DIGITS = Sample(
    name="digits sample (scikit-learn, not MNIST)",
    replaces="MNIST",
    contents="1,797 real handwritten digits enlarged from 8 x 8 pixels",
)

_TEST_IMAGES = 360


def read_sample(split: Split) -> tuple[Tensor, Tensor]:
    """Read images (N, 1, 28, 28) uint8, white on black, and labels (N,) uint8: 1,437 for training and 360 for test.

    The 1,797 digits of 8 x 8 pixels (Alpaydin and Kaynak 1998, UCI "Optical Recognition of Handwritten Digits", its
    test part) enlarged to 20 x 20 and centred in 28 x 28, as MNIST's are. The last 360 are the test split.
    """
    try:
        from sklearn.datasets import load_digits  # late: it takes a second to import
    except ImportError as error:
        raise UsageError(
            f"the digits sample comes with scikit-learn, which cannot be imported ({error})",
            advice="install it (pip install scikit-learn), or give the real files",
        ) from error
    digits = load_digits()
    small = torch.from_numpy(digits.images.astype(numpy.float32)).unsqueeze(1)  # (1797, 1, 8, 8), 0..16
    large = functional.interpolate(small, (20, 20), mode="bilinear", align_corners=False)
    images = functional.pad((large * (255 / 16)).round().to(torch.uint8), (4, 4, 4, 4))
    labels = torch.from_numpy(digits.target.astype(numpy.uint8))
    chosen = slice(None, -_TEST_IMAGES) if split == "train" else slice(-_TEST_IMAGES, None)
    return images[chosen], labels[chosen]


PATCHES = Sample(
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
            f"the {PATCHES.name} comes with scikit-learn, which cannot be imported ({error})",
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
