"""Samples that need no download and stand in for a dataset's own files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dltrain.errors import DataError


@dataclass(frozen=True)
class Sample:
    """A sample: its name as a dataset, the data it `replaces`, and a description of its `contents`.

    In each version of Python its name may differ, but begins with `family` (the whole name if not given).
    """

    name: str
    replaces: str
    contents: str
    family: str | None = None

    def substitute(
        self, assets: Mapping[str, Any] | None, requested: bool, when_missing: str, *, check_files: Callable[[], object]
    ) -> str | None:
        """Return the notice that this sample is used and why, or None if the dataset's own files are used.

        It is used if `requested`, or if the training that `assets` come from used it, or, for a new training with
        `when_missing` "sample", if `check_files` raises DataError; otherwise that error is raised.
        """
        trained_on = None if assets is None else str(assets.get("dataset"))
        if trained_on is not None and trained_on.startswith(self.family or self.name):
            other_version = "" if trained_on == self.name else f" on another version: {trained_on}"
            return self._explain(f"as in this model's training{other_version}.")
        if requested:
            return self._explain("as requested.")
        if assets is None:
            try:
                check_files()
            except DataError as error:
                if when_missing == "error":
                    raise
                return f"{self._explain('because the files are missing.')}\n{error}"
        return None

    def _explain(self, why: str) -> str:
        return (
            f"NOT {self.replaces.upper()}: this uses the {self.name}, {self.contents}, {why} Its results say nothing "
            f"about {self.replaces}."
        )
