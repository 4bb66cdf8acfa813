"""What a dataset is: its assets, and a stream for each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from dltrain.batch import Movable
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

    def training(self) -> Stream[Movable]: ...

    def validation(self) -> Stream[Movable]: ...

    def test(self) -> Stream[Movable]: ...


def no_test_split(given_as: str, validated: bool) -> UsageError:
    """What `test()` raises where data.test is 0. `validated` says whether there is a validation split to offer."""
    other = "evaluate with --split validation, or " if validated else ""
    return UsageError("data.test is 0: there is no test split", advice=f"{other}train with data.test as {given_as}")


@runtime_checkable
class NamesClips(Protocol):
    """A dataset of sound that can say which file a clip of its splits is."""

    def clip_name(self, split: str, clip: int) -> str: ...


@runtime_checkable
class Transcribed(Protocol):
    """A dataset of sound with its transcripts."""

    def transcripts(self) -> Sequence[str]:
        """What is said in each clip of the training split, as the model is to spell it."""
        ...
