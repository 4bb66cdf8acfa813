"""A small set that needs no download: the handwritten digits that come with scikit-learn, in MNIST's format."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from dltrain.data.images.sets import Split
from dltrain.data.substitute import Sample
from dltrain.errors import UsageError

SAMPLE = Sample(
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
