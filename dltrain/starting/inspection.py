"""Find out what a path holds, and draft a config for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dltrain.data.delimited import get_table_suffix
from dltrain.data.images.class_folders import NAMES
from dltrain.data.input_files import is_hidden
from dltrain.data.tables.files import SUFFIXES as TABLES
from dltrain.data.wording import suggest_name
from dltrain.errors import DataError, UsageError
from dltrain.starting import audio, documents, images, series, tables, texts
from dltrain.starting.draft import KINDS, Draft, FileKind, count
from dltrain.starting.targets import choose_target

ARCHIVES = (".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jp2")
MOST_FILES = 200_000
"""Files of a folder that are looked at by name."""

OTHER_FORMS: Mapping[str, str] = {
    **dict.fromkeys((".xls", ".xlsx", ".ods"), "save its sheet as .csv"),
    ".json": "write one JSON object a line, and call it .jsonl",
    **dict.fromkeys((".yaml", ".yml"), "this is a config already: dltrain fit {path}"),
    **dict.fromkeys((".data", ".dat"), "name the columns in its first line, and call it .csv or .tsv"),
    **dict.fromkeys(ARCHIVES, "unpack it, and name the folder or the file in it"),
}
"""What to do with files of other forms."""


@dataclass
class FolderContents:
    """The files under a folder that are not hidden, by what their names say."""

    pictures: list[Path] = field(default_factory=list)
    sounds: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    others: int = 0

    def count(self) -> dict[str, int]:
        return {
            "picture": len(self.pictures),
            "sound file": len(self.sounds),
            "text": len(self.texts),
            "table": len(self.tables),
            "other file": self.others,
        }


def list_readable() -> str:
    """What a config can be drafted for, a line each."""
    return "\n".join(f"  {name:7} {what}" for name, what in KINDS.items())


def draft_config(path: Path, target: str | None = None, kind: FileKind | None = None) -> Draft:
    """Draft a config for the data at `path`, of the given or of the found kind.

    Raises DataError for what is not there, damaged, or none of the kinds that can be read, and UsageError for a column
    that is not there or cannot be predicted.
    """
    if not path.exists():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file or folder{suggest_name(path.name, beside)}", advice="correct the path")
    return _draft_folder(path, target, kind) if path.is_dir() else _draft_file(path, target, kind)


def _draft_file(path: Path, target: str | None, kind: FileKind | None) -> Draft:
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if kind in ("images", "audio"):
        raise UsageError(
            f"{path}: {kind} are in a folder, and this is a file", advice=f"name the folder: {path.parent}"
        )
    if suffix in TABLES or get_table_suffix(path) is not None:
        return _draft_table(path, target, kind)
    if path.name.removesuffix(".gz").endswith("-ubyte"):
        return _draft_folder(path.parent, target, "images")
    if kind == "text" or (kind is None and texts.is_text(path)):
        _refuse_target(path, target)
        return texts.draft_text(path, [path])
    if suffix in PICTURES or suffix in audio.SUFFIXES:
        found = "a picture" if suffix in PICTURES else "a sound file"
        raise DataError(
            f"{path}: {found} alone; needed are many, in a folder", advice=f"name the folder: {path.parent}"
        )
    advice = OTHER_FORMS.get(suffix, OTHER_FORMS.get(path.suffix.lower(), "convert it, or name another file"))
    raise DataError(
        f"{path}: not a file to start from; dltrain init reads\n{list_readable()}", advice=advice.format(path=path)
    )


def _refuse_target(path: Path, target: str | None) -> None:
    if target is not None:
        raise UsageError(f"{path}: --target names a column of a table, and this is none", advice="leave it out")


def _draft_table(
    path: Path, target: str | None, kind: FileKind | None, splits: Mapping[str, Path] | None = None
) -> Draft:
    """The draft for a table, of labelled texts, of a series, or of rows of its own."""
    splits = splits or {}
    if kind == "text":
        raise UsageError(f"{path}: a table is no text", advice="give a .txt file, or `--as texts` for labelled texts")
    if kind == "series":
        return series.draft_series(path, target)
    if kind == "texts":
        return documents.draft_labelled_texts(path, target, splits)
    found = tables.inspect_table(path)
    if kind is None and not splits:
        asked = next((name for name in found.profiles if target is not None and name == target.strip()), target)
        time = series.find_time_column(found)
        if series.looks_like_series(found, time, asked):
            return series.compose_series(found, time, target)
    text = documents.find_text_column(found.profiles)
    others = {name: profile for name, profile in found.profiles.items() if name != text}
    chosen = choose_target(str(path), found.profiles if target is not None else others, target)
    if kind is None and documents.looks_like_texts(found, chosen):
        return documents.compose_texts(found, chosen, splits)
    return tables.compose_table(found, chosen, splits)


def _draft_folder(path: Path, target: str | None, kind: FileKind | None) -> Draft:
    root = images.find_idx(path) if kind in (None, "images") else None
    release = audio.find_release(path) if kind in (None, "audio") else None
    contents = sort_files(path)
    if kind is None and (found := _find_kinds(path, contents, root, release)) and len(found) > 1:
        raise UsageError(
            f"{path}: several kinds of data: {', '.join(found)}",
            advice="name one of the folders in it, or say what to read: "
            + " or ".join(f"--as {each}" for each in found),
        )
    if root is not None:
        _refuse_target(path, target)
        return images.draft_idx(path, root)
    if release is not None:
        _refuse_target(path, target)
        return audio.draft_common_voice(path, *release)
    drafts: Sequence[tuple[FileKind, bool, Callable[[], Draft]]] = (
        ("images", bool(contents.pictures), lambda: images.draft_images(path, target)),
        ("audio", bool(contents.sounds), lambda: audio.draft_recordings(path, contents.sounds)),
        ("texts", bool(find_text_splits(path)), lambda: _draft_text_folder(path)),
        ("text", bool(contents.texts) and not contents.tables, lambda: texts.draft_text(path, contents.texts)),
    )
    for name, present, draft in drafts:
        if present and kind in (None, name):
            if name != "images":
                _refuse_target(path, target)
            return draft()
    if contents.tables and kind in (None, "table", "series", "texts"):
        return _draft_tables(path, contents.tables, target, kind)
    listed = ", ".join(count(number, unit) for unit, number in contents.count().items() if number) or "no file"
    wanted = "nothing to start from" if kind is None else f"no {kind} in it"
    raise DataError(
        f"{path}: {wanted}; it has {listed}; dltrain init reads\n{list_readable()}",
        advice="name another folder or file",
    )


def _find_kinds(
    path: Path, contents: FolderContents, idx: Path | None, release: tuple[Path, str] | None
) -> dict[FileKind, None]:
    """The kinds of data in a folder that are not parts of one another."""
    found: dict[FileKind, None] = {}
    if idx is not None or contents.pictures:
        found["images"] = None
    if release is not None or contents.sounds:
        found["audio"] = None
    if contents.texts and not found:
        found["texts" if find_text_splits(path) else "text"] = None
    return found


def sort_files(folder: Path) -> FolderContents:
    """Sort the files under a folder by their names."""
    contents, seen = FolderContents(), 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(names):
            if is_hidden(name):
                continue
            path = Path(parent) / name
            suffix = path.suffix.lower()
            if suffix in PICTURES:
                contents.pictures.append(path)
            elif suffix in audio.SUFFIXES:
                contents.sounds.append(path)
            elif texts.is_text(path):
                contents.texts.append(path)
            elif suffix in TABLES or get_table_suffix(path) is not None:
                contents.tables.append(path)
            else:
                contents.others += 1
            seen += 1
            if seen >= MOST_FILES:
                return contents
    return contents


def _draft_tables(path: Path, found: Sequence[Path], target: str | None, kind: FileKind | None) -> Draft:
    """The draft for the tables of a folder: the only one, or those of the splits, by their names."""
    if len(found) == 1:
        return _draft_table(found[0], target, kind)
    splits = texts.match_splits(found)
    if len(splits) < 2 or len(splits["training"]) > 1:
        names = [str(each) for each in found[:8]]
        raise UsageError(
            f"{path}: {len(found)} tables: {', '.join(names)}", advice=f"name one: dltrain init {names[0]}"
        )
    (training,) = splits["training"]
    others = {split: paths[0] for split, paths in splits.items() if split != "training"}
    columns = tables.inspect_table(training).profiles.keys()
    complete = {split: each for split, each in others.items() if columns <= tables.inspect_table(each).profiles.keys()}
    return _draft_table(training, target, kind, complete)


def find_text_classes(path: Path) -> dict[str, list[Path]]:
    """The text files of each class, where a folder has nothing but folders of text files; empty if it has others."""
    inside = [each for each in sorted(path.iterdir()) if not is_hidden(each.name)]
    folders = [each for each in inside if each.is_dir()]
    if len(folders) < 2 or any(texts.is_text(each) for each in inside):
        return {}
    found = {
        folder.name: sorted(each for each in folder.rglob("*.txt") if not is_hidden(each.name)) for folder in folders
    }
    return found if all(found.values()) else {}


def find_text_splits(path: Path) -> dict[str, Path]:
    """The folders with the classes of each split, the training one `path` itself or in it; empty if there is none."""
    names = {each.name.casefold(): each for each in path.iterdir() if each.is_dir()}
    found = {
        split: next(names[each] for each in usual if each in names)
        for split, usual in NAMES.items()
        if any(each in names for each in usual)
    }
    if "training" not in found:
        found = {"training": path}
    classes = {name: folder for name, folder in found.items() if find_text_classes(folder)}
    return {str(name): folder for name, folder in classes.items()} if "training" in classes else {}


def _draft_text_folder(path: Path) -> Draft:
    found: dict[str, Path] = find_text_splits(path)
    training = found.pop("training")
    return documents.draft_text_folders(path, found, training, find_text_classes(training))
