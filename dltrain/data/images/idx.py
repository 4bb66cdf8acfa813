"""Read IDX files, plain or gzipped, and report exactly how one is damaged.

The format: two zero bytes, a type code (0x08: unsigned byte), the number of dimensions, each dimension as a
big-endian 32-bit number, then the values, the last dimension innermost (LeCun, Cortes and Burges, "The MNIST database
of handwritten digits").
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy
from numpy.typing import NDArray

from dltrain.data.images.sets import IMAGE_SETS, Split
from dltrain.data.mirrors import PublishedFiles
from dltrain.data.reading import note_file
from dltrain.errors import DataError

Bytes = NDArray[numpy.uint8]

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_TYPE_CODES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
_DAMAGED_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)
_AGAIN = "Delete it and fetch it again."
_PIECE_BYTES = 1 << 20
_DEFLATE_LIMIT = 1032  # no deflate stream unpacks to more than this many times its size


def read_idx(path: Path) -> Bytes:
    """Read the array in a file, uint8, of the shape that its header states.

    Raises DataError, naming the file and both numbers, if it is not exactly one IDX array of unsigned bytes.
    """
    note_file(path)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            size = path.stat().st_size
            if not packed:
                return _read_values(path, raw, size, "file holds")
            with gzip.open(raw) as unpacked:
                most_bytes = size * _DEFLATE_LIMIT
                return _read_values(path, unpacked, most_bytes, "gzip file can unpack to no more than")  # type: ignore[arg-type]
    except _DAMAGED_GZIP as error:
        raise DataError(f"{path}: damaged gzip file ({error}). {_AGAIN}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _read_values(path: Path, file: BinaryIO, most_bytes: int, why_most: str) -> Bytes:
    shape = _read_shape(path, file)
    sizes, body_bytes = " x ".join(map(str, shape)), prod(shape)
    promised_bytes = 4 + 4 * len(shape) + body_bytes
    if promised_bytes > most_bytes:  # before anything of that size is allocated
        raise DataError(
            f"{path}: its header promises {sizes} values, {promised_bytes} bytes with the header, but the {why_most} "
            f"{most_bytes}. It is cut short or damaged. {_AGAIN}"
        )
    body, trailing = bytearray(), 0
    try:
        while len(body) < body_bytes and (piece := file.read(min(_PIECE_BYTES, body_bytes - len(body)))):
            body += piece
        while piece := file.read(_PIECE_BYTES):
            trailing += len(piece)
    except _DAMAGED_GZIP as error:
        raise DataError(
            f"{path}: damaged gzip file after {len(body)} of {body_bytes} values ({error}). {_AGAIN}"
        ) from error
    if len(body) + trailing != body_bytes:
        raise DataError(
            f"{path}: its header promises {sizes} = {body_bytes} values, but {len(body) + trailing} bytes follow it. "
            f"It is damaged. {_AGAIN}"
        )
    return numpy.frombuffer(body, numpy.uint8).reshape(shape)


def _read_shape(path: Path, file: BinaryIO) -> tuple[int, ...]:
    magic = file.read(4)
    if not magic:
        raise DataError(f"{path}: the file is empty (0 bytes); an IDX file begins with a header. Fetch it again.")
    if len(magic) < 4 or magic[:2] != b"\0\0" or not 1 <= magic[3] <= 4:
        raise DataError(
            f"{path}: not an IDX file: it begins with 0x{magic.hex()}, expected 0x000008 and the number of dimensions "
            "(1 to 4)."
        )
    if magic[2] != _UNSIGNED_BYTE:
        found = _TYPE_CODES.get(magic[2], "no type of the format")
        raise DataError(f"{path}: type code 0x{magic[2]:02x} ({found}), expected 0x08 (unsigned byte).")
    dimensions = file.read(4 * magic[3])
    if len(dimensions) != 4 * magic[3]:
        raise DataError(
            f"{path}: cut short inside its header: {4 + len(dimensions)} bytes, expected at least {4 + 4 * magic[3]}. "
            f"{_AGAIN}"
        )
    return tuple(int(size) for size in numpy.frombuffer(dimensions, ">u4"))


def hash_content(array: Bytes, algorithm: str = "sha256") -> str:
    """Hash the unpacked IDX file that holds `array`, in hex."""
    digest = hashlib.new(algorithm, bytes((0, 0, _UNSIGNED_BYTE, array.ndim)))
    digest.update(numpy.array(array.shape, ">u4").tobytes())
    digest.update(numpy.ascontiguousarray(array).data)
    return digest.hexdigest()


def read_split(files: PublishedFiles, split: Split, classes: int | None) -> tuple[Bytes, Bytes]:
    """Read the images (N, H, W) and labels (N,) of a split, counted from 0; `classes` None allows any label.

    Raises DataError if a file is missing, or if the two do not belong together.
    """
    known = IMAGE_SETS[files.name]
    paths = [files.find(name) for name in known.splits[split]]
    if paths[0] is None or paths[1] is None:
        raise DataError(files.describe_missing(known.splits[split]))
    images, labels = read_idx(paths[0]), read_idx(paths[1])
    for path, array, dimensions in ((paths[0], images, 3), (paths[1], labels, 1)):
        if array.ndim != dimensions:
            raise DataError(f"{path}: {array.ndim} dimensions, expected {dimensions}.")
    if len(images) != len(labels):
        raise DataError(
            f"{paths[1]}: {len(labels)} labels, but {paths[0].name} holds {len(images)} images. "
            "One of the two belongs to another set.",
            advice="fetch both again, or correct data.root",
        )
    if images.size == 0:
        message = f"{paths[0]}: {' x '.join(map(str, images.shape))}: no pixels in it"
        raise DataError(message, advice="fetch the file again")
    first = known.first_label
    wrong = numpy.zeros(len(labels), bool) if classes is None else (labels < first) | (labels >= first + classes)
    if classes is not None and wrong.any():
        index, last = int(wrong.argmax()), first + classes - 1
        raise DataError(f"{paths[1]}: label {labels[index]} at index {index}; allowed are {first}..{last}.")
    if known.transposed:
        images = numpy.ascontiguousarray(images.transpose(0, 2, 1))
    return images, labels - numpy.uint8(first)
