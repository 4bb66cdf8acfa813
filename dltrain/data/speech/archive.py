"""Unpacking of Common Voice's archives, cv-corpus-VERSION-LOCALE.tar.gz, to the folder that training reads."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from dltrain.data.speech.common_voice import ADDRESS, FOLDER, TABLES
from dltrain.data.speech.manifests import CLIPS
from dltrain.errors import DataError, UsageError
from dltrain.files import sync_directory

if TYPE_CHECKING:
    from dltrain.data.mirrors import Progress


def fetch(name: str, root: Path, archive: Path | None = None, progress: Progress | None = None) -> list[Path]:
    """Unpack an archive. Returns the folders ROOT/common_voice/LOCALE.

    Nothing is downloaded: Mozilla distributes the corpus on request, which a UsageError without `archive` explains.
    Only plain files and folders are unpacked, and only inside their folder; an archive's locales appear when all of
    them are complete. Raises DataError for anything else in the archive, for a damaged one, and if one of its locales
    exists already; then nothing is left behind.
    """
    if archive is None:
        raise UsageError(
            f"{name}: Mozilla distributes Common Voice on request, after you agree to its terms, so it cannot be "
            f"downloaded by a program. Request a language's archive at {ADDRESS}, then: "
            f"dltrain data fetch {name} --root {root} --archive FILE.tar.gz"
        )
    try:
        target = root / FOLDER
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=target, ignore_cleanup_errors=True) as folder:
            part = Path(folder)
            _unpack(archive, part, target, progress)
            return _move_locales(_find_locales(archive, part), target)
    except OSError as error:
        raise DataError(f"{error.filename or root}: {error.strerror or error}; nothing was unpacked.") from error


def _unpack(archive: Path, part: Path, target: Path, progress: Progress | None) -> None:
    """Unpack all files of an archive into `part`; stops at a locale that is in `target` already."""
    seen: set[PurePosixPath] = set()
    try:
        with archive.open("rb") as packed, tarfile.open(fileobj=packed, mode="r|*") as members:
            size = archive.stat().st_size
            for member, content in _read_members(archive, members):
                locale = _find_locale_folder(PurePosixPath(member))
                if locale is not None and not seen & {locale, *locale.parents}:
                    seen.add(locale)
                    _check_absent(target / locale.name)
                path = part / member
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    shutil.copyfileobj(content, file)
                if progress is not None:
                    progress(archive.name, packed.tell(), size)
    except FileExistsError as error:
        name = Path(error.filename).relative_to(part)
        raise DataError(f"{archive}: {name} is in it twice; nothing was unpacked. Get the archive again.") from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(
            f"{archive}: not a whole .tar or .tar.gz archive ({error}); nothing was unpacked. Get it again."
        ) from None


def _read_members(archive: Path, members: tarfile.TarFile) -> Iterator[tuple[str, BinaryIO]]:
    """Read name and content of each plain file. Raises DataError for links, devices and paths out of the folder."""
    for member in members:
        path = PurePosixPath(member.name)
        outside = path.is_absolute() or ".." in path.parts or "\\" in member.name
        if outside or not (member.isfile() or member.isdir()):
            wrong = "leads out of its folder" if outside else "is a link or a device"
            raise DataError(
                f"{archive}: {member.name} {wrong}; allowed are files and folders. Nothing was unpacked: do not trust "
                "this archive."
            )
        content = members.extractfile(member)
        if content is not None:
            yield member.name, content  # type: ignore[misc]


def _find_locale_folder(member: PurePosixPath) -> PurePosixPath | None:
    """Find the folder of a locale by the name of a file in it, a clip's or a table's."""
    folder = member.parent.parent if member.parent.name == CLIPS else member.parent
    return folder if folder.name and (member.parent.name == CLIPS or member.name in TABLES) else None


def _find_locales(archive: Path, folder: Path) -> list[Path]:
    """Find the folders with tables, named by their language; a folder inside another is a part of it."""
    found = {path.parent for name in TABLES for path in folder.rglob(name)}
    if not found or folder in found:
        raise DataError(
            f"{archive}: no folder LOCALE with train.tsv or validated.tsv in it, so it is not a Common Voice archive; "
            "nothing was unpacked."
        )
    outer = sorted(path for path in found if found.isdisjoint(path.parents))
    names = [path.name for path in outer]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{archive}: {', '.join(twice)} is in it in several folders; nothing was unpacked.")
    return outer


def _check_absent(target: Path) -> None:
    if target.exists():
        raise DataError(f"{target}: exists already; nothing was unpacked. Remove it, or name another --root.")


def _move_locales(locales: list[Path], target: Path) -> list[Path]:
    """Move all locales to `target`, or none if one of them cannot be moved. Returns their new paths."""
    for locale in locales:
        _check_absent(target / locale.name)
    moved: list[Path] = []
    try:
        for locale in locales:
            moved.append(locale.rename(target / locale.name))
        sync_directory(target)
    except BaseException:
        for locale, path in zip(locales, moved, strict=False):
            path.rename(locale)
        raise
    return moved
