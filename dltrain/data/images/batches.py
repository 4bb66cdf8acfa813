"""Batches of images: augmented and shuffled for training, in the order of the files for evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltrain.batch import Examples
from dltrain.data.batching import IndexedBatches
from dltrain.data.contents import Hashes, count_classes, hash_contents
from dltrain.data.images.augmentation import MIXING, apply_function, augment, count_chances
from dltrain.data.images.mixing import mix_examples
from dltrain.data.images.options import Augmentation
from dltrain.data.images.pixels import normalize_pixels
from dltrain.data.sampling import Sampling, draw_balanced
from dltrain.dataset import SplitName, SplitSummary
from dltrain.errors import UsageError
from dltrain.runtime.seeds import draw_permutation, draw_uniform
from dltrain.stream import Loader


class Images(NamedTuple):
    """Images of a file: `labels` (N,) int64, and their indices in its `pixels` (M, C, H, W) uint8, `examples` (N,).

    `pixels` are all of the file's, N of them or more.
    """

    pixels: Tensor
    labels: Tensor
    examples: Tensor

    def select(self, chosen: NDArray[numpy.bool_]) -> Images:
        indices = torch.from_numpy(numpy.flatnonzero(chosen))
        return Images(self.pixels, self.labels.index_select(0, indices), self.examples.index_select(0, indices))


class ImageSplits(NamedTuple):
    """Splits of the training files; `test` is empty if the test images are in files of their own."""

    training: Images
    validation: Images
    test: Images

    def select(self, split: SplitName) -> Images:
        return {"training": self.training, "validation": self.validation, "test": self.test}[split]


@dataclass(frozen=True)
class ImageBatching:
    """How images become batches; the options of the same names. Raises UsageError for impossible ones."""

    seed: int
    batch_size: int
    evaluation_batch_size: int
    augmentation: Augmentation
    workers: int = 0
    sampling: Sampling = "shuffled"

    def __post_init__(self) -> None:
        for name, example in (("scale", "[0.9, 1.1]"), ("crop", "[0.25, 1]"), ("crop_aspect", "[0.75, 1.33]")):
            limits = getattr(self.augmentation, name)
            if limits is not None and (len(limits) != 2 or limits[0] > limits[1]):
                raise UsageError(
                    f"data.augment.{name}: {limits}; allowed are two numbers, the lower first, such as {example}."
                )
        if self.augmentation.mixes and self.batch_size == 1:
            raise UsageError(
                "data.augment mixes the images of a batch, and data.batch_size is 1",
                advice="raise data.batch_size, or leave out mixup and cutmix",
            )

    def _check_colours(self, assets: Mapping[str, Any]) -> None:
        """Raises UsageError for changes of colour that would change nothing of grey images."""
        for name in ("saturation", "hue"):
            if assets["channels"] == 1 and getattr(self.augmentation, name):
                raise UsageError(f"data.augment.{name}: the images are grey and have none", advice="leave it out")

    def load_training(self, images: Images, assets: Mapping[str, Any]) -> Loader[Examples]:
        """Load shuffled and augmented batches, as a function of (seed, epoch, index)."""
        self._check_colours(assets)
        count = len(images.labels)
        make, order = partial(self._augment, images, assets), partial(draw_permutation, self.seed, n=count)
        if self.sampling == "balanced":
            order = partial(draw_balanced, images.labels, self.seed)
        return Loader(IndexedBatches(count, self.batch_size, make, order, join_single=True), self.workers)

    def load_evaluation(self, images: Images, assets: Mapping[str, Any]) -> Loader[Examples]:
        """Load batches in the order of the files, the same in every epoch."""
        make = partial(_make_batch, images, assets)
        return Loader(IndexedBatches(len(images.labels), self.evaluation_batch_size, make))

    def _augment(self, images: Images, assets: Mapping[str, Any], epoch: int, drawn: Tensor) -> Examples:
        """Make a batch of examples `drawn` (N,) as `draw_balanced` does, with another augmentation each time."""
        count = len(images.labels)
        chosen = drawn % count
        if self.augmentation == Augmentation():
            return _make_batch(images, assets, epoch, chosen)
        examples = images.examples.index_select(0, chosen)
        keys = examples + len(images.pixels) * (drawn // count)
        chances = draw_uniform(self.seed, epoch, keys, count_chances(self.augmentation))
        pixels = images.pixels.index_select(0, examples).float()
        pixels = augment(pixels, chances, self.augmentation, 255 * assets["background"])
        for each in self.augmentation.functions or ():
            pixels = 255 * apply_function(each, pixels / 255, keys.tolist(), seed=self.seed, epoch=epoch)
        labels = images.labels.index_select(0, chosen)
        if not self.augmentation.mixes:
            return Examples(normalize_pixels(assets, pixels), labels)
        return mix_examples(normalize_pixels(assets, pixels), labels, chances[:, MIXING], self.augmentation)


def _make_batch(images: Images, assets: Mapping[str, Any], epoch: int, chosen: Tensor) -> Examples:
    pixels = images.pixels.index_select(0, images.examples.index_select(0, chosen))
    return Examples(normalize_pixels(assets, pixels), images.labels.index_select(0, chosen))


def summarize_images(
    split: SplitName, images: Images | None, assets: Mapping[str, Any], files: Sequence[str]
) -> SplitSummary:
    """Count the images of a split, all and of each class; None for a split that has not been read."""
    if images is None:
        return SplitSummary(name=split, examples=None, files=tuple(files))
    classes = count_classes(images.labels.numpy(), assets["labels"])
    return SplitSummary(name=split, examples=len(images.labels), files=tuple(files), classes=classes)


def describe_format(assets: Mapping[str, Any]) -> dict[str, str]:
    """Describe what a model of these images reads."""
    colours = "grey" if assets["channels"] == 1 else "red, green, blue"
    return {"model input": f"{assets['width']} x {assets['height']} pixels, {colours}"}


def hash_images(images: Images, assets: Mapping[str, Any]) -> Hashes:
    """Hash the pixels of each image and the name of its class, (N,)."""
    pixels, labels = images.pixels.numpy(), assets["labels"]
    return hash_contents(
        pixels[example].tobytes() + str(labels[label]).encode("utf-8", "surrogateescape")
        for example, label in zip(images.examples.tolist(), images.labels.tolist(), strict=True)
    )
