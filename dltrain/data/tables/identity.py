"""Hashes of rows by their content, to recognise a row in another file or in another order."""

from __future__ import annotations

import hashlib
import struct

import numpy
from numpy.typing import NDArray

from dltrain.data.cleaning import clean_text
from dltrain.data.numbers import parse_number
from dltrain.data.tables.columns import convert_numbers
from dltrain.data.tables.files import Column, Table

Hashes = NDArray[numpy.uint64]


def hash_rows(table: Table) -> Hashes:
    """Hash all values of each row, (N,): the names of the columns count, the order of rows and columns does not, nor do
    the parts of dates.

    Numbers count by their value, so that 1, 1.0 and 1e0 are the same in texts and in columns of numbers; texts count as
    stripped and in Unicode's form NFC, and all texts and numbers that stand for a missing value are one.
    """
    total = numpy.zeros(len(table), numpy.uint64)
    for name, column in table.columns.items():
        if name in table.derived:
            continue
        total += _mix(_hash_values(column) ^ numpy.uint64(_hash_text(f"column {name}")))
    return _mix(total)


def _hash_values(column: Column) -> Hashes:
    numbers = column if column.dtype != object else convert_numbers(column)
    if numbers is not None:
        known = numpy.where(numpy.isnan(numbers), numpy.nan, numbers + 0.0)  # one NaN, and no negative zero
        return _mix(known.view(numpy.uint64))
    hashes = {text: _hash_value(text) for text in set(column)}
    return _mix(numpy.fromiter((hashes[text] for text in column), numpy.uint64, len(column)))


def _hash_value(text: str) -> int:
    """Hash a text, or return the bits of the number that it is."""
    number = parse_number(text)
    return _hash_text(clean_text(text)) if number is None else _to_integer(struct.pack("<d", number + 0.0))


def _hash_text(text: str) -> int:
    return _to_integer(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _to_integer(content: bytes) -> int:
    return int.from_bytes(content, "little")


def _mix(values: Hashes) -> Hashes:
    """Spread each difference over all bits (the finaliser of SplitMix64; Steele et al. 2014)."""
    values = (values ^ (values >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ (values >> numpy.uint64(31))
    return mixed
