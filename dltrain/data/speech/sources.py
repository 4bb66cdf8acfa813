"""Where the clips of a speech data set are listed: what Common Voice releases and the user's own manifests share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dltrain.data.speech.manifests import Clip
from dltrain.errors import DataError

Split = Literal["training", "validation", "test"]


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
        """The error for a manifest that does not exist."""
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
