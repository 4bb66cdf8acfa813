"""The contract of a dataset: its assets, and a stream for each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from dltrain.errors import UsageError

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
    from torch import Tensor

    from dltrain.batch import Batch
    from dltrain.stream import Stream

SplitName = Literal["training", "validation", "test"]


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


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """One split: its number of examples, its files, and the examples of each class.

    `examples` is None for a split whose files have not been read yet: the test files are closed while training.
    """

    name: SplitName
    examples: int | None
    files: tuple[str, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """A column of a table or a series: what it is used for, how it was read, and facts about its training values.

    `role` is input, target, group, weight, time, dates or ignored; `kind` is numbers, categories, labels, text or
    dates.
    Facts that warnings depend on, where they are cheap to know: `missing` and `distinct`, numbers of values;
    `correlation` with a numeric target, -1 to 1, unrounded; `determines_target`, whether examples with the same value
    always have the same label (or number); `numbers_as`, a category that is a number with separators or signs, if all
    of them are; `maybe_thousands`, a number whose point may separate thousands.
    """

    name: str
    role: str
    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """A change to `count` of `total` examples or values: "training texts cut after 400 words: 200 of 256".

    `option` names the config's option that changes it, such as "data.max_tokens". `unit` follows the numbers, where
    `what` does not say what is counted. One that the dataset's notice describes is `noticed`, and not printed again.
    """

    what: str
    count: int
    total: int
    option: str | None = None
    unit: str | None = None
    noticed: bool = False


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What a dataset has read: `fit` prints it before it trains, and keeps it in the run directory.

    `unit` is what the splits count, such as "rows" or "clips". `division` says how they were divided, such as "shares
    drawn with seed 0", or is None for separate files. `facts` are other values by name, such as "longest gap", which
    are shown as they are.
    """

    unit: str = "examples"
    division: str | None = None
    splits: tuple[SplitSummary, ...] = ()
    columns: tuple[ColumnSummary, ...] = ()
    treatments: tuple[Treatment, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """The summary as plain JSON; a number that is not finite becomes null."""
        return {name: _make_plain(value) for name, value in asdict(self).items()}


def _make_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _make_plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_make_plain(each) for each in value]
    plain = value if isinstance(value, (str, bool, int, float, NoneType)) else _convert_scalar(value)
    return None if isinstance(plain, float) and not isfinite(plain) else plain


def _convert_scalar(value: Any) -> Any:
    """A number of numpy or torch as Python's; anything else as text."""
    return value.item() if hasattr(value, "item") and getattr(value, "size", None) in (1, ()) else str(value)


@runtime_checkable
class Summarizes(Protocol):
    """A dataset that can say what it has read, once its training and validation streams have been made."""

    def summarize(self) -> DataSummary: ...


@runtime_checkable
class Identifies(Protocol):
    """A dataset whose examples can be recognised by their content, in another file or in another order."""

    def identities(self, split: SplitName) -> NDArray[numpy.uint64]:
        """A hash of the content of each example of a split, inputs and target, (N,); equal for equal examples.

        Those of validation and test are in the order in which the split's batches hold them, if these can be selected.
        """


@dataclass(frozen=True, kw_only=True)
class ReceivedExample:
    """An example as a model receives it: values by name, and a tensor that the kind can draw, with a caption."""

    values: Mapping[str, Any]
    picture: Tensor | None = None
    caption: str = ""


@runtime_checkable
class ShowsRaw(Protocol):
    """A dataset that can show its examples as they were read, before anything was done to them."""

    def show_raw(self, split: SplitName, indices: Sequence[int]) -> Sequence[Mapping[str, Any]]:
        """The values of some of a split's examples by name, such as those of a row's columns."""


@runtime_checkable
class NamesExamples(Protocol):
    """A dataset that knows where its examples come from."""

    def name_examples(self, split: SplitName, indices: Sequence[int]) -> Sequence[str]:
        """Where some of a split's examples are from, to look them up: a picture's file, a row's file and line."""


def no_test_split(given_as: str, validated: bool) -> UsageError:
    """Return the error of `test()` if data.test is 0; `validated`: whether there is a validation split to offer."""
    other = "evaluate with --split validation, or " if validated else ""
    return UsageError("data.test is 0: there is no test split", advice=f"{other}train with data.test as {given_as}")
