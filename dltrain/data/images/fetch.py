"""Fetching the published files of the image sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dltrain.data.images.idx import find_idx_file
from dltrain.data.images.sets import IMAGE_SETS, PublishedFile
from dltrain.data.mirrors import Progress, Remote, fetch_file


def fetch(
    variant: str,
    root: Path,
    mirrors: Sequence[str] | None = None,
    files: Sequence[PublishedFile] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """The paths of the set's files, after those that are nowhere under `root` were fetched to ROOT/FOLDER/raw.

    `mirrors` and `files` are the published ones unless given. Raises DataError with what each mirror answered.
    """
    known = IMAGE_SETS[variant]
    mirrors = known.mirrors if mirrors is None else mirrors
    target = root / (known.folder or "") / "raw"
    paths = []
    for file in known.files if files is None else files:
        remote = Remote(f"{file.name}.gz", file.packed_bytes, "md5", file.packed_md5)
        path = find_idx_file(root, known.folder, file.name)
        paths.append(path or fetch_file(remote, target, mirrors, ways_out(variant, target), progress))
    return paths


def ways_out(variant: str, target: Path) -> str:
    """What a user without the files can do."""
    instead = ", or train on the digits sample instead (data.when_missing=sample, or --sample)"
    return (
        f"Put the set's four files (plain or .gz) into {target}, or set data.root to the folder that has them"
        f"{instead if variant == 'mnist' else ''}."
    )
