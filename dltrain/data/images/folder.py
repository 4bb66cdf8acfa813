"""Pictures of your own, in a folder for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from dltrain.batch import Examples
from dltrain.data.cache import Cache, cache_directory
from dltrain.data.contents import Hashes, describe_trained, hash_fields
from dltrain.data.images.batches import ImageBatching, Images, ImageSplits, describe_format, summarize_images
from dltrain.data.images.class_folders import (
    Listing,
    Split,
    advise_folders,
    check_classes,
    list_pictures,
    split_folders,
)
from dltrain.data.images.decoded import DecodedPictures, find_largest, load_pictures
from dltrain.data.images.findings import count_originals, count_several, describe_findings
from dltrain.data.images.options import Augmentation
from dltrain.data.images.pictures import FULL, PictureFormat, has_former_suffix, is_picture
from dltrain.data.images.samples import PATCHES, list_sample, make_picture_sample
from dltrain.data.progress import hash_files, recall_hashes
from dltrain.data.sampling import Sampling, describe_classes
from dltrain.data.splits import hold_out, select_fold
from dltrain.data.wording import join_some
from dltrain.dataset import DataSummary, SplitName, SplitSummary, Treatment
from dltrain.errors import DataError, UsageError
from dltrain.options import (
    BatchSize,
    Fold,
    FolderPath,
    Fraction,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
)
from dltrain.registry import datasets
from dltrain.stream import Loader

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
"""Of red, green and blue, as used to train the weights that torchvision publishes."""

SPLITS: Sequence[Split] = ("training", "validation", "test")

_NAMED = 5


class Pool(NamedTuple):
    """The pictures under one folder, and the SHA-256 of each file; those not `usable` (N,) bool are in no split."""

    listing: Listing
    hashes: Sequence[str]
    decoded: DecodedPictures
    usable: NDArray[numpy.bool_]

    def select(self, chosen: NDArray[numpy.bool_] | None = None) -> Images:
        """Select the usable pictures, all or among the chosen."""
        images = Images(self.decoded.pixels, torch.from_numpy(self.listing.labels), torch.arange(len(self.usable)))
        return images.select(self.usable if chosen is None else self.usable & chosen)


@datasets.register("image_folder", data="images")
class ImageFolder:
    """Pictures in a folder for each class: ROOT/train/CLASS/... and ROOT/test/CLASS/..., or ROOT/CLASS/... alone.

    ROOT/validation/CLASS/... is used if it exists. Splits' folders are found in any case, also as training, val, valid,
    dev, eval, testing and tests; other folders next to them are reported. A split without a folder is a stratified
    share of the training pictures, drawn by the seed; it stays the same as long as the file names do. The classes are
    the folders' names, in alphabetical order.

    Pictures may be files of any size and of any format that Pillow reads, such as PNG, JPEG, BMP, GIF, WebP, TIFF, AVIF
    or JPEG 2000. They are rotated by their EXIF orientation; transparent areas become white. They are decoded once, by
    all cores, into the cache: one byte for each pixel and channel. Unreadable files are left out and counted.

    Options:
        root: folder with the splits' folders, or with the classes' folders.
        validation: share of the training pictures kept for validation, without a folder for it.
        test: share of the training pictures kept for test, without a folder for it.
        fold: test on this part of the training pictures instead of on the test folder or share.
        height: pixels of each image, from top to bottom.
        width: pixels of each image, from left to right.
        mode: colours (rgb) or grey.
        white: value of a 16-bit grey picture that becomes white; 65535 keeps the upper 8 bits, largest takes the
            largest value of the training folder.
        resize: fit keeps the whole picture and pads it with the colour of its border, crop fills the image with its
            middle, stretch changes its proportions.
        max_bad_fraction: stop when a larger share of a folder's pictures cannot be read.
        batch_size: images per training batch; the last one of an epoch may be smaller.
        sampling: shuffled (each training example once in an epoch) or balanced (each class equally often: an epoch is
            as long as before, examples of rare classes are repeated and those of common ones take turns).
        evaluation_batch_size: images per batch of validation and test.
        normalize: standard (zero mean and unit variance of each channel over the training split), symmetric ([-1, 1]),
            unit ([0, 1]) or imagenet (by ImageNet's statistics, as torchvision's published weights expect it).
        augment: random changes to the training images.
        workers: threads that prepare training batches in advance; 0 prepares them in the training thread.
        cache: folder for prepared data; $DLTRAIN_CACHE or ~/.cache/dltrain when not given.
        cache_gigabytes: limit of that folder's size; beyond it the least recently used entries are removed.
        when_missing: if the root is missing, stop with an error, or use patches of two photographs with a notice.
        sample: use those patches even if the root exists.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        root: FolderPath = "data/images",
        validation: Fraction = 0.1,
        test: Fraction = 0.1,
        fold: Fold | None = None,
        height: PositiveInt = 64,
        width: PositiveInt = 64,
        mode: Literal["rgb", "grey"] = "rgb",
        white: PositiveInt | Literal["largest"] = FULL,
        resize: Literal["fit", "crop", "stretch"] = "fit",
        max_bad_fraction: UnitInterval = 0.05,
        batch_size: BatchSize = 64,
        sampling: Sampling = "shuffled",
        evaluation_batch_size: PositiveInt = 128,
        normalize: Literal["standard", "symmetric", "unit", "imagenet"] = "standard",
        augment: Augmentation | None = None,
        workers: NonNegativeInt = 0,
        cache: FolderPath | None = None,
        cache_gigabytes: PositiveFloat = 20.0,
        when_missing: Literal["error", "sample"] = "error",
        sample: bool = False,
    ) -> None:
        augmentation = augment or Augmentation()
        self._sampling: Sampling = sampling
        self._batching = ImageBatching(
            seed, batch_size, evaluation_batch_size, augmentation, workers=workers, sampling=sampling
        )
        self._seed, self._root = seed, Path(root).expanduser()
        self._validation, self._test, self._fold = validation, test, fold
        self._max_bad_fraction = max_bad_fraction
        self._cache = Cache(cache_directory(cache), cache_gigabytes * 1e9)
        self._accepts = is_picture if assets is None or "white" in assets else has_former_suffix
        self.fingerprint: dict[str, str] = {}  # of each folder's list of pictures: a line with name and hash of each
        sample_notice = PATCHES.substitute(assets, sample, when_missing, check_files=self._check_root)
        self._sample = make_picture_sample(self._cache) if sample_notice else None
        self._notices = {"sample": sample_notice} if sample_notice else {}
        self._pools: dict[Split, Pool] = {}
        self.name = PATCHES.name if sample_notice else variant
        self.assets: Mapping[str, Any] = assets or {}
        if assets is None:
            self._format = PictureFormat(3 if mode == "rgb" else 1, height, width, resize)
            self._format = self._format._replace(white=self._find_largest() if white == "largest" else white)
            self.assets = self._learn(normalize)
        else:
            self._format = PictureFormat.from_assets(assets)

    @property
    def notice(self) -> str | None:
        return "\n".join(self._notices.values()) or None

    def training(self) -> Loader[Examples]:
        return self._batching.load_training(self._splits.training, self.assets)

    def validation(self) -> Loader[Examples]:
        return self._batching.load_evaluation(self._select("validation"), self.assets)

    def test(self) -> Loader[Examples]:
        images = self._select("test")
        if self._home("test") != "test" and not len(images.labels):
            other = ", or evaluate with --split validation" if self._validation or "validation" in self._folders else ""
            raise UsageError(
                f"{self._root}: no folder test, and data.test={self._test} of the training pictures are none",
                advice=f"put test pictures into {self._root / 'test'}{other}",
            )
        if trained := describe_trained(self.identities("test"), self._hash_trained(), "pictures"):
            self._notices["trained"] = trained
        return self._batching.load_evaluation(images, self.assets)

    def _hash_trained(self) -> Hashes:
        """Hash the training pictures without reading any file again; those of the whole folder, if test has its own."""
        if self._home("test") == "training":
            return self.identities("training")
        try:
            listing = self._listing("training")
        except DataError:  # there are no classes in it any more
            return hash_fields(())
        hashes = recall_hashes("picture-files", listing.paths, self._cache)
        return hash_fields(()) if hashes is None else hash_listed(hashes, listing, range(len(listing.names)))

    def summarize(self) -> DataSummary:
        splits = tuple(self._summarize_split(split) for split in SPLITS)
        unread = [
            Treatment(
                what=f"files of the {split} folder left out: they cannot be read",
                count=len(pool.decoded.faults),
                total=len(pool.hashes),
                option="data.max_bad_fraction",
                noticed=True,
            )
            for split, pool in self._pools.items()
            if pool.decoded.faults
        ]
        other = [
            Treatment(
                what=f"files of the {split} folder ignored: they are no pictures",
                count=len(pool.listing.ignored),
                total=len(pool.hashes) + len(pool.listing.ignored),
                noticed=True,
            )
            for split, pool in self._pools.items()
            if pool.listing.ignored
        ]
        several = [
            Treatment(
                what=f"pictures of the {split} folder are the first of several pages or frames of a file",
                count=count,
                total=len(pool.hashes),
            )
            for split, pool in self._pools.items()
            if (count := count_several(pool.decoded))
        ]
        return DataSummary(
            unit="pictures",
            division=f"shares drawn with seed {self._seed}, stratified by class" if len(self._folders) < 3 else None,
            splits=splits,
            treatments=(*unread, *other, *several),
            facts=self._list_facts(),
        )

    def _list_facts(self) -> dict[str, str]:
        facts = describe_format(self.assets)
        for split, pool in self._pools.items():
            facts |= {f"{split} folder, {name}": count for name, count in count_originals(pool.decoded).items()}
        if self._home("test") not in self._pools:
            with suppress(DataError):  # reported once the split is used
                listing = self._listing("test")
                facts["test folder, not opened yet"] = f"{len(listing.names)} pictures"
        return facts

    def _summarize_split(self, split: Split) -> SplitSummary:
        home = self._home(split)
        files = (self.name if self._sample else str(self._folders[home]),)
        if home in self._pools:
            return summarize_images(split, self._select(split), self.assets, files)
        return SplitSummary(name=split, examples=None, files=files)

    def identities(self, split: SplitName) -> Hashes:
        """The content of each picture's file, whatever size it is read at, and the name of its class."""
        images, pool = self._select(split), self._pool(self._home(split))
        return hash_listed(pool.hashes, pool.listing, images.examples.tolist())

    def show_raw(self, split: SplitName, indices: Sequence[int]) -> list[dict[str, str]]:
        """The file and the class of some pictures."""
        images, listing = self._select(split), self._pool(self._home(split)).listing
        chosen = [(int(images.examples[at]), int(images.labels[at])) for at in indices]
        return [{"file": listing.names[example], "class": listing.classes[label]} for example, label in chosen]

    def name_examples(self, split: SplitName, indices: Sequence[int]) -> list[str]:
        """The file of each picture, in the folder of its split."""
        folder = self._pool(self._home(split)).listing.folder
        return [str(folder / row["file"]) for row in self.show_raw(split, indices)]

    def _home(self, split: Split) -> Split:
        """The split whose folder has the pictures of `split`: its own, or the training folder."""
        own = split in self._folders and not (split == "test" and self._fold is not None)
        return split if own else "training"

    def _select(self, split: Split) -> Images:
        if self._home(split) == split != "training":
            return self._pool(split).select()
        return self._splits.select(split)

    def _check_root(self) -> None:
        if not self._root.exists():
            raise DataError(f"{self._root}: no such folder", advice=advise_folders(self._root))

    @cached_property
    def _folders(self) -> Mapping[Split, Path]:
        if self._sample is not None:
            return {"training": self._sample.path, "test": self._sample.path}
        found = split_folders(self._root)
        if beside := found.describe_beside():
            self._notices["folders"] = beside
        return found.folders

    def _listing(self, split: Split) -> Listing:
        if self._sample is not None:
            return list_sample(self._sample, split)
        folder = self._folders[split]
        if split == "training" and not self.assets:
            found = list_pictures(folder)
            if folder == self._root:
                check_classes(folder)
            return found
        known = self.assets.get("labels") or self._pool("training").listing.classes
        return list_pictures(folder, known, self._accepts)

    def _pool(self, split: Split) -> Pool:
        """Decode all pictures of a split's folder once, and note those left out."""
        if split not in self._pools:
            self._pools[split] = self._decode(split)
        return self._pools[split]

    def _decode(self, split: Split) -> Pool:
        listing = self._listing(split)
        if not listing.names:
            raise DataError(f"{listing.folder}: no pictures in it", advice=advise_folders(self._root))
        paths = listing.paths
        hashes = hash_files("picture-files", paths, f"{split} pictures", self._cache)
        lines = (f"{name} {digest}\n" for name, digest in zip(listing.names, hashes, strict=True))
        content = "".join(lines).encode("utf-8", "surrogateescape")
        self.fingerprint[f"{split} pictures"] = hashlib.sha256(content).hexdigest()
        found = load_pictures(paths, hashes, self._format, title=f"{split} pictures", cache=self._cache)
        faults = [f"{listing.names[index]}: {reason}" for index, reason in found.faults.items()]
        share = len(faults) / len(paths)
        if len(faults) > self._max_bad_fraction * len(paths):
            summary = join_some(faults, _NAMED, "\n  ")
            raise DataError(
                f"{listing.folder}: {len(faults)} of {len(paths)} pictures cannot be used ({share:.1%}; "
                f"data.max_bad_fraction allows {self._max_bad_fraction:.1%})\n  {summary}",
                advice="run `dltrain data check image_folder` to list all; fix or remove them, or raise "
                "data.max_bad_fraction",
            )
        parts = []
        if faults:
            parts.append(f"{len(faults)} of {len(paths)} pictures are left out ({join_some(faults, 2, '; ')})")
        if listing.ignored:
            parts.append(f"{len(listing.ignored)} other files are ignored ({join_some(listing.ignored, 2)})")
        parts += describe_findings(listing, hashes, found, self._format)
        if parts:
            self._notices[split] = f"{listing.folder}: {'; '.join(parts)}."
        usable = numpy.ones(len(paths), bool)
        usable[list(found.faults)] = False
        return Pool(listing, hashes, found, usable)

    def _find_largest(self) -> int:
        """Find the largest value of the training folder's 16-bit grey pictures."""
        listing = self._listing("training")
        return find_largest(listing.paths, self._cache)

    @cached_property
    def _splits(self) -> ImageSplits:
        pool = self._pool("training")
        labels = pool.listing.labels
        tested = numpy.zeros(len(labels), bool)
        if self._fold is not None:
            tested = select_fold(len(labels), self._fold, self._seed, labels=labels)
        elif "test" not in self._folders:
            tested = hold_out(labels, self._test, self._seed, "test")
        kept = numpy.zeros(len(labels), bool)
        if "validation" not in self._folders:
            kept[~tested] = hold_out(labels[~tested], self._validation, self._seed)
        training = pool.select(~tested & ~kept)
        for label, name in enumerate(pool.listing.classes):
            if not (training.labels == label).any():
                raise DataError(
                    f"{pool.listing.folder / name}: {int((labels == label).sum())} pictures, none of which is left for "
                    "training once unreadable ones and the shares for validation and test are removed",
                    advice="add some, or lower data.validation and data.test",
                )
        return ImageSplits(training, pool.select(kept), pool.select(tested))

    def _learn(self, normalize: str) -> Mapping[str, Any]:
        pool = self._pool("training")
        statistics = pool.decoded.statistics(self._splits.training.examples.numpy())
        means, stds = statistics.mean, statistics.std
        if normalize == "imagenet":
            means, stds = IMAGENET_MEAN, IMAGENET_STD
        return {
            "dataset": self.name,
            "labels": list(pool.listing.classes),
            **describe_classes(self._splits.training.labels, len(pool.listing.classes), self._sampling),
            **self._format._asdict(),
            "invertible": False,
            "normalize": normalize,
            "mean": means if self._format.channels > 1 else sum(means) / len(means),
            "std": stds if self._format.channels > 1 else sum(stds) / len(stds),
            "background": statistics.border,
            "names": pool.listing.digest(),
        }


def hash_listed(hashes: Sequence[str], listing: Listing, chosen: Iterable[int]) -> Hashes:
    """Hash the chosen pictures of a folder, from the hashes of their files and the names of their classes."""
    return hash_fields((hashes[index], listing.classes[listing.labels[index]]) for index in chosen)
