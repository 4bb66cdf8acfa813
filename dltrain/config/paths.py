"""Options that are paths: the folder that each is relative to, and where it is.

A path is relative to the file that it is written in; one from ``--set`` to the working directory, as on any command
line. A config that comes with dltrain has no folder of its own: its ``../data`` is ``data`` in the working directory.
Where the options have a folder `root`, their files are in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dltrain.config.annotations import Option, find_location
from dltrain.config.shipped import CONFIGS
from dltrain.options import Location

RUN_CONFIG = "config.yaml"
RUN_REMARK = "# Paths are relative to this file's folder.\n"
"""The first line of a run's config. Earlier versions did not write it: their paths start from the working directory."""
ROOT = "root"


@dataclass(frozen=True)
class Base:
    """The folder that a source's paths are relative to, and another one to look in; both absolute.

    `of_run` says that the other one is where a run was trained; otherwise it is the working directory, which the paths
    in a config were relative to in earlier versions.
    """

    folder: Path
    other: Path | None = None
    of_run: bool = False


class Located(NamedTuple):
    """The options of one section, where their paths are, by name, which of them are folders, and what to warn of."""

    values: Mapping[str, Any]
    places: Mapping[str, Any]
    folders: Collection[str]
    warnings: Sequence[str]


def find_base(path: Path, text: str) -> Base:
    """The base of a config file with this text; that of a run's own config knows where the run was trained."""
    folder = path.parent
    if _normalize(folder.absolute()) == CONFIGS:  # as if it were in the working directory's folder `configs`
        return Base(Path.cwd() / CONFIGS.name)
    if path.name == RUN_CONFIG and text.startswith(RUN_REMARK):
        return Base(folder.resolve(), _read_former_folder(folder), of_run=True)
    if path.name == RUN_CONFIG and all((folder / name).is_file() for name in ("environment.json", "metrics.jsonl")):
        return Base(Path.cwd())  # a run of an earlier version
    return Base(_normalize(folder.absolute()), Path.cwd())


def _read_former_folder(run: Path) -> Path | None:
    """Where a run's last process found its directory; None where that was not recorded."""
    try:
        folder = json.loads((run / "environment.json").read_text(encoding="utf-8"))[-1]["directory"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return Path(folder) if isinstance(folder, str) else None


def map_paths(value: Any, change: Callable[[str], str]) -> Any:
    """A path, or each of a list of them, changed."""
    return [change(each) for each in value] if isinstance(value, (list, tuple)) else change(value)


def is_path(value: Any) -> bool:
    """Whether the value of an option that may hold paths does; it may also be a share."""
    return _list_paths(value) is not None


def shorten_path(path: str) -> str:
    """An absolute path as it is opened from the working directory: relative if it is inside."""
    inside = os.path.relpath(path)
    return path if Path(inside).parts[:1] == (os.pardir,) else inside


def list_path_options(options: Iterable[Option]) -> dict[str, Location]:
    """What is at the paths that options hold, by the options' names."""
    found = {each.name: find_location(each.annotation) for each in options}
    return {name: location for name, location in found.items() if location is not None}


def locate_paths(
    section: str, options: Sequence[Option], values: Mapping[str, Any], *, bases: Mapping[str, Base], default: Base
) -> Located:
    """Find the paths among the options of `section`; `bases` are those of the options that were set, by name.

    A default is relative to the folder of `default`, the config itself. A root that is not set is in the folder of the
    first option that names files. Absolute paths and addresses are left alone.
    """
    found = _Finder(section, list_path_options(options))
    found.locate(values, bases, default)
    folders = [name for name, location in found.locations.items() if location.holds == "folder"]
    return Located({**values, **found.changed}, found.places, folders, found.warnings)


class _Finder:
    """The paths of one section; `places`, `changed` and `warnings` fill as it goes."""

    def __init__(self, section: str, locations: Mapping[str, Location]) -> None:
        self.section, self.locations = section, locations
        self.places: dict[str, Any] = {}
        self.changed: dict[str, Any] = {}
        self.warnings: list[str] = []

    def locate(self, values: Mapping[str, Any], bases: Mapping[str, Base], default: Base) -> None:
        inside: dict[str, list[str]] = {}
        for name, location in self.locations.items():
            names = _list_paths(values.get(name))
            if names is None:
                continue
            if location.holds == "file" and ROOT in self.locations:
                inside[name] = names
            elif name != ROOT and any(map(_is_relative, names)):
                self.places[name] = map_paths(values[name], partial(self._find, name, base=bases.get(name, default)))
        if ROOT in self.locations and _is_relative(values[ROOT]):
            first = next((bases[name] for name in inside if name in bases), default)
            self._locate_root(values, inside, bases, bases.get(ROOT, first))

    def _locate_root(
        self, values: Mapping[str, Any], inside: Mapping[str, list[str]], bases: Mapping[str, Base], base: Base
    ) -> None:
        root = values[ROOT]
        apart = {
            name: bases[name]
            for name in inside.keys() & bases.keys()
            if ROOT not in bases and not _is_same(bases[name].folder, base.folder)
        }
        together = [each for name, names in inside.items() if name not in apart for each in names]
        self.places[ROOT] = place = self._find(ROOT, root, base, together)
        for name, other in apart.items():  # written in another file, and no root says what they are all relative to
            folder = self._find(ROOT, root, other, inside[name])
            self.changed[name] = map_paths(values[name], partial(_move_path, start=folder, end=place))

    def _find(self, name: str, path: str, base: Base, inside: Sequence[str] = ()) -> str:
        """The absolute path: in the base's folder, or in its other one if it is only there.

        `inside` are files that are relative to it.
        """
        if not _is_relative(path):
            return path
        inside = [each for each in inside if _is_relative(each)]
        here = _normalize(base.folder / path)
        there = here if base.other is None else _normalize(base.other / path)
        first, second = (_holds(place, inside) for place in (here, there))
        if base.of_run or not second or _is_same(here, there):
            return str(there if second and not first else here)
        option = f"{self.section}.{name}: "
        shown, remedy = f"{option}{Path(path, *inside[:1])}", f"{option}{os.path.relpath(there, base.folder)}"
        if not first:
            self.warnings.append(
                f"{shown} is relative to the folder of the config, but is only in the working directory: {there} is "
                f"used; write {remedy}"
            )
        elif not path.startswith(("./", "../")) and (inside or Path(path) != Path()):
            self.warnings.append(
                f"{shown} is relative to the folder of the config: {here} is used, and not {there}; write "
                f"{option}./{'' if path == '.' else path} to confirm, or {remedy} for the other"
            )
        return str(here if first else there)


def _normalize(path: Path) -> Path:
    return Path(os.path.normpath(path))


def _move_path(path: str, start: str, end: str) -> str:
    """A path relative to `start` as one relative to `end`."""
    return os.path.relpath(Path(start, path), end) if _is_relative(path) else path


def _list_paths(value: Any) -> list[str] | None:
    """The texts of an option that may hold paths; None where it holds something else, such as a share."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values if values and all(isinstance(each, str) for each in values) else None


def _is_relative(path: str) -> bool:
    return not path.startswith("~") and "://" not in path and not Path(path).is_absolute()


def _holds(folder: Path, files: Sequence[str]) -> bool:
    """Whether the folder has all these files, plain or .gz; without any, whether it exists."""
    paths = [folder / each for each in files]
    return all(path.exists() or path.with_name(f"{path.name}.gz").exists() for path in paths or [folder])


def _is_same(first: Path, second: Path) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)
