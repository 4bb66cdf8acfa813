"""The files that a command's words mean."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from dltrain.errors import DataError


def named_files(words: Sequence[str], listed: Iterator[str], suffixes: Collection[str], kind: str) -> list[Path]:
    """Files, the files of folders that end in one of `suffixes` (deeply, by name), and for `-` those of `listed` lines.

    Raises DataError for a folder without such files; `kind` says what they are.
    """
    files: list[Path] = []
    for word in words:
        if word == "-":
            files.extend(Path(name) for line in listed if (name := line.rstrip("\r\n")))
        elif (folder := Path(word)).is_dir():
            inside = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
            if not inside:
                raise DataError(f"{folder}: no file in it ends in {', '.join(suffixes)}\nnext: name {kind} files")
            files.extend(inside)
        else:
            files.append(Path(word))
    return files
