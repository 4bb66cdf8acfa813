"""What a run has read (`data.json`), in a few lines for the console and as a section of report.html."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

DATA = "data.json"
"""The file in a run directory that holds what was read."""
WIDTH = 80
"""Columns that a line of the console takes at most, unless a single name is longer."""
_NOTES = 3
_ALL_CLASSES = 4
_NAMED = 3

PlainData = Mapping[str, Any]


def read_data(directory: Path) -> PlainData | None:
    """What the run in a directory has read; None where that is not known."""
    try:
        data: PlainData = json.loads((directory / DATA).read_text(encoding="utf-8"))
        return data
    except (OSError, ValueError):  # a run from before this file, or one that was damaged
        return None


def format_brief(data: PlainData) -> list[str]:
    """The summary in about six lines of up to 80 columns."""
    lines = list(_format_splits(data))
    if line := _format_classes(data):
        lines.append(line)
    if data["columns"]:
        lines.append(_join_fitting("columns: ", list(_describe_roles(data["columns"])), "; "))
    if data["facts"]:
        facts = [f"{name} {format_fact(value)}" for name, value in data["facts"].items() if value is not None]
        short = [fact for fact in facts if len(fact) <= WIDTH - len("facts: ")]
        lines += [_join_fitting("facts: ", short, "; ")] if short else []
    notes = [format_treatment(each) for each in data["treatments"] if each["count"] and not each.get("noticed")]
    lines += [f"note: {note}" for note in notes[:_NOTES]]
    if len(notes) > _NOTES:
        lines.append(f"note: {len(notes) - _NOTES} more notes are in data.json")
    return lines


def format_sizes(data: PlainData) -> str:
    """The first line: name, number of examples, and the size of each split."""
    return f"{_format_total(data)}: {_list_sizes(data)}"


def _format_total(data: PlainData) -> str:
    total = sum(split["examples"] or 0 for split in data["splits"])
    return f"data: {data['name']}, {total:,} {data['unit']}"


def _list_sizes(data: PlainData) -> str:
    return ", ".join(
        f"{split['name']} not read yet" if split["examples"] is None else f"{split['examples']:,} {split['name']}"
        for split in data["splits"]
    )


def _format_splits(data: PlainData) -> Iterator[str]:
    """Name, number of examples, the size of each split and how they were divided, in as few lines as possible."""
    division = f" ({data['division']})" if data["division"] else ""
    if len(line := format_sizes(data) + division) <= WIDTH:
        yield line
        return
    yield _format_total(data)
    splits = f"splits: {_list_sizes(data)}"
    yield from [splits + division] if len(splits + division) <= WIDTH else [splits, f" {division}"]


def _format_classes(data: PlainData) -> str | None:
    counts: Mapping[str, int] = next((split["classes"] for split in data["splits"] if split["name"] == "training"), {})
    if not counts:
        return None
    if len(counts) <= _ALL_CLASSES:
        return _join_fitting("classes: ", [f"'{label}' {count:,}" for label, count in counts.items()], ", ")
    rarest, most = min(counts, key=lambda label: counts[label]), max(counts, key=lambda label: counts[label])
    extremes = f"rarest '{rarest}' {counts[rarest]:,}, most common '{most}' {counts[most]:,}"
    return f"classes: {len(counts):,} ({extremes} in training)"


def _describe_roles(columns: Sequence[PlainData]) -> Iterator[str]:
    """The target, the number of inputs of each kind, and other roles with their columns' names."""
    inputs = [column for column in columns if column["role"] == "input"]
    for kind in dict.fromkeys(column["kind"] for column in inputs):
        chosen = [column for column in inputs if column["kind"] == kind]
        sizes = [
            f"{column['name']} {column['facts']['distinct']}"
            for column in chosen
            if kind == "categories" and "distinct" in column["facts"]
        ]
        named = f" ({_join_fitting('', sizes, ', ', WIDTH // 2)})" if sizes else ""
        yield f"{len(chosen)} {_singular(kind) if len(chosen) == 1 else kind}{named}"
    for role in dict.fromkeys(column["role"] for column in columns if column["role"] != "input"):
        names = [column["name"] for column in columns if column["role"] == role]
        kinds = {column["kind"] for column in columns if column["role"] == role}
        kind = f" ({kinds.pop()})" if role == "target" and len(kinds) == 1 else ""
        shown = _join_fitting("", names, ", ", WIDTH // 2) if len(names) <= _NAMED else f"{len(names)} columns"
        yield f"{role}: {shown}{kind}"


def _singular(kind: str) -> str:
    return {"categories": "category"}.get(kind, kind.removesuffix("s"))


def format_treatment(treatment: PlainData) -> str:
    """A change that was made to the data, with the option that changes it."""
    what, counted, option = _list_treatment(treatment)
    return f"{what}: {counted}" + (f" ({option})" if option else "")


def _list_treatment(treatment: PlainData) -> list[str]:
    counted = f"{treatment['count']:,} of {treatment['total']:,} {treatment['unit'] or ''}".rstrip()
    return [treatment["what"], counted, treatment["option"] or ""]


def format_fact(value: Any) -> str:
    """A fact's value as text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {format_fact(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(format_fact, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _join_fitting(start: str, parts: Sequence[str], separator: str, width: int = WIDTH) -> str:
    """`start` and as many parts as fit into `width` columns, at least one, and how many more there are."""
    for shown in range(len(parts), 0, -1):
        more = f"{separator}{len(parts) - shown} more" if shown < len(parts) else ""
        line = start + separator.join(parts[:shown]) + more
        if len(line) <= width:
            break
    return line


def list_tables(data: PlainData) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Everything in the summary as tables: title, head and rows."""
    splits = [[split["name"], _format_count(split["examples"]), ", ".join(split["files"])] for split in data["splits"]]
    yield "splits", ("split", data["unit"], "files"), splits
    yield from _list_classes(data["splits"])
    if data["columns"]:
        rows = [[each["name"], each["role"], each["kind"], format_fact(each["facts"])] for each in data["columns"]]
        yield "columns", ("column", "role", "kind", "facts"), rows
    if data["treatments"]:
        rows = [_list_treatment(each) for each in data["treatments"]]
        yield "treatments", ("treatment", "applied to", "option"), rows
    if data["facts"]:
        yield "facts", ("fact", "value"), [[name, format_fact(value)] for name, value in data["facts"].items()]
    if data["files"]:
        yield "files", ("file", "sha256"), [list(each) for each in data["files"].items()]


def _list_classes(splits: Sequence[PlainData]) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    counted = [split for split in splits if split["classes"]]
    labels = dict.fromkeys(label for split in counted for label in split["classes"])
    if labels:
        rows = [[label, *(f"{split['classes'].get(label, 0):,}" for split in counted)] for label in labels]
        yield "classes", ("class", *(split["name"] for split in counted)), rows


def _format_count(count: int | None) -> str:
    return "not read yet" if count is None else f"{count:,}"


def format_section(data: PlainData) -> str:
    """The summary as a section of report.html."""
    parts = [f"<h2>data</h2>\n<p>{html.escape(format_sizes(data).removeprefix('data: '))}</p>"]
    parts += [f"<p class=notice>{html.escape(risk)}</p>" for risk in data["risks"]]
    for title, head, rows in list_tables(data):
        parts.append(f"<h3>{title}</h3>\n{format_html_table(rows, head)}")
    return "\n".join(parts)


def format_html_table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Rows below a head as a table in HTML."""

    def cells(values: Sequence[object], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(str(value))}</{tag}>" for value in values)

    body = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><tr>{cells(head, 'th')}</tr>\n{body}\n</table>"
