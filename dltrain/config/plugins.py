"""Plug-ins: Python files of the user's own, which are executed, and what they register."""

from __future__ import annotations

import importlib.util
import linecache
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dltrain.config.catalogue import Catalogue, Entry, load_package_catalogue
from dltrain.config.faults import Fault, Place, Refused, SourceText, build_report, find_nearest_file
from dltrain.config.paths import shorten_path
from dltrain.config.signatures import read_entry, suggest_type
from dltrain.errors import DltrainError
from dltrain.registry import REGISTRIES, Registration

_imported: dict[str, tuple[Path, str, list[Registration]]] = {}
"""By module name: the file that was executed last, its text, and what it registered."""


_originals: dict[Path, str] = {}
"""What a copy of a plug-in is called in messages: its original, which the user edits."""


def name_original(copy: Path, original: Path) -> None:
    """Let errors in `copy`, a copy of a plug-in that is imported in place of its original, name the latter."""
    _originals[copy] = _originals.get(original, shorten_path(str(original)))


def load_catalogue(paths: Sequence[Path]) -> Catalogue:
    """The package's catalogue and that of plug-in files, which are executed; raises ConfigError."""
    catalogue = load_package_catalogue()
    for path in paths:
        faults: list[Fault] = []
        catalogue = add_plugin(catalogue, path, Place(SourceText(str(path))), faults)
        if faults:
            raise build_report(faults, str(path))
    return catalogue


def add_plugin(
    catalogue: Catalogue, path: Path, place: Place, faults: list[Fault], shown: str | None = None
) -> Catalogue:
    """`catalogue` and what a plug-in registers, without what is at fault.

    `shown` is the file's name in messages, and `place` where a config names it. Faults are added to `faults`, as
    causes: those of a config that uses the plug-in follow from them.
    """
    shown = shown or _originals.get(path, str(path))
    found: list[Fault] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
        file = _originals.get(path, shorten_path(str(path)))
        source = SourceText(shown, tuple(text.splitlines()), rank=500, path=file)
        for registration in import_plugin(path, text, source):
            try:
                entry: Entry = read_entry(registration, source, str(path))
                catalogue = Catalogue((*catalogue.entries, entry))
            except Refused as refused:
                found.append(refused.fault)
    except Refused as refused:
        found.append(refused.fault)
    except FileNotFoundError:
        near = find_nearest_file(path, shown, "*.py")
        found.append(Fault(place, f"the plug-in '{shown}' does not exist", nearest=near))
    except UnicodeDecodeError as error:
        reason = f"not UTF-8, byte 0x{error.object[error.start]:02x} at offset {error.start}"
        found.append(Fault(place, f"the plug-in '{shown}' cannot be read: {reason}"))
    except OSError as error:
        found.append(Fault(place, f"the plug-in '{shown}' cannot be read: {error.strerror or error}"))
    faults += [replace(fault, cause=True) for fault in found]
    return catalogue


def import_plugin(path: Path, text: str, source: SourceText) -> list[Registration]:
    """Execute a plug-in, unless this text of this file was executed last under its name; what it registered.

    Raises Refused where that fails, with the line of the plug-in.
    """
    name = f"dltrain_plugins.{path.stem}"
    known = _imported.get(name)
    if known is not None and known[:2] == (path, text):
        return known[2]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    _imported.pop(name, None)
    for registry in REGISTRIES.values():
        registry.forget(name)
    try:
        linecache.cache[source.path] = (len(text), None, text.splitlines(keepends=True), source.path)
        exec(compile(text, source.path, "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        if isinstance(error, DltrainError) or not isinstance(error, (Exception, SystemExit)):
            raise  # a signal arrived, or the plug-in reports an error of its own
        raise Refused(_explain_import(error, source)) from error
    registered = [each for registry in REGISTRIES.values() for each in registry if each.module == name]
    _imported[name] = (path, text, registered)
    return registered


def _explain_import(error: BaseException, source: SourceText) -> Fault:
    """Why a plug-in cannot be imported, at its own line."""
    path = source.path
    if isinstance(error, SyntaxError) and error.filename in (path, None):
        return Fault(Place(source, error.lineno or 0, error.offset or 1), f"not Python: {error.msg}")
    if isinstance(error, ValueError) and "null bytes" in str(error):
        return Fault(Place(source), f"not Python: {error}")
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == path), None) or 0
    message = f"the plug-in cannot be imported: {type(error).__name__}: {error}"
    if frames[-1].filename not in (path, __file__) and not frames[-1].filename.startswith("<"):
        message = f"{message} (in {frames[-1].filename}:{frames[-1].lineno})"
    return Fault(Place(source, line, 1), message, nearest=suggest_type(error))
