"""CIFAR's binary version: reading, fetching and checking, on small files of the same format."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from dltrain.data.images.cifar import verify
from dltrain.data.images.mnist import IDXImages
from dltrain.data.images.sets import IMAGE_SETS, fetch
from dltrain.data.mirrors import Remote
from dltrain.errors import DataError
from support.cifar import write_cifar
from support.mirrors import QuietHandler, serve


def built(root: Path, variant: str = "cifar10", **options: Any) -> IDXImages:
    return IDXImages(variant, 0, None, root=str(root), download=False, **{"batch_size": 8, **options})


def pack(root: Path, variant: str, target: Path) -> bytes:
    write_cifar(root, variant=variant)
    with tarfile.open(target, "w:gz") as archive:
        archive.add(root / str(IMAGE_SETS[variant].folder), arcname=str(IMAGE_SETS[variant].folder))
    return target.read_bytes()


@pytest.mark.parametrize(("variant", "label_at"), [("cifar10", 0), ("cifar100", 1)])
def test_pixels_and_labels_are_where_the_format_says(tmp_path: Path, variant: str, label_at: int) -> None:
    """Each record cut by hand, against the images as a dataset shows them."""
    write_cifar(tmp_path, variant=variant)
    dataset = built(tmp_path, variant, normalize="unit", validation=0.0)
    folder = tmp_path / str(IMAGE_SETS[variant].folder)
    size, at = 3072 + 1 + label_at, 0
    for batch in dataset.test().epoch(0):
        content = b"".join((folder / name).read_bytes() for name in IMAGE_SETS[variant].splits["test"])
        for image, label in zip(batch.inputs, batch.targets, strict=True):
            record = content[at * size : (at + 1) * size]
            assert int(label) == record[label_at]
            for channel, row, column in ((0, 0, 0), (1, 3, 7), (2, 31, 30)):
                value = record[1 + label_at + channel * 1024 + row * 32 + column]
                assert float(image[channel, row, column]) == pytest.approx(value / 255, abs=1e-6)
            at += 1
    assert at * size == len(content)
    assert dataset.assets["labels"] == list(IMAGE_SETS[variant].labels or ())
    assert dataset.assets["channels"] == 3


def test_names_are_those_of_the_file_that_holds_the_image(tmp_path: Path) -> None:
    write_cifar(tmp_path, variant="cifar10")
    dataset = built(tmp_path, validation=0.0)
    names = dataset.name_examples("training", [0, 19, 20, 99])
    assert names == [
        *("data_batch_1.bin, image 0", "data_batch_1.bin, image 19"),
        *("data_batch_2.bin, image 0", "data_batch_5.bin, image 19"),
    ]
    assert set(dataset.fingerprint) == {f"data_batch_{number}.bin" for number in range(1, 6)}


def test_published_labels() -> None:
    assert len(set(IMAGE_SETS["cifar100"].labels or ())) == 100
    assert list(IMAGE_SETS["cifar100"].labels or ()) == sorted(IMAGE_SETS["cifar100"].labels or ())


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (bytes(3000), "3000 bytes; expected is a multiple of 3073"),
        (b"", "0 bytes"),
        (bytes(3073) + b"\x0b" + bytes(3072), r"label 11 at index 1; allowed are 0\.\.9"),
    ],
)
def test_what_is_no_such_file_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    write_cifar(tmp_path, variant="cifar10")
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"data_batch_3.bin: {fault}"):
        built(tmp_path)
    assert "data_batch_3.bin" in str(verify("cifar10", tmp_path)[2].fault)


def test_missing_files_are_named_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"(?s)data_batch_1.bin, .*not found in .*dltrain data fetch cifar10.*six files"
    ):
        built(tmp_path)
    assert [report.fault is None for report in verify("cifar100", tmp_path)] == [False, False]


def test_a_short_file_is_not_what_was_published(tmp_path: Path) -> None:
    write_cifar(tmp_path, variant="cifar100")
    faults = [report.fault or "" for report in verify("cifar100", tmp_path)]
    assert [fault.split(": ")[-1] for fault in faults] == [
        *("100 images, expected 50000", "100 images, expected 10000"),
    ]


class Mirror(QuietHandler):
    content = b""

    def answer(self) -> None:
        self.send_head(len(self.content))
        self.wfile.write(self.content)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve(Mirror) as address:
        yield address


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    content = pack(tmp_path / "own", "cifar10", tmp_path / "packed.tar.gz")
    remote = Remote("cifar-10-binary.tar.gz", len(content), "md5", hashlib.md5(content).hexdigest())
    monkeypatch.setitem(IMAGE_SETS, "cifar10", replace(IMAGE_SETS["cifar10"], archive=remote))  # type: ignore[arg-type]
    monkeypatch.setattr(Mirror, "content", content)
    return content


def test_the_archive_is_fetched_checked_unpacked_and_removed(tmp_path: Path, packed: bytes, server: str) -> None:
    root = tmp_path / "data"
    paths = fetch("cifar10", root, [server])
    folder = root / "cifar-10-batches-bin"
    assert paths == [folder / name for name in (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin")]
    assert sorted(folder.iterdir()) == sorted(paths)
    assert torch.equal(*(next(iter(built(one).test().epoch(0))).inputs for one in (root, tmp_path / "own")))
    assert fetch("cifar10", root, ["http://127.0.0.1:9"]) == paths


def test_a_wrong_or_damaged_archive_leaves_nothing(
    tmp_path: Path, packed: bytes, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mirror, "content", bytes(len(packed)))
    with pytest.raises(DataError, match="MD5"):
        fetch("cifar10", tmp_path / "data", [server])
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    assert list(folder.iterdir()) == []
    (folder / "cifar-10-binary.tar.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"cifar-10-binary.tar.gz: damaged archive \(.*\); nothing was unpacked"):
        fetch("cifar10", tmp_path / "data", [])
    assert [path.name for path in folder.iterdir()] == ["cifar-10-binary.tar.gz"]


def test_an_archive_that_is_there_is_unpacked_and_kept(tmp_path: Path, packed: bytes) -> None:
    (tmp_path / "data").mkdir()
    own = tmp_path / "data" / "cifar-10-binary.tar.gz"
    own.write_bytes(packed)
    assert len(fetch("cifar10", tmp_path / "data", [])) == 6
    assert own.is_file()


def test_paths_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    evil = tmp_path / "data" / "cifar-10-binary.tar.gz"
    evil.parent.mkdir()
    (tmp_path / "x").write_bytes(b"x")
    with tarfile.open(evil, "w:gz") as archive:
        archive.add(tmp_path / "x", arcname="../../escaped.bin")
    with pytest.raises(DataError, match="none of the set's files is in it"):
        fetch("cifar10", tmp_path / "data", [])
    assert not (tmp_path.parent / "escaped.bin").exists()
    assert numpy.all([not path.name.startswith("escaped") for path in tmp_path.rglob("*")])
