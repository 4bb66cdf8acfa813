"""The files that a command's words mean."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from dltrain.errors import DataError, UsageError

BEGINNINGS = {"RIFF": "a WAV file", "ID3": "an MP3 file", "OggS": "an OGG file", "fLaC": "a FLAC file"}
"""What files of these kinds begin with. A name may begin so too, but has no NUL in it."""


def list_input_files(words: Sequence[str], listed: Iterator[str], suffixes: Collection[str], kind: str) -> list[Path]:
    """Files, the files of folders that end in one of `suffixes` (deeply, by name), and for `-` those of `listed` lines.

    Raises DataError for a folder without such files, UsageError for lines that are no names; `kind` says what they are.
    """
    files: list[Path] = []
    for word in words:
        if word == "-":
            files.extend(Path(name) for name in read_file_names(listed, kind))
        elif (folder := Path(word)).is_dir():
            inside = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
            if not inside:
                raise DataError(f"{folder}: no file in it ends in {', '.join(suffixes)}", advice=f"name {kind} files")
            files.extend(inside)
        else:
            files.append(Path(word))
    return files


def read_file_names(lines: Iterator[str], kind: str) -> Iterator[str]:
    """The lines that are not empty. Raises UsageError where they are a file itself, or anything else than text."""
    begun = ""
    try:
        for line in lines:
            begun = begun or line
            if "\0" in line:
                raise _not_names(begun, kind)
            if name := line.rstrip("\r\n"):
                yield name
    except UnicodeDecodeError as error:
        raise _not_names(begun or bytes(error.object[:4]).decode("latin-1"), kind) from None


def _not_names(begun: str, kind: str) -> UsageError:
    found = next((what for start, what in BEGINNINGS.items() if begun.startswith(start)), "bytes that are not text")
    return UsageError(
        f"-: standard input holds {found}; allowed are the names of {kind} files, one a line",
        advice=f"name {kind} files on the command line; what comes through a pipe, write it to a file first",
    )
