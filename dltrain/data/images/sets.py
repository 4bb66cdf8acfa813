"""Published facts about the image sets in IDX files: layout, classes, mirrors, sizes, checksums; and fetching them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dltrain.data.mirrors import Progress, PublishedFiles, Remote

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
    """One variant; `folder` is torchvision's name for it, `labels` are None if the files determine them."""

    folder: str | None = None
    labels: tuple[str, ...] | None = None
    mirrors: tuple[str, ...] = ()
    files: tuple[PublishedFile, ...] = ()


def _list_files(*facts: tuple[Any, ...]) -> tuple[PublishedFile, ...]:
    """List a set's four files from (packed bytes, packed MD5, unpacked bytes[, unpacked MD5]) of each."""
    names = (*FILES["train"], *FILES["test"])
    return tuple(PublishedFile(name, *each) for name, each in zip(names, facts, strict=True))


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
    "idx": ImageSet(),
}


def locate_image_set(variant: str, root: Path) -> PublishedFiles:
    """Say where a set's files may be under `root`: in torchvision's layout, in raw, or in `root` itself."""
    known = IMAGE_SETS[variant]
    own = () if known.folder is None else (root / known.folder / "raw", root / known.folder)
    return PublishedFiles(
        name=variant,
        folders=(*own, root / "raw", root),
        count="four",
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
    remotes = {
        file.name: Remote(f"{file.name}.gz", file.packed_bytes, "md5", file.packed_md5)
        for file in (IMAGE_SETS[variant].files if files is None else files)
    }
    return locate_image_set(variant, root).fetch_missing(remotes, mirrors, progress)
