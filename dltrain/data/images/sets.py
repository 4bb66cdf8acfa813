"""Published facts about image sets: layout, classes, mirrors, sizes, checksums; and fetching them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from dltrain.data.mirrors import Progress, PublishedFiles, Remote
from dltrain.data.packed import fetch_packed

Split = Literal["train", "test"]

FILES: Mapping[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Images and labels of each split, by the names that LeCun, Cortes and Burges gave to MNIST's."""


@dataclass(frozen=True)
class PublishedFile:
    """A file as its authors publish it: `name`.gz of `packed_bytes`, and its content.

    `unpacked_md5` is None if only the packed file's checksum is known.
    """

    name: str
    packed_bytes: int
    packed_md5: str
    unpacked_bytes: int
    unpacked_md5: str | None = None


@dataclass(frozen=True)
class ImageSet:
    """One variant; `folder` is torchvision's name for it, `labels` are None if the files determine them.

    `splits` names the files of each split. CIFAR's have `label_bytes` before each image, and hold so many `images`.
    EMNIST's images are `transposed`, and its letters are counted from `first_label` 1. A set that is published as one
    `archive` has no `files`.
    """

    folder: str | None = None
    labels: tuple[str, ...] | None = None
    mirrors: tuple[str, ...] = ()
    files: tuple[PublishedFile, ...] = ()
    splits: Mapping[Split, tuple[str, ...]] = field(default_factory=lambda: FILES)
    archive: Remote | None = None
    label_bytes: int = 0
    images: Mapping[Split, int] = field(default_factory=dict)
    transposed: bool = False
    first_label: int = 0


def _list_files(*facts: tuple[Any, ...]) -> tuple[PublishedFile, ...]:
    """List a set's four files from (packed bytes, packed MD5, unpacked bytes[, unpacked MD5]) of each."""
    names = (*FILES["train"], *FILES["test"])
    return tuple(PublishedFile(name, *each) for name, each in zip(names, facts, strict=True))


_CIFAR_MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm
"""

_DIGITS, _UPPER, _LOWER = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
_DISTINCT = _DIGITS + _UPPER + "abdefghnqrt"
"""EMNIST's classes where capital and small letters of the same form are one."""

_EMNIST: Mapping[str, str] = {
    "balanced": _DISTINCT,
    "byclass": _DIGITS + _UPPER + _LOWER,
    "bymerge": _DISTINCT,
    "digits": _DIGITS,
    "letters": _LOWER,
    "mnist": _DIGITS,
}


def _make_emnist(part: str, labels: str) -> ImageSet:
    """One of the six sets that Cohen et al. 2017 (arXiv:1702.05373) publish in one archive."""
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    return ImageSet(
        folder="EMNIST",
        labels=tuple(labels),
        mirrors=("https://biometrics.nist.gov/cs_links/EMNIST/",),
        splits={split: tuple(f"emnist-{part}-{split}-{kind}" for kind in kinds) for split in ("train", "test")},
        archive=Remote("gzip.zip", None, "md5", "58c8d27c78d21e728a6bc7b3cc06412e"),
        transposed=True,
        first_label=1 if part == "letters" else 0,
    )


IMAGE_SETS: Mapping[str, ImageSet] = {
    "mnist": ImageSet(
        folder="MNIST",
        labels=tuple("0123456789"),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        files=_list_files(
            (9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873", 47040016, "6bbc9ace898e44ae57da46a324031adb"),
            (28881, "d53e105ee54ea40749a09fcbcd1e9432", 60008, "a25bea736e30d166cdddb491f175f624"),
            (1648877, "9fb629c4189551a2d022fa330f9573f3", 7840016, "2646ac647ad5339dbf082846283269ea"),
            (4542, "ec29112dd5afa0611ce80d1b7f02629c", 10008, "27ae3e4e09519cfbb04c329615203637"),
        ),
    ),
    "fashion_mnist": ImageSet(
        folder="FashionMNIST",
        labels=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        files=_list_files(
            (26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 47040016),
            (29515, "25c81989df183df01b3e8a0aad5dffbe", 60008),
            (4422102, "bef4ecab320f06d8554ea6380940ec79", 7840016),
            (5148, "bb300cfdad3c16e7a12a480ee83cd310", 10008),
        ),
    ),
    "kmnist": ImageSet(
        folder="KMNIST",
        labels=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        files=_list_files(
            (18165135, "bdb82020997e1d708af4cf47b453dcf7", 47040016),
            (29497, "e144d726b3acfaa3e44228e80efcd344", 60008),
            (3041136, "5c965bf0a639b31b8f53240b1b52f4d7", 7840016),
            (5120, "7320c461ea6c1c855c0b718fb2a4b134", 10008),
        ),
    ),
    **{f"emnist_{part}": _make_emnist(part, labels) for part, labels in _EMNIST.items()},
    "cifar10": ImageSet(
        folder="cifar-10-batches-bin",
        labels=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        mirrors=_CIFAR_MIRRORS,
        splits={
            "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            "test": ("test_batch.bin",),
        },
        archive=Remote("cifar-10-binary.tar.gz", 170052171, "md5", "c32a1d4ab5d03f1284b67883e8d87530"),
        label_bytes=1,
        images={"train": 10000, "test": 10000},
    ),
    "cifar100": ImageSet(
        folder="cifar-100-binary",
        labels=tuple(_CIFAR100.split()),
        mirrors=_CIFAR_MIRRORS,
        splits={"train": ("train.bin",), "test": ("test.bin",)},
        archive=Remote("cifar-100-binary.tar.gz", None, "md5", "03b5dce01913d631647c71ecec9e9cb8"),
        label_bytes=2,
        images={"train": 50000, "test": 10000},
    ),
    "idx": ImageSet(),
}


def locate_image_set(variant: str, root: Path) -> PublishedFiles:
    """Say where a set's files may be under `root`: in torchvision's layout, in raw, or in `root` itself."""
    known = IMAGE_SETS[variant]
    folder = None if known.folder is None else root / known.folder
    own = () if folder is None else (folder,) if known.label_bytes else (folder / "raw", folder)
    return PublishedFiles(
        name=variant,
        folders=(*own, root / "raw", root),
        count={2: "two", 4: "four", 6: "six"}[sum(map(len, known.splits.values()))],
        mirrors=known.mirrors,
        sample="digits sample" if variant == "mnist" else None,
    )


def fetch(
    variant: str,
    root: Path,
    mirrors: Sequence[str] | None = None,
    files: Sequence[PublishedFile] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Return the paths of the set's files, after fetching those missing under `root` to ROOT/FOLDER/raw.

    `mirrors` and `files` are the published ones unless given. Raises DataError with the answer of each mirror.
    """
    known, located = IMAGE_SETS[variant], locate_image_set(variant, root)
    if known.archive is not None:
        names = [name for split in known.splits.values() for name in split]
        if located.list_missing(names):
            place = partial(_keep_named, frozenset(names))
            fetch_packed(located, known.archive, place, mirrors=mirrors, progress=progress)
        return [path for name in names if (path := located.find(name))]
    remotes = {
        file.name: Remote(f"{file.name}.gz", file.packed_bytes, "md5", file.packed_md5)
        for file in (known.files if files is None else files)
    }
    return located.fetch_missing(remotes, mirrors, progress)


def _keep_named(names: frozenset[str], member: str) -> str | None:
    """Where an archive's member belongs: next to the others, by its own name, if it is one of `names`, or that .gz."""
    name = PurePosixPath(member).name
    return name if name.removesuffix(".gz") in names else None
