"""Grouped options such as `--adapt cache=500,weight=0.1`: a frozen dataclass declares the keys, as option groups do."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from dltrain.config.annotations import (
    REQUIRED,
    Option,
    add_article,
    describe_type,
    list_members,
    list_options,
    split_annotated,
)
from dltrain.config.document import resolve_scalar
from dltrain.config.faults import find_nearest
from dltrain.config.values import validate_value
from dltrain.errors import UsageError

Group = TypeVar("Group")


def parse_group(flag: str, text: str | None, *groups: type[Group]) -> Group | None:
    """Read `KEY=VALUE,...` as the one of the dataclasses `groups` that has these keys; None as None.

    Raises UsageError for text of another form, an unknown or a repeated key, keys of several groups, a missing key and
    a value that breaks its type or bounds.
    """
    if text is None:
        return None
    values = _split(flag, text)
    members: tuple[type, ...] = groups
    options = {option.name: (member, option) for member in members for option in list_options(member)}
    for key in values:
        if key not in options:
            near = find_nearest(key, options)
            hint = f"\ndid you mean '{near}'?" if near else ""
            raise UsageError(f"{flag}: unknown key '{key}'; available: {', '.join(options)}{hint}")
    owners = {options[key][0]: key for key in reversed(values)}
    if len(owners) > 1:
        first, second, *_ = (key for key in values if key in owners.values())
        raise UsageError(f"{flag}: {first} and {second} do not go together", advice="leave one of them out")
    group, given = next(iter(owners)), next(iter(values))
    for option in list_options(group):
        if option.default is REQUIRED and option.name not in values:
            message = f"{flag}: {given} goes with {option.name}, which was not given"
            raise UsageError(message, advice=f"add {option.name}=..., or leave {given} out")
    settings = {key: _read_value(flag, options[key][1], value) for key, value in values.items()}
    result: Group = group(**settings)
    return result


def _split(flag: str, text: str) -> dict[str, str]:
    """Keys and values as written; a comma that no `KEY=` follows belongs to the value."""
    values: dict[str, str] = {}
    for part in re.split(r",(?=\s*\w+\s*=)", text):
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"{flag}: found '{part}'; allowed is KEY=VALUE, and more after commas")
        if key in values:
            raise UsageError(f"{flag}: {key} is given twice", advice="leave one of them out")
        values[key] = value.strip()
    return values


def _read_value(flag: str, option: Option, text: str) -> Any:
    members = list_members(option.annotation)
    takes_text = any(split_annotated(member)[0] is str for member in members)
    value, problems = validate_value(text if takes_text else resolve_scalar(text), option.annotation)
    if problems:
        allowed = add_article(describe_type(members[0]))
        raise UsageError(f"{flag}: {option.name}: found '{text}'; allowed is {allowed}")
    return value
