"""What a dataset is: its assets, and a stream for each split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from dltrain.batch import Batch
from dltrain.errors import UsageError
from dltrain.stream import Stream


class Dataset(Protocol):
    """Built as ``datasets[name](name, seed, assets, **options)``; `assets` are None, or a checkpoint's own.

    Building it for training reads the training files only; the test files are opened by `test()`.
    """

    @property
    def name(self) -> str:
        """What every report calls the data: another name than the config's when a sample stands in."""
        ...

    @property
    def assets(self) -> Mapping[str, Any]:
        """What was learned from the training split, as plain JSON: labels, statistics, vocabulary."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The SHA-256 of the content of each file read so far, by name."""
        ...

    @property
    def notice(self) -> str | None:
        """What the user must know about this data before any number is read, or None."""
        ...

    def training(self) -> Stream[Batch]: ...

    def validation(self) -> Stream[Batch]: ...

    def test(self) -> Stream[Batch]: ...


def no_test_split(given_as: str, validated: bool) -> UsageError:
    """What `test()` raises where data.test is 0. `validated` says whether there is a validation split to offer."""
    other = "evaluate with --split validation, or " if validated else ""
    return UsageError("data.test is 0: there is no test split", advice=f"{other}train with data.test as {given_as}")
