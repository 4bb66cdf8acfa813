"""Small labelled texts that need no download: sentences of Python's own documentation, and their subjects."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping

from dltrain.data.documents.rows import LabelledRow
from dltrain.data.python_topics import read_topics
from dltrain.data.substitute import Sample

SAMPLE = Sample(
    name=f"Python sentences sample (Python {platform.python_version()})",
    replaces="your data",
    contents="some 2,000 sentences of Python's own documentation and their subjects",
    family="Python sentences sample",
)

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
