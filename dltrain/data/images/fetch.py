"""Fetch the published files of the image sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dltrain.data.images.sets import IMAGE_SETS, PublishedFile, locate_image_set
from dltrain.data.mirrors import Progress, Remote


def fetch(
    variant: str,
    root: Path,
    mirrors: Sequence[str] | None = None,
    files: Sequence[PublishedFile] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Return the paths of the set's files, after fetching those missing under `root` to ROOT/FOLDER/raw.

    `mirrors` and `files` are the published ones unless given. Raises DataError with the answer of each mirror.
    """
    remotes = {
        file.name: Remote(f"{file.name}.gz", file.packed_bytes, "md5", file.packed_md5)
        for file in (IMAGE_SETS[variant].files if files is None else files)
    }
    return locate_image_set(variant, root).fetch_missing(remotes, mirrors, progress)
