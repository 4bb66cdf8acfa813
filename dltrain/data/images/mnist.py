"""Published sets of small images, each of one of a few classes: MNIST, those in its format, and CIFAR."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy
import torch
from torch import Tensor

from dltrain.batch import Examples
from dltrain.data.contents import Hashes
from dltrain.data.images import cifar, idx
from dltrain.data.images.batches import (
    ImageBatching,
    Images,
    ImageSplits,
    describe_format,
    hash_images,
    summarize_images,
)
from dltrain.data.images.options import Augmentation
from dltrain.data.images.pixels import average_border, measure_pixels
from dltrain.data.images.samples import DIGITS, read_sample
from dltrain.data.images.sets import IMAGE_SETS, Split, fetch, locate_image_set
from dltrain.data.sampling import Sampling, describe_classes
from dltrain.data.splits import hold_out, select_fold
from dltrain.dataset import DataSummary, SplitName
from dltrain.errors import DataError, UsageError
from dltrain.options import BatchSize, Fold, FolderPath, Fraction, NonNegativeInt, PositiveInt
from dltrain.registry import datasets
from dltrain.stream import Loader


@datasets.register("mnist", data="images", sizes={"image_channels": 1, "height": 28, "width": 28, "classes": 10})
@datasets.register(
    "fashion_mnist", data="images", sizes={"image_channels": 1, "height": 28, "width": 28, "classes": 10}
)
@datasets.register("kmnist", data="images", sizes={"image_channels": 1, "height": 28, "width": 28, "classes": 10})
@datasets.register(
    "emnist_balanced", data="images", sizes={"image_channels": 1, "height": 28, "width": 28, "classes": 47}
)
@datasets.register(
    "emnist_byclass", data="images", sizes={"image_channels": 1, "height": 28, "width": 28, "classes": 62}
)
@datasets.register(
    "emnist_bymerge", data="images", sizes={"image_channels": 1, "height": 28, "width": 28, "classes": 47}
)
@datasets.register(
    "emnist_digits", data="images", sizes={"image_channels": 1, "height": 28, "width": 28, "classes": 10}
)
@datasets.register(
    "emnist_letters", data="images", sizes={"image_channels": 1, "height": 28, "width": 28, "classes": 26}
)
@datasets.register("emnist_mnist", data="images", sizes={"image_channels": 1, "height": 28, "width": 28, "classes": 10})
@datasets.register("cifar10", data="images", sizes={"image_channels": 3, "height": 32, "width": 32, "classes": 10})
@datasets.register("cifar100", data="images", sizes={"image_channels": 3, "height": 32, "width": 32, "classes": 100})
@datasets.register("idx", data="images")
class IDXImages:
    """Images and their classes: MNIST, Fashion-MNIST, KMNIST, EMNIST, CIFAR-10, CIFAR-100 or your own set in IDX files.

    Reads train-images-idx3-ubyte, train-labels-idx1-ubyte and their t10k-... counterparts, plain or .gz, from
    ROOT/MNIST/raw (FashionMNIST, KMNIST), ROOT/raw or ROOT; of EMNIST emnist-letters-train-images-idx3-ubyte and so on
    from ROOT/EMNIST/raw, whose images lie on their side and are turned upright; of CIFAR the binary version
    (data_batch_1.bin, ...) from ROOT/cifar-10-batches-bin (cifar-100-binary) or ROOT. The validation split is taken
    from the training files.

    Options:
        root: folder with the files.
        validation: share of the training files kept for validation.
        stratified: keep the classes' shares equal in the training and the validation split.
        fold: test on this part of the training files instead of on the test files.
        batch_size: images per training batch; the last one of an epoch may be smaller.
        sampling: shuffled (each training example once in an epoch) or balanced (each class equally often: an epoch is
            as long as before, examples of rare classes are repeated and those of common ones take turns).
        evaluation_batch_size: images per batch of validation and test.
        normalize: standard (zero mean and unit variance over the training split), symmetric ([-1, 1]) or unit ([0, 1]).
        augment: random changes to the training images.
        workers: threads that prepare training batches in advance; 0 prepares them in the training thread.
        download: fetch missing files.
        when_missing: if the files are missing, stop with an error, or use the digits sample with a notice (mnist only).
        sample: use the digits sample even if the files exist (mnist only).
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        root: FolderPath = "data",
        validation: Fraction = 0.1,
        stratified: bool = True,
        fold: Fold | None = None,
        batch_size: BatchSize = 64,
        sampling: Sampling = "shuffled",
        evaluation_batch_size: PositiveInt = 128,
        normalize: Literal["standard", "symmetric", "unit"] = "standard",
        augment: Augmentation | None = None,
        workers: NonNegativeInt = 0,
        download: bool = True,
        when_missing: Literal["error", "sample"] = "error",
        sample: bool = False,
    ) -> None:
        if variant != "mnist" and (sample or when_missing == "sample"):
            option = "sample: true" if sample else "when_missing: sample"
            raise UsageError(f"data.{option}: there is no sample of {variant}, only of mnist; allowed is an error.")
        augmentation = augment or Augmentation()
        self._sampling: Sampling = sampling
        self._batching = ImageBatching(
            seed, batch_size, evaluation_batch_size, augmentation, workers=workers, sampling=sampling
        )
        self._variant, self._seed, self._root = variant, seed, Path(root).expanduser()
        self._files, self._names = locate_image_set(variant, self._root), IMAGE_SETS[variant].splits
        self._fetch = partial(fetch, variant, self._root) if download and self._files.mirrors else None
        self._validation, self._stratified, self._fold = validation, stratified, fold
        self.fingerprint: dict[str, str] = {}
        self._starts: dict[Split, list[int]] = {}  # the number of the first image in each file
        self.notice = DIGITS.substitute(
            assets, sample, when_missing, check_files=lambda: self._files.obtain(self._names["train"], self._fetch)
        )
        self.name = DIGITS.name if self.notice else variant
        self.assets: Mapping[str, Any] = assets or {}
        if assets is None:
            self.assets = self._learn(normalize)

    def training(self) -> Loader[Examples]:
        return self._batching.load_training(self._splits.training, self.assets)

    def validation(self) -> Loader[Examples]:
        return self._batching.load_evaluation(self._splits.validation, self.assets)

    def test(self) -> Loader[Examples]:
        return self._batching.load_evaluation(self._test, self.assets)

    def summarize(self) -> DataSummary:
        splits = [
            summarize_images("training", self._splits.training, self.assets, self._name_files("train")),
            summarize_images("validation", self._splits.validation, self.assets, self._name_files("train")),
        ]
        read = self._fold is not None or "_test" in vars(self)
        files = self._name_files("test" if self._fold is None else "train")
        splits.append(summarize_images("test", self._test if read else None, self.assets, files))
        return DataSummary(unit="images", splits=tuple(splits), facts=describe_format(self.assets))

    def identities(self, split: SplitName) -> Hashes:
        """The pixels, before any augmentation, and the name of the class."""
        images: Images = self._test if split == "test" else self._splits.select(split)
        return hash_images(images, self.assets)

    def show_raw(self, split: SplitName, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The position of some images in their file, or in all of them, counted from 0, and their labels."""
        images: Images = self._test if split == "test" else self._splits.select(split)
        return [{"image": int(images.examples[at]), "label": int(images.labels[at])} for at in indices]

    def name_examples(self, split: SplitName, indices: Sequence[int]) -> list[str]:
        """The file with the images, and the position in it, counted from 0."""
        source: Split = "test" if split == "test" and self._fold is None else "train"
        files, starts = self._name_files(source), self._starts.get(source, [0])
        names = []
        for row in self.show_raw(split, indices):
            at = bisect_right(starts, row["image"]) - 1
            names.append(f"{Path(files[at]).name}, image {row['image'] - starts[at]}")
        return names

    @cached_property
    def _test(self) -> Images:
        return self._read("test") if self._fold is None else self._splits.test

    def _name_files(self, split: Split) -> tuple[str, ...]:
        if self.notice:
            return (self.name,)
        return tuple(str(self._files.find(name) or self._root / name) for name in self._names[split])

    def _read(self, split: Split) -> Images:
        """Read a whole split, in the order of its files."""
        if self.notice:
            pixels, labels = read_sample(split)
            content = hashlib.sha256(pixels.numpy().tobytes() + labels.numpy().tobytes())
            self.fingerprint[f"digits-{split}"] = content.hexdigest()
        else:
            self._files.obtain(self._names[split], self._fetch)
            pixels, labels = self._read_cifar(split) if IMAGE_SETS[self._variant].label_bytes else self._read_idx(split)
        found, expected = tuple(pixels.shape[2:]), (self.assets.get("height"), self.assets.get("width"))
        if self.assets and found != expected:
            raise DataError(
                f"{self._root}: the {split} images are {found[0]} x {found[1]} pixels, but the model was trained on "
                f"{expected[0]} x {expected[1]}. Give the files that belong to it."
            )
        return Images(pixels, labels.long(), torch.arange(len(labels)))

    def _read_idx(self, split: Split) -> tuple[Tensor, Tensor]:
        names = self.assets.get("labels", IMAGE_SETS[self._variant].labels)
        arrays = idx.read_split(self._files, split, None if names is None else len(names))
        for name, array in zip(self._names[split], arrays, strict=True):
            self.fingerprint[name] = idx.hash_content(array)
        return torch.from_numpy(arrays[0]).unsqueeze(1), torch.from_numpy(arrays[1])

    def _read_cifar(self, split: Split) -> tuple[Tensor, Tensor]:
        read = cifar.read_split(self._variant, self._files, split)
        self.fingerprint |= {name: records.sha256 for name, records in read.items()}
        self._starts[split] = [0, *accumulate(len(records.labels) for records in read.values())][:-1]
        images, labels = (numpy.concatenate([records[part] for records in read.values()]) for part in (0, 1))
        return torch.from_numpy(images), torch.from_numpy(labels)

    @cached_property
    def _splits(self) -> ImageSplits:
        images = self._read("train")
        tested = numpy.zeros(len(images.labels), bool)
        if self._fold is not None:
            tested = select_fold(len(images.labels), self._fold, self._seed, labels=images.labels.numpy())
        rest = images.select(~tested)
        strata = rest.labels.numpy() if self._stratified else numpy.zeros(len(rest.labels))
        kept = hold_out(strata, self._validation, self._seed)
        if kept.all():
            raise DataError(
                f"data.validation={self._validation} of {len(kept)} images leaves none to train on; "
                "allowed is a smaller share."
            )
        return ImageSplits(rest.select(~kept), rest.select(kept), images.select(tested))

    def _learn(self, normalize: str) -> Mapping[str, Any]:
        training = self._splits.training
        pixels = training.pixels.index_select(0, training.examples)
        names = IMAGE_SETS[self._variant].labels
        classes = 1 + max(int(part.labels.max()) for part in self._splits if len(part.labels))
        mean, std = measure_pixels(pixels)
        labels = [str(label) for label in range(classes)] if names is None else list(names)
        return {
            "dataset": self.name,
            "labels": labels,
            **describe_classes(training.labels, len(labels), self._sampling),
            "channels": pixels.shape[1],
            "height": pixels.shape[2],
            "width": pixels.shape[3],
            "normalize": normalize,
            "mean": mean,
            "std": std,
            "background": average_border(pixels),
        }
