"""Small labelled texts that need no download: sentences of Python's own documentation, and what they are about."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dltrain.errors import UsageError

_PREFIX = "Python sentences sample"

_SHORTEST_WORDS = 6
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z\"])")
_CODE = re.compile(r"[=|>{}\[\]~^\\]|::|\.\.|--")
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
"""Which topics of `help("topics")` are about what."""


class Sentence(NamedTuple):
    """A sentence, what it is about, and the paragraph that it stands in."""

    text: str
    subject: str
    paragraph: str


def sample_name() -> str:
    """What the sample is called; with Python's version, since another one has another text."""
    return f"{_PREFIX} (Python {platform.python_version()})"


def is_sample(name: object) -> bool:
    return isinstance(name, str) and name.startswith(_PREFIX)


def sample_sentences() -> list[Sentence]:
    """The whole sentences of `pydoc_data.topics`, what `help("topics")` shows: no code, no tables, each once.

    Which subject a topic belongs to was decided for this sample; see SUBJECTS.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UsageError(
            f"the sentences sample comes with Python's documentation data, which cannot be imported ({error}). "
            "Install Python's complete standard library, or give the real files."
        ) from error
    seen: set[str] = set()
    found = []
    for subject, names in SUBJECTS.items():
        for name in names:
            for number, block in enumerate(re.split(r"\n\s*\n", topics.get(name, ""))):
                for text in _sentences(block):
                    if text not in seen:
                        seen.add(text)
                        found.append(Sentence(text, subject, f"{name} {number}"))
    return found


def _sentences(block: str) -> Iterator[str]:
    for sentence in _SENTENCE_END.split(" ".join(block.split())):
        prose = sentence.endswith((".", "?", "!")) and not _CODE.search(sentence)
        if prose and len(_WORD.findall(sentence)) >= _SHORTEST_WORDS:
            yield sentence
