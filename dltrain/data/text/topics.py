"""The prose of Python's own documentation topics (`help("topics")`), and a text of it in Penn Treebank's format."""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dltrain.data.substitute import Sample
from dltrain.data.text.sets import Split
from dltrain.data.text.vocabulary import UNKNOWN
from dltrain.errors import UsageError

SAMPLE = Sample(
    name=f"Python topics sample (Python {platform.python_version()}, not Penn Treebank)",
    replaces="Penn Treebank",
    contents="some 30,000 words of Python's own documentation",
    family="Python topics sample",
)

_NUMBER = "N"
_RARE = 3  # a word that occurs less often is `<unk>`
_SHORTEST_WORDS = 6
_PROSE = 0.75  # share of a sentence's words and marks that must be words
_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*|\d+(?:\.\d+)*|[^\w\s]")


def make_sample_texts() -> dict[Split, str]:
    """Make training, validation and test text, 80, 10 and 10 % of the paragraphs: a sentence a line, in lower case.

    Only whole sentences are kept, each once, without punctuation. Numbers are N, and words that occur less than three
    times `<unk>`, as in Penn Treebank's files.
    """
    paragraphs = _collect_paragraphs()
    counts = Counter(word for sentences in paragraphs for sentence in sentences for word in sentence)
    texts: dict[Split, list[str]] = {"train": [], "valid": [], "test": []}
    for number, sentences in enumerate(paragraphs):
        split: Split = {8: "valid", 9: "test"}.get(number % 10, "train")  # type: ignore[assignment]
        for sentence in sentences:
            texts[split].append(" ".join(word if counts[word] >= _RARE else UNKNOWN for word in sentence))
    return {split: "\n".join(lines) + "\n" for split, lines in texts.items()}


def _collect_paragraphs() -> list[list[list[str]]]:
    """Collect paragraphs of sentences of words; repeated sentences are left out."""
    seen: set[tuple[str, ...]] = set()
    paragraphs = []
    for paragraph in read_topics("Python topics sample"):
        sentences = []
        for sentence in paragraph.sentences:
            words = _split_words(sentence)
            if words and tuple(words) not in seen:
                seen.add(tuple(words))
                sentences.append(words)
        if sentences:
            paragraphs.append(sentences)
    return paragraphs


def _split_words(sentence: str) -> list[str]:
    """Split a sentence into words; return none for a heading or a row of a table."""
    found = _WORD.findall(sentence.lower())
    words = [_NUMBER if word[0].isdigit() else word for word in found if word[0].isalnum()]
    letters = sum(word[0].isalpha() for word in words)
    return words if letters >= _SHORTEST_WORDS and letters >= _PROSE * len(found) else []


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
    for name in sorted(topics) if names is None else names:
        for number, block in enumerate(re.split(r"\n\s*\n", topics.get(name, ""))):
            sentences = re.compile(rf"(?<=[.?!])\s+(?=[{opening}])").split(" ".join(block.split()))
            prose = [text for text in sentences if text.endswith((".", "?", "!")) and not _CODE.search(text)]
            yield TopicParagraph(name, number, prose)
