"""Rows with a text and its label each: those of tables, and of a sample of Python's own documentation."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dltrain.data.cleaning import clean_category, compose_prose
from dltrain.data.delimited import DelimitedTable
from dltrain.data.substitute import Sample
from dltrain.data.text.topics import read_topics
from dltrain.data.wording import join_some
from dltrain.errors import DataError


class LabelledRow(NamedTuple):
    """A text and its label; rows of a `group` stay in one split, `source` is the file and line.

    `weight` is how much the row counts in the loss.
    """

    text: str
    label: str
    group: str
    source: str
    weight: float = 1.0


Rows = Sequence[LabelledRow]


def select_rows(table: DelimitedTable, columns: Mapping[str, str | None], composed: bool = True) -> list[LabelledRow]:
    """Select the rows of a table; `columns` are those of "text", "label", "group" and "weight". A missing label is "".

    If `composed`, texts are in NFC, labels and groups also without white space around them; otherwise they are as in
    the file. Raises DataError for a missing column or text, and for a weight that is not a number from 0.
    """
    texts, labels, groups, weights = (
        [""] * len(table.rows)
        if column is None
        else table.column(column, f"data.{option}", absent="" if option == "label" else None)
        for option, column in columns.items()
    )
    rows = []
    for line, text, label, group, weight in zip(table.lines, texts, labels, groups, weights, strict=True):
        source = f"{table.name}, line {line}"
        if composed:
            text, label, group = compose_prose(text), clean_category(label), clean_category(group)
        number = 1.0 if columns["weight"] is None else _parse_weight(weight, source)
        rows.append(LabelledRow(text, label, group, source, weight=number))
    return rows


def _parse_weight(text: str, source: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise DataError(
            f"{source}: the weight is {repr(text.strip()) if text.strip() else 'missing'}; expected is a number from 0",
            advice="correct the weight, or remove the row",
        )
    return weight


def check_labels(rows: Rows, column: str) -> None:
    """Raise DataError if labels are missing, with their number and the first lines."""
    missing = [row.source for row in rows if not row.label]
    if len(missing) == 1:
        message = f"{missing[0]}: the label ({column}) is empty, or no text"
        raise DataError(message, advice="fill it in, or leave the row out, with data.missing_label: drop")
    if missing:
        raise DataError(
            f"{len(missing)} of {len(rows)} rows have no label ({column}): {join_some(missing, _NAMED, '; ')}",
            advice="fill them in, or leave these rows out with data.missing_label: drop",
        )


SAMPLE = Sample(
    name=f"Python sentences sample (Python {platform.python_version()})",
    replaces="your data",
    contents="some 2,000 sentences of Python's own documentation and their subjects",
    family="Python sentences sample",
)

_NAMED = 5
_SHORTEST_WORDS = 6
_WORD = re.compile(r"[A-Za-z]+")

SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "statements": (
        "assert", "assignment", "async", "augassign", "break", "class", "compound", "continue", "del", "for",
        "function", "global", "if", "import", "nonlocal", "pass", "raise", "return", "try", "while", "with",
    ),
    "expressions": (
        "atom-identifiers", "atom-literals", "attribute-references", "await", "binary", "bitwise", "booleans", "calls",
        "comparisons", "conversions", "dict", "exprlists", "in", "lambda", "lists", "operator-summary", "power",
        "shifting", "slicings", "subscriptions", "truth", "unary", "yield",
    ),
    "objects": (
        "attribute-access", "bltin-code-objects", "bltin-type-objects", "callable-types", "context-managers",
        "customization", "execmodel", "numeric-types", "objects", "sequence-types", "specialattrs", "specialnames",
        "types", "typesfunctions", "typesmethods", "typesmodules",
    ),
    "containers and strings": (
        "formatstrings", "string-methods", "strings", "typesmapping", "typesseq", "typesseq-mutable",
    ),
    "debugger": ("debugger",),
}  # fmt: skip
"""The topics of `help("topics")` by subject; the assignment was made for this sample."""


def read_sample_rows() -> list[LabelledRow]:
    """Read the whole sentences of Python's documentation topics, each once, with the subjects of SUBJECTS as labels.

    Sentences of a paragraph are a group.
    """
    found: dict[str, LabelledRow] = {}
    for subject, names in SUBJECTS.items():
        for paragraph in read_topics("Python sentences sample", names, opening='A-Z"'):
            group = f"{paragraph.topic} {paragraph.number}"
            for text in paragraph.sentences:
                if len(_WORD.findall(text)) >= _SHORTEST_WORDS:
                    found.setdefault(text, LabelledRow(text, subject, group, f"sentence {len(found)}"))
    return list(found.values())
