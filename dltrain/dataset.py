"""The contract of a dataset: its assets, and a stream for each split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from dltrain.batch import Batch
from dltrain.errors import UsageError
from dltrain.stream import Stream


class Dataset(Protocol):
    """Built as ``datasets[name](name, seed, assets, **options)``; `assets` are None, or those of a checkpoint.

    Building it for training reads the training files only; the test files are opened by `test()`. Plain attributes
    satisfy the properties.
    """

    @property
    def name(self) -> str:
        """The data's name in every report; it differs from the config's if a sample replaces the data."""

    @property
    def assets(self) -> Mapping[str, Any]:
        """Labels, statistics, vocabulary and the like, learned from the training split, as plain JSON."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The SHA-256 of the content of each file read so far, by name."""

    @property
    def notice(self) -> str | None:
        """A warning about this data to print before any result, or None."""

    def training(self) -> Stream[Batch]: ...

    def validation(self) -> Stream[Batch]: ...

    def test(self) -> Stream[Batch]: ...


def no_test_split(given_as: str, validated: bool) -> UsageError:
    """Return the error of `test()` if data.test is 0; `validated`: whether there is a validation split to offer."""
    other = "evaluate with --split validation, or " if validated else ""
    return UsageError("data.test is 0: there is no test split", advice=f"{other}train with data.test as {given_as}")
