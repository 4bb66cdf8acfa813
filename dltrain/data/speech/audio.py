"""The user's own recordings, listed in manifests."""

from __future__ import annotations

from pathlib import Path

from dltrain.data.speech.manifests import Clip, read_manifest
from dltrain.data.speech.sources import ClipSource, Split
from dltrain.errors import DataError, UsageError


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
            f"data.{option}: {manifest}: no such file",
            advice=f"correct data.{option}, or data.root, where it starts from",
        )

    def list_check_arguments(self, split: Split) -> list[str]:
        return ["--root", str(self.locate_manifest(split))]
