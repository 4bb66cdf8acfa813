"""Input files named by a command's arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dltrain.data.wording import join_some
from dltrain.errors import DataError, UsageError

_NAMED = 3

BEGINNINGS = {"RIFF": "a WAV file", "ID3": "an MP3 file", "OggS": "an OGG file", "fLaC": "a FLAC file"}
"""The first bytes of files of these kinds. A name may start with them too, but contains no NUL."""

_LEFT_BY_SYSTEMS = ("$recycle.bin", "@eadir", "__macosx", "__pycache__", "lost+found", "system volume information")
"""Folders that archives, file systems and storage devices leave among data, in lower case."""


def is_hidden(name: str) -> bool:
    """Whether a file's or folder's name is one that users do not see, or did not choose: they hold no data."""
    return name.startswith(".") or name.casefold() in _LEFT_BY_SYSTEMS


def list_input_files(
    arguments: Sequence[str], lines: Iterator[str], accepts: Callable[[Path], bool], kind: str, *, skipped: list[Path]
) -> list[Path]:
    """List files, the files in folders that `accepts` is true of (recursively, by name), and for `-` those in `lines`.

    Hidden files in folders are passed over; others that are not accepted are added to `skipped`. `kind` names the files
    in messages. Raises DataError for a folder without such files, UsageError for lines that are not names.
    """
    files: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if argument == "-":
            files.extend(Path(name) for name in read_file_names(lines, kind))
        elif path.is_dir():
            found = _list_visible(path)
            inside = [file for file in found if accepts(file)]
            if not inside:
                others = f", only {len(found)} other files such as {found[0].relative_to(path)}" if found else ""
                raise DataError(f"{path}: no {kind} file in it{others}", advice=f"name {kind} files")
            files.extend(inside)
            skipped.extend(sorted({*found} - {*inside}))
        else:
            files.append(path)
    return files


def describe_skipped(skipped: Sequence[Path], kind: str) -> list[str]:
    """Name the files in folders that were skipped, in a sentence; none without any."""
    if not skipped:
        return []
    some = join_some([str(path) for path in skipped], _NAMED)
    if len(skipped) == 1:
        return [f"1 file is skipped, since it is no {kind} file ({some})"]
    return [f"{len(skipped)} files are skipped, since they are no {kind} files ({some})"]


def _list_visible(folder: Path) -> list[Path]:
    found = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in found if not any(map(is_hidden, file.relative_to(folder).parts)))


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
