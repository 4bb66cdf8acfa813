"""Arrays of numbers: read .npz files, and the largest number."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from dltrain.data.reading import note_file
from dltrain.errors import FIND_DATA, DataError

LARGEST = float(numpy.finfo(numpy.float32).max)
"""The largest number that a model can be given."""

_ZIP_MAGIC = b"PK"


def read_content(path: Path) -> bytes:
    """Read a file. Raises DataError if it is missing or unreadable."""
    note_file(path)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path.name}: no such file in {path.absolute().parent}", advice=FIND_DATA) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    """Read all arrays of a file by name, and the SHA-256 of its content. Raises DataError for another file."""
    content = read_content(path)
    try:
        if not content.startswith(_ZIP_MAGIC):
            raise zipfile.BadZipFile("no zip file")
        with numpy.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError, TypeError) as error:
        raise DataError(
            f"{path}: not an .npz file of arrays ({error})",
            advice="write it again, with numpy.savez(file, x=..., y=...)",
        ) from None
    return found, hashlib.sha256(content).hexdigest()
