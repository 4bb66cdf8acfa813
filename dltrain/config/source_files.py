"""The text of a config file, or why it cannot be read."""

from __future__ import annotations

import errno
import functools
import sys
from pathlib import Path
from typing import TextIO

from dltrain.config.faults import Fault, Place, Refused, SourceText, find_nearest, find_nearest_file, list_folder_files
from dltrain.config.paths import RUN_CONFIG
from dltrain.config.shipped import list_shipped_names

STANDARD_INPUT = "-"
"""The path of a config that is read from standard input."""
MAX_BYTES = 1 << 20
FILES_SHOWN = 8


def read_source(path: Path, name: str, asked_at: Place | None = None) -> str:
    """The text of a file, called `name` in messages, that is named at `asked_at`. Raises Refused."""
    whole = Place(SourceText(name))
    try:
        content = _read_bytes(path)
    except (OSError, ValueError) as error:
        raise Refused(_explain_unreadable(path, name, asked_at, error)) from None
    if len(content) > MAX_BYTES:
        raise Refused(Fault(whole, f"the file is larger than {MAX_BYTES} bytes, too large for a config"))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        offset = error.start + (3 if content.startswith(b"\xef\xbb\xbf") else 0)
        line = content.count(b"\n", 0, offset) + 1
        found = f"byte 0x{content[offset]:02x} at offset {offset}, in line {line}"
        raise Refused(Fault(whole, f"the file is not UTF-8: {found}; save it as UTF-8")) from None


def _read_bytes(path: Path) -> bytes:
    """The first MAX_BYTES + 1 bytes of a file, or of standard input."""
    if str(path) == STANDARD_INPUT:
        return _read_stream(sys.stdin)
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


@functools.cache
def _read_stream(stream: TextIO | None) -> bytes:
    """The first MAX_BYTES + 1 bytes of standard input, kept, since a command may need its config more than once."""
    if stream is None:
        raise OSError(errno.EBADF, "standard input is closed")
    return stream.buffer.read(MAX_BYTES + 1)


def _explain_unreadable(path: Path, name: str, asked_at: Place | None, error: OSError | ValueError) -> Fault:
    place, subject = (Place(SourceText(name)), "") if asked_at is None else (asked_at, f"'{name}': ")
    if isinstance(error, FileNotFoundError):
        near = find_nearest_file(path, name) or find_nearest(path.stem, list_shipped_names())
        return Fault(place, f"{subject}there is no such file", nearest=near)
    if isinstance(error, IsADirectoryError):
        runs = [str(Path(name) / each.parent.name) for each in sorted(path.glob(f"*/{RUN_CONFIG}"))]
        inside = runs or [
            str(Path(name) / each.name) for each in list_folder_files(path) if each.suffix in (".yaml", ".yml")
        ]
        more = f", ... ({len(inside)} files)" if len(inside) > FILES_SHOWN else ""
        return Fault(place, f"{subject}this is a directory, not a file", ", ".join(inside[:FILES_SHOWN]) + more or None)
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return Fault(place, f"{subject}the file cannot be read: {reason}")
