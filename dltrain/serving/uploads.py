"""What a request contains: JSON, or files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from dltrain.errors import DataError, UsageError

FORM = "multipart/form-data"
JSON = ("application/json", "application/x-www-form-urlencoded")
"""Types of JSON; the second one is what curl calls a body if nobody says what it is."""
_MOST_FILES = 1000


class WrongType(UsageError):
    """A request whose content is neither JSON nor a form."""


@dataclass(frozen=True)
class Received:
    """The keys of a request, and its files by their names at the client."""

    fields: Mapping[str, Any]
    files: Sequence[UploadFile] = ()


async def receive(request: Request, allowed: Collection[str], *, files: bool) -> Received:
    """Read a request whose keys are among `allowed`. Raises UsageError for any other."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind == FORM and files:
        form = await request.form(max_files=_MOST_FILES, max_fields=len(allowed) + _MOST_FILES)
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        found = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        _check_names(fields, [*allowed, "files of any name"], allowed)
        return Received({name: _read_field(value) for name, value in fields.items()}, found)
    if kind not in JSON:
        other = " or multipart/form-data" if files else ""
        raise WrongType(f"content type: found '{kind}'; allowed is application/json{other}", advice="GET / shows how")
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {error}", advice="GET / shows an example") from None
    if not isinstance(body, dict):
        raise UsageError(f"the body is a {type(body).__name__}; allowed is an object", advice="GET / shows an example")
    _check_names(body, allowed, allowed)
    return Received(body)


def _check_names(names: Collection[str], shown: Sequence[str] | Collection[str], allowed: Collection[str]) -> None:
    for name in names:
        if name not in allowed:
            raise UsageError(f"unknown key '{name}'; allowed: {', '.join(shown)}", advice="correct or remove it")


def _read_field(text: str) -> Any:
    """A field of a form: a number or other JSON where it is one, or else a text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class StoredFiles:
    """Files in a temporary folder of their own, if there are any, and the names that the client gave them."""

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None
        self._names: dict[Path, str] = {}

    @property
    def paths(self) -> Sequence[Path]:
        return list(self._names)

    def add_upload(self, upload: UploadFile, suffixes: Sequence[str]) -> None:
        """Store an uploaded file. Raises DataError for a name that ends otherwise than allowed."""
        given = PurePosixPath((upload.filename or "").replace("\\", "/")).name or "file"
        if suffixes and not given.lower().endswith(tuple(suffixes)):
            raise DataError(f"{given}: allowed are files that end with {', '.join(suffixes)}", advice="convert it")
        path = self._reserve(given)
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)

    def add_bytes(self, content: bytes, name: str) -> None:
        self._reserve(name).write_bytes(content)

    def _reserve(self, name: str) -> Path:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="dltrain-serve-")
        folder = Path(self._folder.name) / str(len(self._names))
        folder.mkdir()
        path = folder / ("file" + PurePosixPath(name).suffix.lower()[:20])  # the name may be too long, or odd
        self._names[path] = name
        return path

    def restore_names(self, text: str) -> str:
        """A text, such as a message, with the client's names instead of those in the folder."""
        for path, name in self._names.items():
            text = text.replace(str(path), name)
        return text

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
