"""Where the clips of a speech data set are listed: what all sources share, and the user's own manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dltrain.data.speech.manifests import Clip, read_manifest
from dltrain.errors import FIND_DATA, DataError, UsageError

Split = Literal["training", "validation", "test"]
SPLITS: Sequence[Split] = ("training", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """The options of a speech data set that say where its clips are; see `SpokenClips`."""

    root: Path
    locale: str = "en"
    splits: Literal["release", "validated"] = "release"
    train: str | None = None
    validation: float | str | None = None
    test: str | None = None


class ClipSource:
    """A corpus of recorded sentences: which manifest lists the clips of each split."""

    has_sample = False
    """Whether the synthetic sample can stand in for the corpus."""

    def __init__(self, options: SourceOptions) -> None:
        self.options = options

    def check_options(self, training: bool) -> None:
        """Raise UsageError for options that do not go together; `training` is false for evaluation."""
        raise NotImplementedError

    def check_present(self) -> None:
        """Raise DataError if the corpus is missing altogether."""

    def locate_manifest(self, split: Split) -> Path | None:
        """Return the path of a split's manifest, whether it exists or not; None if there is no such split."""
        raise NotImplementedError

    def is_shared(self, split: Split) -> bool:
        """Whether training and validation are parts of one manifest, of which `split` is one."""
        raise NotImplementedError

    def read_clips(self, manifest: Path) -> tuple[list[Clip], list[Path]]:
        """Read the clips of a manifest. Also returns the files they come from, some of which may not exist."""
        raise NotImplementedError

    def describe_missing(self, split: Split, manifest: Path) -> DataError:
        raise NotImplementedError

    def list_check_arguments(self, split: Split) -> list[str]:
        """The arguments with which `dltrain data check` finds a split's manifest."""
        raise NotImplementedError

    def find_manifest(self, split: Split) -> Path:
        """Return the path of a split's manifest. Raises DataError if it does not exist."""
        path = self.locate_manifest(split)
        if path is None:
            raise DataError("data.test: names no manifest, so there is no test split; use --split validation.")
        if not path.exists():
            raise self.describe_missing(split, path)
        return path


class OwnManifests(ClipSource):
    """A manifest to train on, and one each for validation and test; without the former, a share of the training one."""

    def check_options(self, training: bool) -> None:
        if self.options.train is None:
            raise UsageError("data.train: not given; allowed is the name of a manifest under data.root.")

    def locate_manifest(self, split: Split) -> Path | None:
        options = self.options
        own = {"training": options.train, "validation": options.validation, "test": options.test}[split]
        name = options.train if self.is_shared(split) else own
        return None if name is None else options.root / str(name)

    def is_shared(self, split: Split) -> bool:
        return split != "test" and not isinstance(self.options.validation, str)

    def read_clips(self, manifest: Path) -> tuple[list[Clip], list[Path]]:
        return read_manifest(manifest), [manifest]

    def describe_missing(self, split: Split, manifest: Path) -> DataError:
        option = "train" if manifest == self.locate_manifest("training") else split
        return DataError(
            f"data.{option}: {manifest.name}: no such file in {manifest.absolute().parent}", advice=FIND_DATA
        )

    def list_check_arguments(self, split: Split) -> list[str]:
        return ["--root", str(self.locate_manifest(split))]
