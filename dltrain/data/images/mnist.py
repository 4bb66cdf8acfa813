"""MNIST and the sets in its form: grey images in IDX files, each of one of a few classes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction as Rational
from functools import cached_property
from math import floor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltrain.batch import Examples
from dltrain.data.images import idx
from dltrain.data.images.augmentation import CHANCES, augment
from dltrain.data.images.digits import SAMPLE_NAME, read_sample
from dltrain.data.images.fetch import fetch, ways_out
from dltrain.data.images.options import Augmentation
from dltrain.data.images.sets import FILES, IMAGE_SETS, Split
from dltrain.data.splits import select_fold
from dltrain.errors import DataError, UsageError
from dltrain.options import Fold, Fraction, NonNegativeInt, PositiveInt
from dltrain.registry import datasets
from dltrain.runtime.seeds import generator, keyed_uniform, permutation
from dltrain.stream import Loader

Assets = Mapping[str, Any]


class Images(NamedTuple):
    """Some images of a file: `labels` (N,) int64, and their places in its `pixels` (M, C, H, W) uint8, `examples` (N,).

    `pixels` are all of the file's, N of them or more.
    """

    pixels: Tensor
    labels: Tensor
    examples: Tensor

    def only(self, chosen: NDArray[numpy.bool_]) -> Images:
        places = torch.from_numpy(numpy.flatnonzero(chosen))
        return Images(self.pixels, self.labels.index_select(0, places), self.examples.index_select(0, places))


class Splits(NamedTuple):
    """Of the training files; `fold` is what a cross-validation tests on, empty without one."""

    training: Images
    validation: Images
    fold: Images


@datasets.register("mnist", data="images", sizes={"image_channels": 1, "height": 28, "width": 28, "classes": 10})
@datasets.register(
    "fashion_mnist", data="images", sizes={"image_channels": 1, "height": 28, "width": 28, "classes": 10}
)
@datasets.register("kmnist", data="images", sizes={"image_channels": 1, "height": 28, "width": 28, "classes": 10})
@datasets.register("idx", data="images")
class IDXImages:
    """Grey images and their classes from IDX files: MNIST, Fashion-MNIST, KMNIST or a set of the user's own.

    Reads train-images-idx3-ubyte, train-labels-idx1-ubyte and their t10k-... counterparts, plain or .gz, from
    ROOT/MNIST/raw (FashionMNIST, KMNIST), ROOT/raw or ROOT. The validation split is taken from the training files.

    Options:
        root: folder with the files.
        validation: share of the training files that is kept for validation.
        stratified: keep the classes' shares equal in the training and the validation split.
        fold: test on this part of the training files instead of on the test files.
        batch_size: images per training batch; the last one of an epoch may be smaller.
        evaluation_batch_size: images per batch of validation and test.
        normalize: standard (zero mean and unit variance over the training split), symmetric ([-1, 1]) or unit ([0, 1]).
        augment: random changes to the training images.
        workers: threads that make training batches ahead of their use; 0 makes them in the training thread.
        download: fetch files that are not there.
        when_missing: without the files, stop with an error, or use the digits sample and say so (mnist only).
        sample: use the digits sample even where the files are (mnist only).
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        root: str = "data",
        validation: Fraction = 0.1,
        stratified: bool = True,
        fold: Fold | None = None,
        batch_size: PositiveInt = 64,
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
        check_augmentation(augment)
        self._variant, self._seed = variant, seed
        self._root, self._download = Path(root).expanduser(), download
        self._validation, self._stratified, self._fold = validation, stratified, fold
        self._batch_size, self._evaluation_batch_size = batch_size, evaluation_batch_size
        self._augmentation, self._workers = augment or Augmentation(), workers
        self._fingerprint: dict[str, str] = {}
        self._notice: str | None = None
        self._assets: Assets = assets or {}
        if sample or self._assets.get("dataset") == SAMPLE_NAME:
            self._notice = _sample_notice("as asked." if sample else "as this model's training did.")
        elif assets is None:
            self._obtain_training_files(when_missing)
        if assets is None:
            self._assets = self._learn(normalize)

    @property
    def name(self) -> str:
        return SAMPLE_NAME if self._notice else self._variant

    @property
    def assets(self) -> Assets:
        return self._assets

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return dict(self._fingerprint)

    @property
    def notice(self) -> str | None:
        return self._notice

    def training(self) -> Loader[Examples]:
        batches = TrainingBatches(self._splits.training, self._assets, self._batch_size, self._seed, self._augmentation)
        return Loader(batches, self._workers)

    def validation(self) -> Loader[Examples]:
        return Loader(EvaluationBatches(self._splits.validation, self._assets, self._evaluation_batch_size))

    def test(self) -> Loader[Examples]:
        images = self._read("test") if self._fold is None else self._splits.fold
        return Loader(EvaluationBatches(images, self._assets, self._evaluation_batch_size))

    def _obtain_training_files(self, when_missing: str) -> None:
        try:
            self._obtain("train")
        except DataError as error:
            if when_missing == "error":
                raise
            self._notice = _sample_notice(f"because the files are missing:\n{error}\n")

    def _obtain(self, split: Split) -> None:
        known = IMAGE_SETS[self._variant]
        if not idx.missing_files(self._root, known.folder, split):
            return
        if self._download and known.mirrors:
            fetch(self._variant, self._root)
            return
        missing = idx.missing_message(self._root, known.folder, split)
        target = idx.list_idx_folders(self._root, known.folder)[0]
        fetching = f"\nRun `dltrain data fetch {self._variant}`, or:" if known.mirrors else ""
        raise DataError(f"{missing}.{fetching}\n{ways_out(self._variant, target)}")

    def _read(self, split: Split) -> Images:
        """A whole split, in the order of its files."""
        if self._notice:
            pixels, labels = read_sample(split)
            content = hashlib.sha256(pixels.numpy().tobytes() + labels.numpy().tobytes())
            self._fingerprint[f"digits-{split}"] = content.hexdigest()
        else:
            self._obtain(split)
            known = IMAGE_SETS[self._variant]
            names = self._assets.get("labels", known.labels)
            arrays = idx.read_split(self._root, known.folder, split, None if names is None else len(names))
            for name, array in zip(FILES[split], arrays, strict=True):
                self._fingerprint[name] = idx.content_digest(array)
            pixels, labels = torch.from_numpy(arrays[0]).unsqueeze(1), torch.from_numpy(arrays[1])
        found, expected = tuple(pixels.shape[2:]), (self._assets.get("height"), self._assets.get("width"))
        if self._assets and found != expected:
            raise DataError(
                f"{self._root}: the {split} images are {found[0]} x {found[1]} pixels, but the model was trained on "
                f"{expected[0]} x {expected[1]}. Give the files that belong to it."
            )
        return Images(pixels, labels.long(), torch.arange(len(labels)))

    @cached_property
    def _splits(self) -> Splits:
        images = self._read("train")
        tested = numpy.zeros(len(images.labels), bool)
        if self._fold is not None:
            tested = select_fold(len(images.labels), self._fold, self._seed, images.labels.numpy())
        rest = images.only(~tested)
        kept = held_out(rest.labels, self._validation, self._stratified, self._seed).numpy()
        if kept.all():
            raise DataError(
                f"data.validation={self._validation} of {len(kept)} images leaves none to train on; "
                "allowed is a smaller share."
            )
        return Splits(rest.only(~kept), rest.only(kept), images.only(tested))

    def _learn(self, normalize: str) -> Assets:
        training = self._splits.training
        pixels = training.pixels.index_select(0, training.examples)
        names = IMAGE_SETS[self._variant].labels
        classes = 1 + max(int(part.labels.max()) for part in self._splits if len(part.labels))
        mean, std = measure_pixels(pixels)
        return {
            "dataset": self.name,
            "labels": [str(label) for label in range(classes)] if names is None else list(names),
            "channels": pixels.shape[1],
            "height": pixels.shape[2],
            "width": pixels.shape[3],
            "normalize": normalize,
            "mean": mean,
            "std": std,
            "background": average_border(pixels),
        }


def check_augmentation(augmentation: Augmentation | None) -> None:
    """Raises UsageError for a range that ends before it begins."""
    scale = None if augmentation is None else augmentation.scale
    if scale is not None and (len(scale) != 2 or scale[0] > scale[1]):
        raise UsageError(f"data.augment.scale: {scale}; allowed are two numbers, the lower first, such as [0.9, 1.1].")


def _sample_notice(why: str) -> str:
    return (
        f"NOT MNIST: this uses the {SAMPLE_NAME}, 1,797 real handwritten digits enlarged from 8 x 8 pixels, {why} "
        "No number from it is MNIST's."
    )


def held_out(labels: Tensor, fraction: float, stratified: bool, seed: int, split: str = "validation") -> Tensor:
    """Which of the examples are kept for another split, (N,) bool: exactly round(N * fraction) of them.

    Stratified, each class gives its share, rounded by the method of the largest remainder.
    """
    share = Rational(str(fraction))  # 0.1 means a tenth, not the nearest double
    strata = labels.numpy() if stratified else numpy.zeros(len(labels))
    groups = [numpy.flatnonzero(strata == stratum) for stratum in numpy.unique(strata)]
    quotas = [share * len(group) for group in groups]
    counts = [floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(groups)), key=lambda number: counts[number] - quotas[number])
    for number in by_remainder[: round(share * len(labels)) - sum(counts)]:
        counts[number] += 1
    kept = numpy.zeros(len(labels), bool)
    for number, (group, count) in enumerate(zip(groups, counts, strict=True)):
        order = torch.randperm(len(group), generator=generator(split, seed, number))
        kept[group[order[:count].numpy()]] = True
    return torch.from_numpy(kept)


def measure_pixels(pixels: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of uint8 pixels, in 0..1; the deviation of constant pixels is taken as 1."""
    counts = torch.bincount(pixels.flatten(), minlength=256).double()
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts * values).sum() / counts.sum()
    variance = (counts * (values - mean) ** 2).sum() / counts.sum()
    return float(mean), float(variance.sqrt()) or 1.0


def average_border(pixels: Tensor) -> float:
    """Mean of the outermost pixels of uint8 images (N, C, H, W), in 0..1: what surrounds an image when it moves."""
    border = torch.ones(pixels.shape[2:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    values = pixels[:, :, border]
    return int(values.sum()) / (255 * values.numel())


def get_normalization(assets: Assets) -> tuple[float, float] | tuple[Tensor, Tensor]:
    """Scale and offset that normalise pixels in 0..255 as the assets say; by channel they are (C, 1, 1) float32."""
    if assets["normalize"] in ("symmetric", "unit"):
        return (2 / 255, -1.0) if assets["normalize"] == "symmetric" else (1 / 255, 0.0)
    mean, std = assets["mean"], assets["std"]
    if isinstance(mean, list):
        means, stds = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (mean, std))
        return (1 / (255 * stds)).float(), (-means / stds).float()
    return 1 / (255 * std), -mean / std


def normalize_pixels(assets: Assets, pixels: Tensor) -> Tensor:
    """Pixels (N, C, H, W) in 0..255, uint8 or float32, as the model's inputs, float32."""
    scale, offset = get_normalization(assets)
    if isinstance(scale, Tensor):
        return (pixels * scale).add_(offset)
    return torch.add(torch.tensor(offset), pixels, alpha=scale)  # one pass, conversion to float32 included


@dataclass
class TrainingBatches:
    """Shuffled and augmented batches: a function of (seed, epoch, index)."""

    images: Images
    assets: Assets
    batch_size: int
    seed: int
    augmentation: Augmentation

    def __post_init__(self) -> None:
        self._augments = self.augmentation != Augmentation()
        self._order = (-1, torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        whole, left = divmod(len(self.images.labels), self.batch_size)
        # Batch normalisation cannot learn from one example: a single one left over joins the batch before it.
        return max(1, whole + (left > 1))

    def batch(self, epoch: int, index: int) -> Examples:
        end = (index + 1) * self.batch_size if index < len(self) - 1 else None
        chosen = self._order_of(epoch)[index * self.batch_size : end]
        examples = self.images.examples.index_select(0, chosen)
        pixels = self.images.pixels.index_select(0, examples)
        if self._augments:
            chances = keyed_uniform(self.seed, epoch, examples, CHANCES)
            pixels = augment(pixels.float(), chances, self.augmentation, 255 * self.assets["background"])
        return Examples(normalize_pixels(self.assets, pixels), self.images.labels.index_select(0, chosen))

    def _order_of(self, epoch: int) -> Tensor:
        known, order = self._order  # read once: another thread may replace it
        if known != epoch:
            order = permutation(self.seed, epoch, len(self.images.labels))
            self._order = (epoch, order)
        return order


@dataclass
class EvaluationBatches:
    """Batches in the order of the files, the same in every epoch."""

    images: Images
    assets: Assets
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.images.labels) // self.batch_size)

    def batch(self, epoch: int, index: int) -> Examples:
        chosen = slice(index * self.batch_size, (index + 1) * self.batch_size)
        pixels = self.images.pixels.index_select(0, self.images.examples[chosen])
        return Examples(normalize_pixels(self.assets, pixels), self.images.labels[chosen])
