"""Sentences of Python's own documentation topics (`help("topics")`), which the text samples are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dltrain.errors import UsageError

_CODE = re.compile(r"[=|>{}\[\]~^\\]|::|\.\.|--")


class TopicParagraph(NamedTuple):
    """The prose of a paragraph: the topic's name, the paragraph's number in it, and its whole sentences."""

    topic: str
    number: int
    sentences: list[str]


def read_topics(sample: str, names: Iterable[str] | None = None, opening: str = "A-Z") -> Iterator[TopicParagraph]:
    """Yield the paragraphs of the topics `names`, or of all in alphabetical order, without code, grammar and tables.

    A sentence starts with one of the characters `opening`. Raises UsageError, naming the `sample`, if the documentation
    cannot be imported.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UsageError(
            f"the {sample} comes with Python's documentation, which cannot be imported ({error})",
            advice="install Python's complete standard library, or give the real files",
        ) from error
    border = re.compile(rf"(?<=[.?!])\s+(?=[{opening}])")
    for name in sorted(topics) if names is None else names:
        for number, block in enumerate(re.split(r"\n\s*\n", topics.get(name, ""))):
            sentences = border.split(" ".join(block.split()))
            yield TopicParagraph(name, number, [sentence for sentence in sentences if _is_prose(sentence)])


def _is_prose(sentence: str) -> bool:
    return sentence.endswith((".", "?", "!")) and not _CODE.search(sentence)
