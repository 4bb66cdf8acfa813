"""The files of a published set: where they may be, and how to get those that are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.errors import DataError

if TYPE_CHECKING:
    from dltrain.data.mirrors import Progress, Remote


@dataclass(frozen=True, kw_only=True)
class PublishedFiles:
    """The files of the set `name`, searched for in `folders` and fetched to the first of them.

    `count` is their number in words; `sample` is the sample that messages offer instead.
    """

    name: str
    folders: Sequence[Path]
    count: str
    mirrors: Sequence[str] = ()
    sample: str | None = None

    def find(self, file: str) -> Path | None:
        """Return the path of a file, plain or .gz, also as NAME.idx for NAME-idx; None if there is none."""
        dotted = file.replace("-idx", ".idx")
        names = (file, dotted, f"{file}.gz", f"{dotted}.gz")
        return next((path for folder in self.folders for name in names if (path := folder / name).is_file()), None)

    def list_missing(self, files: Iterable[str]) -> list[str]:
        return [file for file in files if self.find(file) is None]

    def describe_missing(self, files: Iterable[str]) -> str:
        """Name the files that are missing and the folders searched."""
        return f"{', '.join(self.list_missing(files))} (plain or .gz): not found in {', '.join(map(str, self.folders))}"

    @property
    def advice(self) -> str:
        """What to do without the files."""
        sample = f", or train on the {self.sample} instead (data.when_missing=sample, or --sample)"
        return (
            f"put the set's {self.count} files (plain or .gz) into {self.folders[0]}, or set data.root to the folder "
            f"that has them{sample if self.sample else ''}"
        )

    def obtain(self, files: Sequence[str], fetch: Callable[[], object] | None) -> None:
        """Call `fetch` if one of `files` is missing. Raises DataError if there is no `fetch`."""
        if not self.list_missing(files):
            return
        if fetch is None:
            command = f"run `dltrain data fetch {self.name}`, or " if self.mirrors else ""
            raise DataError(self.describe_missing(files), advice=f"{command}{self.advice}")
        fetch()

    def fetch_missing(
        self, remotes: Mapping[str, Remote], mirrors: Sequence[str] | None, progress: Progress | None
    ) -> list[Path]:
        """Return the paths of all files, after fetching those that are missing from `mirrors`, or the set's own.

        Raises DataError with the answer of each mirror.
        """
        from dltrain.data.mirrors import fetch_file

        mirrors = self.mirrors if mirrors is None else mirrors
        return [
            self.find(file) or fetch_file(remote, self.folders[0], mirrors, advice=self.advice, progress=progress)
            for file, remote in remotes.items()
        ]
