"""Common Voice's archives, cv-corpus-VERSION-LOCALE.tar.gz, unpacked to where training looks for them."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from dltrain.data.speech_check import ADDRESS, FOLDER
from dltrain.errors import DataError, UsageError
from dltrain.files import sync_directory

if TYPE_CHECKING:
    from dltrain.data.mirrors import Progress


def fetch(name: str, root: Path, archive: Path | None = None, progress: Progress | None = None) -> list[Path]:
    """The folders ROOT/common_voice/LOCALE that an archive was unpacked to.

    Nothing is downloaded: Mozilla gives the corpus out on request only, which a UsageError without `archive` explains.
    Only plain files and folders are taken, and only inside their folder; a locale appears when it is complete. Raises
    DataError for anything else in the archive, for a damaged one, and where a locale is there already.
    """
    if archive is None:
        raise UsageError(
            f"{name}: Mozilla gives Common Voice out on request, after one has agreed to its terms, so it cannot be "
            f"downloaded by a program. Ask for a language's archive at {ADDRESS}, then: "
            f"dltrain data fetch {name} --root {root} --archive FILE.tar.gz"
        )
    try:
        target = root / FOLDER
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=target) as folder:
            part = Path(folder)
            _unpack(archive, part, progress)
            return [_moved(locale, target / locale.name) for locale in _locales(archive, part)]
    except OSError as error:
        raise DataError(f"{error.filename or root}: {error.strerror or error}; nothing was unpacked.") from error


def _unpack(archive: Path, target: Path, progress: Progress | None) -> None:
    try:
        with archive.open("rb") as packed, tarfile.open(fileobj=packed, mode="r|*") as members:
            size = archive.stat().st_size
            for member, content in _contents(archive, members):
                path = target / member
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    shutil.copyfileobj(content, file)
                if progress is not None:
                    progress(archive.name, packed.tell(), size)
    except FileExistsError as error:
        name = Path(error.filename).relative_to(target)
        raise DataError(f"{archive}: {name} is in it twice; nothing was unpacked. Get the archive again.") from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(
            f"{archive}: not a whole .tar or .tar.gz archive ({error}); nothing was unpacked. Get it again."
        ) from None


def _contents(archive: Path, members: tarfile.TarFile) -> Iterator[tuple[str, BinaryIO]]:
    """Name and content of each plain file; raises DataError for what an archive of clips has no need of."""
    for member in members:
        path = PurePosixPath(member.name)
        wrong = None
        if path.is_absolute() or ".." in path.parts or "\\" in member.name:
            wrong = "leads out of its folder"
        elif not (member.isfile() or member.isdir()):
            wrong = "is a link or a device"
        if wrong is not None:
            raise DataError(
                f"{archive}: {member.name} {wrong}; allowed are files and folders. Nothing was unpacked: do not trust "
                "this archive."
            )
        content = members.extractfile(member)
        if content is not None:
            yield member.name, content  # type: ignore[misc]


def _locales(archive: Path, folder: Path) -> list[Path]:
    """The folders with tables, named by their language."""
    found = sorted({path.parent for name in ("train.tsv", "validated.tsv") for path in folder.rglob(name)})
    if not found or folder in found:
        raise DataError(
            f"{archive}: no folder LOCALE with train.tsv or validated.tsv in it, so it is no archive of Common Voice; "
            "nothing was unpacked."
        )
    return found


def _moved(locale: Path, target: Path) -> Path:
    if target.exists():
        raise DataError(f"{target}: is there already; nothing was unpacked. Remove it, or give another --root.")
    locale.rename(target)
    sync_directory(target.parent)
    return target
