"""What a checkpoint's JSON files must hold: a whole file, with the right hash, may still be no checkpoint's."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from dltrain.core.record import Record

PLUGINS = "plugins"
_HASH = re.compile(r"[0-9a-f]{64}")
LARGEST_COUNT = 1 << 53
"""The largest step, epoch or size in bytes that JSON's readers agree on."""


def parse_json(content: bytes) -> Any:
    """The value that JSON holds. Raises ValueError for anything else, and for what is nested too deeply."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def check_manifest(manifest: Any, files: Iterable[str]) -> str | None:
    """What is wrong with a manifest, but for its hash and its format; None if nothing is."""
    if not isinstance(manifest, dict):
        return "is no object"
    wrong = _find_wrong(
        manifest,
        step=_is_count,
        epoch=_is_count,
        score=_is_number_or_none,
        metric=_is_text,
        direction=lambda value: value in ("max", "min"),
        dataset=_is_text,
        files=_is_object,
    )
    if wrong is not None:
        return wrong
    if not _is_number_or_none(manifest.get("loss")):
        return "loss is no number"
    if set(manifest["files"]) != set(files):
        return f"files are {', '.join(map(repr, manifest['files'])) or 'none'}, expected {', '.join(files)}"
    for name, facts in manifest["files"].items():
        hashed = isinstance(facts, dict) and isinstance(facts.get("sha256"), str) and _HASH.fullmatch(facts["sha256"])
        if not hashed or not _is_count(facts.get("size")):
            return f"files.{name} has no size and SHA-256"
    return None


def check_state(plain: Any, step: int) -> str | None:
    """What is wrong with state.json's value, in a checkpoint of this step; None if nothing is."""
    if not isinstance(plain, dict):
        return "is no object"
    wrong = _find_wrong(plain, state=_is_object, record=_is_object)
    if wrong is not None:
        return wrong
    state = plain["state"]
    wrong = _find_wrong(
        state,
        step=_is_count,
        epoch=_is_count,
        position=_is_count,
        examples=_is_count,
        history=_is_history,
        optimizer=_is_object,
        scaler=_is_object,
        generators=_is_object,
    )
    if wrong is not None:
        return f"state.{wrong}"
    if state["step"] != step:
        return f"its step is {state['step']}, the manifest's {step}"
    wrong = check_record(plain["record"])
    return None if wrong is None else f"record.{wrong}"


def check_record(record: Mapping[str, Any]) -> str | None:
    """What is wrong with a record as plain JSON; None if nothing is."""
    wrong = _find_wrong(
        record,
        config=_is_object,
        assets=_is_object,
        dataset=_is_text,
        fingerprint=_maps_texts,
        signature=_is_object,
        plugins=_maps_texts,
    )
    if wrong is not None:
        return wrong
    for name in record["plugins"]:
        if not is_plugin_name(name):
            return f"plugins: the name {name!r} is no file in {PLUGINS}/"
    if not _is_history(record.get("history", [])):
        return "history is no list of evaluations"
    try:
        Record.from_plain(record)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        return f"cannot be read ({error})"
    return None


def is_plugin_name(name: str) -> bool:
    """Whether a plug-in's name is that of a file in the folder of plug-ins, on any system."""
    parts = PurePosixPath(name).parts
    plain = len(parts) == 2 and parts[0] == PLUGINS and name == "/".join(parts) and parts[1] not in (".", "..")
    return plain and not set(name) & set("\\:\0\n\r")


def _find_wrong(values: Mapping[str, Any], **allowed: Callable[[Any], bool]) -> str | None:
    for name, is_allowed in allowed.items():
        if name not in values:
            return f"{name} is missing"
        if not is_allowed(values[name]):
            return f"{name} is not what it must be: {str(values[name])[:60]!r}"
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT


def _is_number_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _maps_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def _is_history(value: Any) -> bool:
    """Whether it is a list of objects with numbers, or null where one was not finite."""
    return isinstance(value, list) and all(
        isinstance(entry, dict) and all(_is_number_or_none(number) for number in entry.values()) for entry in value
    )
