"""Every fault of a table in one report, with the options that fix them in one line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.numbers import FoundFormats, describe_ambiguous, parse_number
from dltrain.data.tables.columns import (
    Roles,
    convert_numbers,
    find_unlabelled,
    holds_numbers,
)
from dltrain.data.tables.features import holds_names
from dltrain.data.tables.files import Table, format_texts
from dltrain.data.tables.formats import convert_columns
from dltrain.data.wording import join_some
from dltrain.errors import DataError

_NAMED = 5
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.]*(?: [\w.]+)*")
_OTHER_VALUES = ("true", "false", "yes", "no", "on", "off", "y", "n", "null")


class TableFault(NamedTuple):
    """What is wrong, and the options that fix it, by name; none if the file must be corrected."""

    message: str
    settings: Mapping[str, Any] = {}


def check_faults(table: Table, roles: Roles, found: FoundFormats, needed: str | None) -> None:
    """Raises DataError if the training table has several faults that would stop training one after the other.

    A single one is left to the step that it stops, whose message has the position.
    """
    faults = list(_find_faults(table, roles, found, needed))
    columns = [name for fault in faults for name in fault.settings.get("ignore", ())]
    if len(faults) < 2:
        return
    settings = {option: value for fault in faults for option, value in fault.settings.items() if option != "ignore"}
    if columns:
        kept = [name for name in roles.select_inputs(table) if name not in columns]
        if roles.features is None:
            settings["data.ignore"] = [*roles.ignore, *columns]
        elif kept:
            settings["data.features"] = kept
    listed = "".join(f"\n  {fault.message}" for fault in faults)
    sets = " ".join(f"--set {shlex.quote(f'{option}={_format_value(value)}')}" for option, value in settings.items())
    raise DataError(f"{table.name}: {len(faults)} faults{listed}", advice=sets or "correct the table")


def _format_value(value: Any) -> str:
    if isinstance(value, str):
        return value
    plain = [bool(_PLAIN_NAME.fullmatch(name)) and name.lower() not in _OTHER_VALUES for name in value]
    named = [name if ok else json.dumps(name, ensure_ascii=False) for name, ok in zip(value, plain, strict=True)]
    return f"[{','.join(named)}]"


def _find_faults(table: Table, roles: Roles, found: FoundFormats, needed: str | None) -> Iterator[TableFault]:
    try:
        table = convert_columns(table, found.formats, known=False)
    except DataError as error:
        yield TableFault(f"{error.message}; {error.advice}")
        return
    if found.ambiguous:
        message = describe_ambiguous(table.name, found.ambiguous).removeprefix(f"{table.name}: ")
        yield TableFault(f"{message}; data.decimal=comma if they are decimal commas", {"data.decimal": "point"})
    missing = find_unlabelled(table, roles.target)
    if missing.all():
        yield TableFault(f"no row has a target in {', '.join(roles.target)}; correct data.target")
        return
    if missing.any() and roles.missing_target == "error":
        yield TableFault(
            f"target {join_some([repr(name) for name in roles.target], _NAMED)}: no value in {missing.sum()} of "
            f"{len(table)} rows, the first in {_place(table, missing)}",
            {"data.missing_target": "drop"},
        )
    table = table.select(~missing)
    yield from _check_target(table, roles, found, needed)
    yield from _check_inputs(table, roles, found)


def _place(table: Table, wrong: NDArray[Any]) -> str:
    row = int(wrong.argmax())
    return f"{'row' if table.lines is None else 'line'} {table.number(row)}"


def _check_target(table: Table, roles: Roles, found: FoundFormats, needed: str | None) -> Iterator[TableFault]:
    for name in roles.target:
        column = table.columns[name]
        if len(column) > 1 and len(set(column.tolist())) == 1:
            yield TableFault(
                f"the target '{name}' is '{column[0]}' in all rows; give more rows, or another data.target"
            )
        elif name in found.ambiguous or roles.target_holds == "labels":
            continue
        elif not holds_numbers(table, name):
            if needed == "numbers" and len(roles.target) == 1:
                message = f"the target '{name}' holds texts such as '{column[0]}', but the task needs numbers"
                yield TableFault(message, {"task": "tabular_classification"})
        elif (numbers := _convert(column)) is None:
            odd = next(text for text in column if parse_number(text) is None)
            yield TableFault(f"the target '{name}' has numbers and texts such as '{odd}'; correct the values")
        elif needed == "labels" and roles.target_holds == "auto" and (numbers % 1 != 0).any():
            fraction = numbers[numbers % 1 != 0][0]
            message = f"the target '{name}' holds fractions such as {fraction:g}, but the task needs labels"
            yield TableFault(message, {"task": "regression"})


def _convert(column: NDArray[Any]) -> NDArray[numpy.float64] | None:
    return column if column.dtype != object else convert_numbers(column)


def _check_inputs(table: Table, roles: Roles, found: FoundFormats) -> Iterator[TableFault]:
    absent: dict[str, int] = {}
    for name in roles.select_inputs(table):
        named = roles.categorical is not None and name in roles.categorical
        texts = format_texts(table.columns[name])
        by_content = roles.categorical is None or name in table.derived
        numeric = not named and (name in found.ambiguous or (by_content and holds_numbers(table, name)))
        numbers = _convert(table.columns[name]) if numeric and name not in found.ambiguous else None
        missing = texts == "" if numbers is None else numpy.isnan(numbers)
        if missing.all():
            yield TableFault(f"column '{name}' holds no value", {"ignore": [name]})
        elif not numeric and not named and holds_names(texts):
            yield TableFault(
                f"column '{name}' holds {len(set(texts))} different texts in {len(texts)} rows; each would be an input",
                {"ignore": [name]},
            )
        elif numeric and numbers is None and name not in found.ambiguous:
            odd = next(text for text in table.columns[name] if parse_number(text) is None)
            yield TableFault(
                f"column '{name}' has numbers and texts such as '{odd.strip()[:60]}'; correct them, or leave it out",
                {"ignore": [name]},
            )
        elif missing.any():
            absent[name] = int(missing.sum())
    if absent and roles.missing == "error":
        listed = join_some([f"'{name}' ({count} of {len(table)} rows)" for name, count in absent.items()], _NAMED)
        yield TableFault(f"no value in {listed}", {"data.missing": "mean"})
