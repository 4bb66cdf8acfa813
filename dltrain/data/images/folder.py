"""Pictures of the user's own, in a folder for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from dltrain.batch import Examples
from dltrain.data.cache import Cache, Entry, cache_directory
from dltrain.data.images.class_folders import Listing, Split, list_pictures, split_folders, ways_out
from dltrain.data.images.decoded import DecodedPictures, hash_pictures, load_pictures
from dltrain.data.images.mnist import EvaluationBatches, Images, Splits, TrainingBatches, check_augmentation, held_out
from dltrain.data.images.options import Augmentation
from dltrain.data.images.patches import SAMPLE_NAME, picture_sample, sample_listing
from dltrain.data.images.pictures import PictureFormat
from dltrain.data.splits import select_fold
from dltrain.errors import DataError, UsageError
from dltrain.options import Fold, Fraction, NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval
from dltrain.registry import datasets
from dltrain.stream import Loader

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
"""Of red, green and blue, as the weights that torchvision publishes were trained with."""

_NAMED = 5


class Pool(NamedTuple):
    """The pictures under one folder; those that are not `usable` (N,) bool are in no split."""

    listing: Listing
    decoded: DecodedPictures
    usable: NDArray[numpy.bool_]

    def images(self, chosen: NDArray[numpy.bool_] | None = None) -> Images:
        """The usable ones, all or among the chosen."""
        count = len(self.usable)
        labels = torch.from_numpy(self.listing.labels)
        return Images(self.decoded.pixels, labels, torch.arange(count)).only(
            self.usable if chosen is None else self.usable & chosen
        )


@datasets.register("image_folder", data="images")
class ImageFolder:
    """Pictures in a folder for each class: ROOT/train/CLASS/... and ROOT/test/CLASS/..., or ROOT/CLASS/... alone.

    ROOT/validation/CLASS/... (val, valid) is used where it is there. A split without a folder is a share of the
    training pictures, drawn by the seed, with the classes' shares kept equal; it is the same as long as the names of
    the files are. The classes are the folders' names, in their alphabetical order.

    Pictures may be PNG, JPEG, BMP, GIF, WebP or TIFF files of any size. They are turned as their camera noted; what is
    transparent becomes white; of 16 bits the upper 8 are kept. They are decoded once, by all cores, into the cache:
    one byte for each pixel and channel. Files that cannot be read are left out and counted.

    Options:
        root: folder with the splits' folders, or with the classes' folders.
        validation: share of the training pictures that is kept for validation, where no folder is.
        test: share of the training pictures that is kept for the test, where no folder is.
        fold: test on this part of the training pictures instead of on the test folder or share.
        height: pixels of each image, from top to bottom.
        width: pixels of each image, from left to right.
        mode: colours (rgb) or grey.
        resize: fit keeps the whole picture and pads it with the colour of its border, crop fills the image with its
            middle, stretch changes its proportions.
        max_bad_fraction: stop when a larger share of a folder's pictures cannot be read.
        batch_size: images per training batch; the last one of an epoch may be smaller.
        evaluation_batch_size: images per batch of validation and test.
        normalize: standard (zero mean and unit variance of each channel over the training split), symmetric ([-1, 1]),
            unit ([0, 1]) or imagenet (by ImageNet's statistics, as torchvision's published weights expect it).
        augment: random changes to the training images.
        workers: threads that make training batches ahead of their use; 0 makes them in the training thread.
        cache: folder for prepared data; $DLTRAIN_CACHE or ~/.cache/dltrain when not given.
        cache_gigabytes: limit of that folder's size; what was used least recently is removed beyond it.
        when_missing: without the root, stop with an error, or use patches of two photographs and say so.
        sample: use those patches even where the root is.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        root: str = "data/images",
        validation: Fraction = 0.1,
        test: Fraction = 0.1,
        fold: Fold | None = None,
        height: PositiveInt = 64,
        width: PositiveInt = 64,
        mode: Literal["rgb", "grey"] = "rgb",
        resize: Literal["fit", "crop", "stretch"] = "fit",
        max_bad_fraction: UnitInterval = 0.05,
        batch_size: PositiveInt = 64,
        evaluation_batch_size: PositiveInt = 128,
        normalize: Literal["standard", "symmetric", "unit", "imagenet"] = "standard",
        augment: Augmentation | None = None,
        workers: NonNegativeInt = 0,
        cache: str | None = None,
        cache_gigabytes: PositiveFloat = 20.0,
        when_missing: Literal["error", "sample"] = "error",
        sample: bool = False,
    ) -> None:
        check_augmentation(augment)
        self._variant, self._seed, self._root = variant, seed, Path(root).expanduser()
        self._validation, self._test, self._fold = validation, test, fold
        self._max_bad_fraction = max_bad_fraction
        self._batch_size, self._evaluation_batch_size = batch_size, evaluation_batch_size
        self._augmentation, self._workers = augment or Augmentation(), workers
        self._cache = Cache(cache_directory(cache), cache_gigabytes * 1e9)
        self._form = (
            PictureFormat(3 if mode == "rgb" else 1, height, width, resize)
            if assets is None
            else PictureFormat.of(assets)
        )
        self._fingerprint: dict[str, str] = {}
        self._notices: dict[str, str] = {}
        self._assets: Mapping[str, Any] = assets or {}
        self._sample = self._sample_instead(when_missing, sample)
        if assets is None:
            self._assets = self._learn(normalize)

    @property
    def name(self) -> str:
        return self._variant if self._sample is None else SAMPLE_NAME

    @property
    def assets(self) -> Mapping[str, Any]:
        return self._assets

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The SHA-256 of each folder's list of pictures: a line with name and SHA-256 of each."""
        return dict(self._fingerprint)

    @property
    def notice(self) -> str | None:
        return "\n".join(self._notices.values()) or None

    def training(self) -> Loader[Examples]:
        images = self._splits.training
        batches = TrainingBatches(images, self._assets, self._batch_size, self._seed, self._augmentation)
        return Loader(batches, self._workers)

    def validation(self) -> Loader[Examples]:
        if "validation" in self._folders:
            return self._evaluation(self._pool("validation").images())
        return self._evaluation(self._splits.validation)

    def test(self) -> Loader[Examples]:
        if self._fold is None and "test" in self._folders:
            return self._evaluation(self._pool("test").images())
        images = self._splits.fold
        if not len(images.labels):
            other = ", or evaluate with --split validation" if self._validation or "validation" in self._folders else ""
            raise UsageError(
                f"{self._root}: no folder test, and data.test={self._test} of the training pictures are none",
                advice=f"put test pictures into {self._root / 'test'}{other}",
            )
        return self._evaluation(images)

    def _evaluation(self, images: Images) -> Loader[Examples]:
        return Loader(EvaluationBatches(images, self._assets, self._evaluation_batch_size))

    def _sample_instead(self, when_missing: str, sample: bool) -> Entry | None:
        why = "as asked." if sample else "as this model's training did."
        if not (sample or self._assets.get("dataset") == SAMPLE_NAME):
            if self._assets or when_missing == "error" or self._root.exists():
                return None
            why = f"because {self._root} is missing (data.root names the folder of your own)."
        self._notices["sample"] = (
            f"NOT YOUR PICTURES: this uses the {SAMPLE_NAME}, 32 x 32 pixels each, {why} No number from it says "
            "anything about other pictures."
        )
        return picture_sample(self._cache)

    @cached_property
    def _folders(self) -> Mapping[Split, Path]:
        if self._sample is not None:
            return {"training": self._sample.path, "test": self._sample.path}
        return split_folders(self._root)

    def _listing(self, split: Split) -> Listing:
        if self._sample is not None:
            return sample_listing(self._sample, split)
        if split == "training" and not self._assets:
            return list_pictures(self._folders[split])
        labels = self._assets.get("labels") or self._training.listing.classes
        found = list_pictures(self._folders[split], labels)
        if split == "training" and found.digest() != self._assets["names"]:
            raise DataError(
                f"{found.folder}: its pictures have other names than when the model was trained, so that other ones "
                "would be drawn for validation and test, some of which it has learned from",
                advice=f"restore the folder, or put test pictures into {self._root / 'test'}",
            )
        return found

    def _pool(self, split: Split) -> Pool:
        """All pictures of a split's folder; tells what is left out of it."""
        listing = self._listing(split)
        if not listing.names:
            raise DataError(f"{listing.folder}: no pictures in it", advice=ways_out(self._root))
        paths = [listing.folder / name for name in listing.names]
        hashes = hash_pictures(paths, f"{split} pictures", self._cache)
        lines = (f"{name} {digest}\n" for name, digest in zip(listing.names, hashes, strict=True))
        content = "".join(lines).encode("utf-8", "surrogateescape")
        self._fingerprint[f"{split} pictures"] = hashlib.sha256(content).hexdigest()
        found = load_pictures(paths, hashes, self._form, f"{split} pictures", self._cache)
        _check_share(listing, found.faults, self._max_bad_fraction)
        self._tell(split, listing, found.faults)
        usable = numpy.ones(len(paths), bool)
        usable[list(found.faults)] = False
        return Pool(listing, found, usable)

    def _tell(self, split: Split, listing: Listing, faults: Mapping[int, str]) -> None:
        parts = []
        if faults:
            named = "; ".join(_named(listing, faults, 2))
            parts.append(f"{len(faults)} of {len(listing.names)} pictures are left out ({named})")
        if listing.ignored:
            named = ", ".join(_first(listing.ignored, 2))
            parts.append(f"{len(listing.ignored)} other files are ignored ({named})")
        if parts:
            self._notices[split] = f"{listing.folder}: {'; '.join(parts)}."

    @cached_property
    def _training(self) -> Pool:
        return self._pool("training")

    @cached_property
    def _splits(self) -> Splits:
        pool = self._training
        labels = torch.from_numpy(pool.listing.labels)
        tested = numpy.zeros(len(labels), bool)
        if self._fold is not None:
            tested = select_fold(len(labels), self._fold, self._seed, pool.listing.labels)
        elif "test" not in self._folders:
            tested = held_out(labels, self._test, True, self._seed, "test").numpy()
        kept = numpy.zeros(len(labels), bool)
        if "validation" not in self._folders:
            kept[~tested] = held_out(labels[torch.from_numpy(~tested)], self._validation, True, self._seed).numpy()
        training = pool.images(~tested & ~kept)
        for label, name in enumerate(pool.listing.classes):
            if not (training.labels == label).any():
                raise DataError(
                    f"{pool.listing.folder / name}: {int((labels == label).sum())} pictures, none of which is left to "
                    "train on after what cannot be read and the shares for validation and test are taken away",
                    advice="add some, or lower data.validation and data.test",
                )
        return Splits(training, pool.images(kept), pool.images(tested))

    def _learn(self, normalize: str) -> Mapping[str, Any]:
        pool = self._training
        statistics = pool.decoded.statistics(self._splits.training.examples.numpy())
        means, stds = statistics.mean, statistics.std
        if normalize == "imagenet":
            means, stds = IMAGENET_MEAN, IMAGENET_STD
        return {
            "dataset": self.name,
            "labels": list(pool.listing.classes),
            **self._form._asdict(),
            "invertible": False,
            "normalize": normalize,
            "mean": means if self._form.channels > 1 else sum(means) / len(means),
            "std": stds if self._form.channels > 1 else sum(stds) / len(stds),
            "background": statistics.border,
            "names": pool.listing.digest(),
        }


def _check_share(listing: Listing, faults: Mapping[int, str], most: float) -> None:
    """Raises DataError where more than a share `most` of the pictures cannot be used."""
    count = len(listing.names)
    if len(faults) > most * count:
        named = "".join(f"\n  {line}" for line in _named(listing, faults, _NAMED))
        raise DataError(
            f"{listing.folder}: {len(faults)} of {count} pictures cannot be used ({len(faults) / count:.1%}; "
            f"data.max_bad_fraction allows {most:.1%}){named}",
            advice="run `dltrain data check image_folder` for all of them; mend or remove them, or raise "
            "data.max_bad_fraction",
        )


def _named(listing: Listing, faults: Mapping[int, str], most: int) -> list[str]:
    return _first([f"{listing.names[place]}: {reason}" for place, reason in faults.items()], most)


def _first(words: Sequence[str], most: int) -> list[str]:
    return [*words[:most], *([f"and {len(words) - most} more"] if len(words) > most else [])]
