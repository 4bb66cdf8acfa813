"""How a table's numbers are written: found in the training files, kept in the assets, and read by later commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy

from dltrain.data.cleaning import clean_text
from dltrain.data.numbers import (
    Decimal,
    FoundFormats,
    NumberColumn,
    NumberFormat,
    PlainNumber,
    find_formats,
    find_thousands,
    may_be_numbers,
)
from dltrain.data.tables.columns import Roles, convert_numbers
from dltrain.data.tables.files import Table

Formats = Mapping[str, NumberFormat]


def find_table_formats(table: Table, roles: Roles, decimal: Decimal, needed: str | None) -> FoundFormats:
    """Find the formats of the columns that are read as numbers; targets of labels and categories are none of these."""
    chosen = [name for name in roles.select_inputs(table) if name not in (roles.categorical or ())]
    if roles.target_holds != "labels" and (needed != "labels" or roles.target_holds == "numbers"):
        chosen += roles.target
    chosen += [roles.weight] if roles.weight is not None else []
    texts = {name: table.columns[name] for name in chosen if table.columns[name].dtype == object}
    plain = {name for name, column in texts.items() if convert_numbers(column) is not None}
    found = {}
    for name in texts.keys() - plain:
        counted = Counter(texts[name].tolist())
        if may_be_numbers(counted):
            column = NumberColumn(counted)
            if column.mostly_numbers and not (decimal == "auto" and column.looks_like_codes):
                found[name] = column
    if decimal != "auto" or any(column.decorated is not None for column in found.values()):
        found |= {name: NumberColumn(Counter(texts[name].tolist())) for name in plain}
    return find_formats({name: found[name] for name in chosen if name in found}, decimal, table.separators)


def find_doubtful(table: Table, formats: Formats) -> dict[str, str]:
    """A number of each column of plain numbers whose points may separate thousands."""
    found: dict[str, str] = {}
    for name, column in table.columns.items():
        if name not in formats and column.dtype == object and not any(isinstance(text, PlainNumber) for text in column):
            text = find_thousands(column.tolist())
            found |= {} if text is None else {name: text}
    return found


def convert_columns(table: Table, formats: Formats, *, known: bool) -> Table:
    """Convert the columns of texts that have a format to numbers, NaN for a missing one.

    Raises DataError, with the position, for a text that is written otherwise; `known`: the formats are training's.
    """
    columns = dict(table.columns)
    for name, form in formats.items():
        if name not in columns or columns[name].dtype != object:
            continue
        values = [form.parse(text) for text in columns[name]]
        if None in values:
            row = values.index(None)
            raise form.refuse(table.locate(row, name), columns[name][row], known)
        columns[name] = numpy.array(values, float)
    return replace(table, columns=columns)


def restore_formats(features: Sequence[Mapping[str, Any]]) -> dict[str, NumberFormat]:
    """The formats of the inputs of a trained model."""
    return {clean_text(each["name"]): NumberFormat(**each["format"]) for each in features if "format" in each}


def restore_other_formats(assets: Mapping[str, Any]) -> dict[str, NumberFormat]:
    """The formats of the targets and of the weight of a trained model."""
    return {clean_text(name): NumberFormat(**form) for name, form in _list_others(assets)}


def _list_others(assets: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from assets.get("target", {}).get("formats", {}).items()
    weight = assets.get("weight") or {}
    if "format" in weight:
        yield weight["column"], weight["format"]


def keep_formats(assets: Mapping[str, Any], formats: Formats) -> dict[str, Any]:
    """The assets with the formats of their columns; unchanged where there are none."""
    plain = {name: form.to_plain() for name, form in formats.items()}
    kept = dict(assets)
    kept["features"] = [
        {**each, "format": plain[each["name"]]} if each["name"] in plain and each["kind"] == "number" else each
        for each in assets["features"]
    ]
    if targets := {name: plain[name] for name in assets["target"]["columns"] if name in plain}:
        kept["target"] = {**assets["target"], "formats": targets}
    if "weight" in assets and (column := assets["weight"]["column"]) in plain:
        kept["weight"] = {**assets["weight"], "format": plain[column]}
    return kept
