"""IDX files: what is read, and what is said about each way in which one can be wrong."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy
import pytest

from dltrain.data.images import idx
from dltrain.data.images.sets import FILES, locate_image_set
from dltrain.data.mirrors import PublishedFiles
from dltrain.errors import DataError
from dltrain.runtime.cuda_wheels import import_torchvision

IMAGES = numpy.arange(6 * 4 * 5, dtype=numpy.uint8).reshape(6, 4, 5)
LABELS = numpy.array([3, 1, 4, 1, 5, 9], numpy.uint8)


def encoded(array: numpy.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train-images-idx3-ubyte"


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4), (2, 1, 3, 4), (0, 4, 4)])
@pytest.mark.parametrize("packed", [False, True])
def test_arrays_of_any_shape_come_back(path: Path, shape: tuple[int, ...], packed: bool) -> None:
    array = numpy.random.default_rng(0).integers(0, 256, shape, numpy.uint8)
    path.write_bytes(gzip.compress(encoded(array)) if packed else encoded(array))
    assert numpy.array_equal(idx.read_idx(path), array)
    assert idx.read_idx(path).shape == shape


def test_a_gzip_file_of_several_members_is_one_file(path: Path) -> None:
    content = encoded(IMAGES)
    path.write_bytes(gzip.compress(content[:50]) + gzip.compress(content[50:]))
    assert numpy.array_equal(idx.read_idx(path), IMAGES)


def test_hash_content_is_that_of_the_unpacked_file() -> None:
    assert idx.hash_content(IMAGES) == hashlib.sha256(encoded(IMAGES)).hexdigest()
    assert idx.hash_content(LABELS, "md5") == hashlib.md5(encoded(LABELS)).hexdigest()


def test_torchvision_reads_the_same_arrays(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    try:
        torchvision = import_torchvision()
    except Exception as error:
        pytest.skip(f"torchvision: {error}")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in (
        ("train-images-idx3-ubyte", IMAGES),
        ("train-labels-idx1-ubyte", LABELS),
        ("t10k-images-idx3-ubyte", IMAGES[:2]),
        ("t10k-labels-idx1-ubyte", LABELS[:2]),
    ):
        (raw / name).write_bytes(encoded(array))
    for split, train in (("train", True), ("test", False)):
        theirs = torchvision.datasets.MNIST(str(tmp_path), train=train)
        images, labels = idx.read_split(locate_image_set("mnist", tmp_path), split, 10)  # type: ignore[arg-type]
        assert numpy.array_equal(images, theirs.data.numpy())
        assert numpy.array_equal(labels, theirs.targets.numpy())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"\0\0", "not an IDX file: it begins with 0x0000, expected 0x000008"),
        (b"<!DOCTYPE html>", "not an IDX file: it begins with 0x3c21444f"),
        (b"\0\0\x08\0", "not an IDX file: it begins with 0x00000800"),
        (b"\0\0\x08\x05" + bytes(40), "not an IDX file: it begins with 0x00000805"),
        (b"\0\0\x0d\x01" + bytes(8), "type code 0x0d (float32), expected 0x08 (unsigned byte)"),
        (b"\0\0\x07\x01" + bytes(8), "type code 0x07 (no type of the format), expected 0x08"),
        (b"\0\0\x08\x03\0\0", "cut short inside its header: 6 bytes, expected at least 16"),
        (encoded(IMAGES)[:-1], "6 x 4 x 5 values, 136 bytes with the header, but the file holds 135"),
        (encoded(IMAGES) + b"xy", "6 x 4 x 5 = 120 values, but 122 bytes follow it"),
        (
            b"\0\0\x08\x04" + b"\xff" * 16,
            f"4294967295 x 4294967295 x 4294967295 x 4294967295 values, {20 + (2**32 - 1) ** 4} bytes with the header, "
            "but the file holds 20",
        ),
        (gzip.compress(b"", mtime=0), "the file is empty (0 bytes)"),
        (gzip.compress(encoded(IMAGES)[:-1], mtime=0), "6 x 4 x 5 = 120 values, but 119 bytes follow it"),
        (gzip.compress(encoded(IMAGES) + b"xyz", mtime=0), "6 x 4 x 5 = 120 values, but 123 bytes follow it"),
        (gzip.compress(encoded(IMAGES), mtime=0)[:-9], "damaged gzip file after "),
        (gzip.compress(encoded(IMAGES), mtime=0)[:-2], "damaged gzip file after 120 of 120 values"),
        (gzip.compress(b"\0\0\x08\x01\xff\xff\xff\xff", mtime=0), "but the gzip file can unpack to no more than"),
        (b"\x1f\x8b\x08\x00junk that is no deflate stream", "damaged gzip file"),
        (b"\x1f\x8bxxxxxxxxxxxxxxx", "damaged gzip file"),
    ],
)
def test_a_damaged_file_is_named_with_both_numbers(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        idx.read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_every_flipped_bit_of_a_gzip_file_is_found_or_harmless(path: Path) -> None:
    packed = gzip.compress(encoded(LABELS), mtime=0)
    for bit in range(8 * len(packed)):
        content = bytearray(packed)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            array = idx.read_idx(path)
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            assert numpy.array_equal(array, LABELS)  # such as a bit of the time stamp


def test_an_unreadable_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        idx.read_idx(tmp_path)


@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST", "raw", "."])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images.idx3-ubyte"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_files_are_found_in_every_layout(tmp_path: Path, place: str, name: str, ending: str) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    file = tmp_path / place / f"{name}{ending}"
    file.touch()
    files = locate_image_set("mnist", tmp_path)
    assert files.find("train-images-idx3-ubyte") == file
    assert files.find("t10k-images-idx3-ubyte") is None


def written(root: Path, images: numpy.ndarray, labels: numpy.ndarray) -> PublishedFiles:
    (root / "train-images-idx3-ubyte").write_bytes(encoded(images))
    (root / "train-labels-idx1-ubyte").write_bytes(encoded(labels))
    return locate_image_set("mnist", root)


def test_a_split_is_read(tmp_path: Path) -> None:
    images, labels = idx.read_split(written(tmp_path, IMAGES, LABELS), "train", 10)
    assert numpy.array_equal(images, IMAGES)
    assert numpy.array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("images", "labels", "classes", "message"),
    [
        (IMAGES, LABELS[:5], 10, "train-labels-idx1-ubyte: 5 labels, but train-images-idx3-ubyte holds 6 images"),
        (IMAGES, LABELS, 5, "train-labels-idx1-ubyte: label 5 at index 4; allowed are 0..4"),
        (IMAGES[0], LABELS, 10, "train-images-idx3-ubyte: 2 dimensions, expected 3"),
        (IMAGES, IMAGES, 10, "train-labels-idx1-ubyte: 3 dimensions, expected 1"),
        (IMAGES[:0], LABELS[:0], 10, "train-images-idx3-ubyte: 0 x 4 x 5: no pixels in it"),
    ],
)
def test_files_that_do_not_belong_together(
    tmp_path: Path, images: numpy.ndarray, labels: numpy.ndarray, classes: int, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        idx.read_split(written(tmp_path, images, labels), "train", classes)
    assert message in str(caught.value)


def test_missing_files_are_named_with_the_places_looked_in(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        idx.read_split(locate_image_set("mnist", tmp_path), "test", 10)
    assert "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (plain or .gz): not found in" in str(caught.value)
    assert str(tmp_path / "MNIST" / "raw") in str(caught.value)
    files = written(tmp_path, IMAGES, LABELS)
    assert files.list_missing(FILES["train"]) == []
    assert files.list_missing(FILES["test"]) == ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
