"""Input files named by a command's arguments."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from dltrain.errors import DataError, UsageError

BEGINNINGS = {"RIFF": "a WAV file", "ID3": "an MP3 file", "OggS": "an OGG file", "fLaC": "a FLAC file"}
"""The first bytes of files of these kinds. A name may start with them too, but contains no NUL."""


def list_input_files(
    arguments: Sequence[str], lines: Iterator[str], suffixes: Collection[str], kind: str
) -> list[Path]:
    """List files, the files in folders with one of `suffixes` (recursively, by name), and for `-` those in `lines`.

    `kind` names the files in messages. Raises DataError for a folder without such files, UsageError for lines that are
    not names.
    """
    files: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if argument == "-":
            files.extend(Path(name) for name in read_file_names(lines, kind))
        elif path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes)
            if not inside:
                raise DataError(f"{path}: no file in it ends in {', '.join(suffixes)}", advice=f"name {kind} files")
            files.extend(inside)
        else:
            files.append(path)
    return files


def read_file_names(lines: Iterator[str], kind: str) -> Iterator[str]:
    """Yield the lines that are not empty. Raises UsageError if they are the content of a file instead of names."""
    first = ""
    try:
        for line in lines:
            first = first or line
            if "\0" in line:
                raise _refuse_content(first, kind)
            if name := line.rstrip("\r\n"):
                yield name
    except UnicodeDecodeError as error:
        raise _refuse_content(first or bytes(error.object[:4]).decode("latin-1"), kind) from None


def _refuse_content(first: str, kind: str) -> UsageError:
    found = next((what for start, what in BEGINNINGS.items() if first.startswith(start)), "bytes that are not text")
    return UsageError(
        f"-: standard input holds {found}; allowed are the names of {kind} files, one a line",
        advice=f"name {kind} files on the command line; write piped content to a file first",
    )
