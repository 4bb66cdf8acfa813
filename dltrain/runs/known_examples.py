"""Which examples a run has trained on: the hashes of their contents, kept with it, whatever becomes of its files.

They decide which examples are new to a model: for an evaluation on data that changed, and for a run that starts from
another run's weights. What a run has learned from its sources is known too, through any number of them.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from dltrain.core.checkpoint import Checkpoint
from dltrain.data.contents import Hashes
from dltrain.dataset import Dataset, Identifies, SplitName, Summarizes
from dltrain.errors import DataError
from dltrain.files import write_atomically

KNOWN = "splits.safetensors"
KEPT, EXPORTED = 1 << 22, 1 << 13
"""The most hashes of a set that a run directory and an export keep, 32 MiB and 64 KiB."""
EXPORT_KEY = "known_examples"


@dataclass(frozen=True)
class ExampleHashes:
    """The hashes of a set of examples, sorted (N,) uint64. With a `limit`, only those up to it are known."""

    hashes: Hashes
    limit: int | None = None

    @classmethod
    def of(cls, hashes: Hashes, kept: int = KEPT) -> ExampleHashes:
        """The distinct ones among hashes in any order: the `kept` smallest, which are a fair sample."""
        distinct = numpy.unique(hashes.astype(numpy.uint64))
        return cls(distinct).keep(kept)

    def keep(self, count: int) -> ExampleHashes:
        """The `count` smallest."""
        if len(self.hashes) <= count:
            return self
        return ExampleHashes(self.hashes[:count], int(self.hashes[count - 1]))

    def contains(self, hashes: Hashes) -> NDArray[numpy.bool_]:
        """Whether each example is known to be in the set, (N,)."""
        found: NDArray[numpy.bool_] = numpy.isin(hashes, self.hashes)
        return found

    def join(self, other: ExampleHashes) -> ExampleHashes:
        """The examples of both sets."""
        limits = [one.limit for one in (self, other) if one.limit is not None]
        joined = numpy.union1d(self.hashes, other.hashes)
        if not limits:
            return ExampleHashes.of(joined)
        return replace(ExampleHashes.of(joined[joined <= numpy.uint64(min(limits))]), limit=min(limits))


NONE = ExampleHashes(numpy.zeros(0, numpy.uint64))


@dataclass(frozen=True, kw_only=True)
class KnownExamples:
    """The examples of a run's splits; `test` are known only if they come from files that training reads.

    `trained_before` and `validated_before` are those of the runs that its weights come from.
    """

    training: ExampleHashes
    validation: ExampleHashes
    test: ExampleHashes = NONE
    trained_before: ExampleHashes = NONE
    validated_before: ExampleHashes = NONE

    @property
    def trained(self) -> ExampleHashes:
        """All that its weights have learned from."""
        return self.training.join(self.trained_before)

    @property
    def validated(self) -> ExampleHashes:
        """All that its weights have been chosen by."""
        return self.validation.join(self.validated_before)

    def count(self) -> int:
        """The number of distinct examples of all its own splits, as far as they are known."""
        return len(numpy.unique(numpy.concatenate([self.training.hashes, self.validation.hashes, self.test.hashes])))

    def recognises(self, other: KnownExamples) -> bool:
        """Whether any example of the splits of another run is one of its own, or of those it has learned from."""
        own = self.trained.join(self.validated).join(self.test)
        return any(own.contains(one.hashes).any() for one in (other.training, other.validation, other.test))

    def sets(self) -> dict[str, ExampleHashes]:
        return {name: value for name, value in vars(self).items() if len(value.hashes) or name == "training"}

    def join(self, other: KnownExamples) -> KnownExamples:
        """The examples of both, as of a run that continued on other data."""
        return KnownExamples(**{name: value.join(getattr(other, name)) for name, value in vars(self).items()})

    def start_from(self, source: KnownExamples) -> KnownExamples:
        """Those of a run whose weights come from `source`."""
        return replace(
            self,
            trained_before=self.trained_before.join(source.trained),
            validated_before=self.validated_before.join(source.validated),
        )

    def find_seen(self, hashes: Hashes, split: SplitName) -> NDArray[numpy.bool_]:
        """Whether each of other examples (N,) was trained on, or for a test split validated on, and is not the run's
        own example of that split (an example may occur twice in a file).
        """
        seen = self.trained.contains(hashes)
        if split == "test":
            seen |= self.validated.contains(hashes)
        return seen & ~self.contains_own(hashes, split)

    def find_inherited(self, hashes: Hashes, split: SplitName) -> NDArray[numpy.bool_]:
        """Whether each of the run's own examples of a split (N,) was trained on by a source and not by the run itself;
        for a test split also whether it was validated on. What the run has learned anyway does not count: an example
        may occur twice in a file.
        """
        seen = self.trained_before.contains(hashes)
        if split == "test":
            seen |= self.validated_before.contains(hashes) & ~self.validation.contains(hashes)
        return seen & ~self.training.contains(hashes)

    def contains_own(self, hashes: Hashes, split: SplitName) -> NDArray[numpy.bool_]:
        """Whether each of other examples (N,) is one of the run's own of that split."""
        own = {"training": self.training, "validation": self.validation, "test": self.test}
        return own[split].contains(hashes)

    def write(self, directory: Path) -> None:
        """Keep it in a run directory."""
        from safetensors.numpy import save

        limits = {name: one.limit for name, one in self.sets().items() if one.limit is not None}
        content = save({name: one.hashes for name, one in self.sets().items()}, {"limits": json.dumps(limits)})
        write_atomically(directory / KNOWN, content)

    @classmethod
    def read(cls, directory: Path) -> KnownExamples | None:
        """What a run directory has; None without it. Raises DataError if it is damaged."""
        from safetensors import SafetensorError, safe_open

        path = directory / KNOWN
        if not path.is_file():
            return None
        try:
            with safe_open(path, "numpy") as file:
                limits = json.loads((file.metadata() or {}).get("limits", "{}"))
                sets = {name: ExampleHashes(file.get_tensor(name), limits.get(name)) for name in file.keys()}  # noqa: SIM118
            return cls(**{"validation": NONE, **sets})
        except (SafetensorError, ValueError, TypeError, OSError) as error:
            raise DataError(
                f"{path}: damaged, or not written by dltrain: {error}",
                advice="restore it, or delete it: which examples the run was trained on is not known then",
            ) from None

    def to_plain(self) -> dict[str, Any]:
        """A sample of it as plain JSON, for an export: the smallest hashes."""
        kept = {name: one.keep(EXPORTED) for name, one in self.sets().items()}
        return {
            name: {"hashes": b64encode(one.hashes.astype("<u8").tobytes()).decode(), "limit": one.limit}
            for name, one in kept.items()
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> KnownExamples:
        """What `to_plain` wrote."""
        sets = {
            name: ExampleHashes(numpy.frombuffer(b64decode(one["hashes"]), "<u8").astype(numpy.uint64), one["limit"])
            for name, one in plain.items()
        }
        return cls(**{"validation": NONE, **sets})


def identify_examples(dataset: Dataset, options: Mapping[str, Any]) -> KnownExamples | None:
    """The examples of a dataset's splits; None if it cannot identify them. Test files that are closed stay closed.

    `options` are those of the dataset, for one that does not summarise what it has read.
    """
    if not isinstance(dataset, Identifies):
        return None
    test = options.get("test")
    tested = options.get("fold") is not None or (isinstance(test, float) and test > 0)
    if isinstance(dataset, Summarizes):
        tested = any(split.name == "test" and split.examples for split in dataset.summarize().splits)
    splits: Sequence[SplitName] = ("training", "validation", *(("test",) if tested else ()))
    return KnownExamples(**{split: ExampleHashes.of(dataset.identities(split)) for split in splits})


def find_known_examples(checkpoint: Checkpoint) -> KnownExamples | None:
    """The examples of the run that a checkpoint or an export comes from; None where nothing has kept them."""
    if (described := checkpoint.described) is not None:
        plain = described.get(EXPORT_KEY)
        return None if plain is None else KnownExamples.from_plain(plain)
    folder = checkpoint.path.resolve().parent
    return KnownExamples.read(folder.parent) if folder.name == "checkpoints" else None
