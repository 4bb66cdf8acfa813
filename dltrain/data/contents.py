"""What a split contains, for reports and comparisons: its classes, and a hash of each example."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import numpy
from numpy.typing import NDArray

Hashes = NDArray[numpy.uint64]

_HASH_BYTES = 8


def hash_contents(contents: Iterable[bytes]) -> Hashes:
    """Hash each example's content, (N,): the first 64 bits of BLAKE2b."""
    digests = b"".join(blake2b(content, digest_size=_HASH_BYTES).digest() for content in contents)
    return numpy.frombuffer(digests, "<u8").astype(numpy.uint64)


def hash_fields(rows: Iterable[Sequence[str]]) -> Hashes:
    """Hash the texts of each row together, (N,); where one ends and the next begins counts."""
    return hash_contents("\0".join(fields).encode("utf-8", "surrogateescape") for fields in rows)


def count_classes(labels: NDArray[Any], names: Sequence[str]) -> dict[str, int]:
    """Count the examples of each class; `labels` (N,) are indices into `names`."""
    return dict(zip(names, numpy.bincount(labels, minlength=len(names)).tolist(), strict=True))


def count_shared(hashes: Hashes, others: Hashes) -> int:
    """Count the examples that are among others too."""
    return int(numpy.isin(hashes, others).sum())


def describe_trained(tested: Hashes, trained: Hashes, unit: str) -> str | None:
    """Describe how many examples of the test split are training examples too; None without any."""
    count = count_shared(tested, trained)
    if not count:
        return None
    return f"test: {count} of {len(tested)} {unit} are in the training data too, so that scores are too good"
