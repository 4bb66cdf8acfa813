"""A small text that needs no download: the prose of Python's own documentation topics, in Penn Treebank's form."""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Mapping

from dltrain.data.text.sets import Split
from dltrain.data.text.vocabulary import UNKNOWN
from dltrain.errors import UsageError

_PREFIX = "Python topics sample"

_NUMBER = "N"
_RARE = 3  # a word that occurs less often is `<unk>`
_SHORTEST_WORDS = 6
_PROSE = 0.75  # share of a sentence's words and marks that must be words
_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*|\d+(?:\.\d+)*|[^\w\s]")
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")


def sample_name() -> str:
    """What the sample is called; with Python's version, since another one has another text."""
    return f"{_PREFIX} (Python {platform.python_version()}, not Penn Treebank)"


def is_sample(name: object) -> bool:
    return isinstance(name, str) and name.startswith(_PREFIX)


def sample_texts() -> dict[Split, str]:
    """Training, validation and test text, 80, 10 and 10 % of the paragraphs: one sentence a line, in lower case.

    Taken from `pydoc_data.topics`, what `help("topics")` shows. Only whole sentences are kept, each once: no code, no
    grammar, no tables, no punctuation. Numbers are N, and words that occur less than three times `<unk>`, as in Penn
    Treebank's files.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UsageError(
            f"the topics sample comes with Python's documentation data, which cannot be imported ({error}). "
            "Install Python's complete standard library, or give the real files."
        ) from error
    paragraphs = _paragraphs(topics)
    counts = Counter(word for sentences in paragraphs for sentence in sentences for word in sentence)
    texts: dict[Split, list[str]] = {"train": [], "valid": [], "test": []}
    for number, sentences in enumerate(paragraphs):
        split: Split = {8: "valid", 9: "test"}.get(number % 10, "train")  # type: ignore[assignment]
        for sentence in sentences:
            texts[split].append(" ".join(word if counts[word] >= _RARE else UNKNOWN for word in sentence))
    return {split: "\n".join(lines) + "\n" for split, lines in texts.items()}


def _paragraphs(topics: Mapping[str, str]) -> list[list[list[str]]]:
    """Paragraphs of sentences of words; a sentence that occurred before is left out."""
    seen: set[tuple[str, ...]] = set()
    paragraphs = []
    for name in sorted(topics):
        for block in re.split(r"\n\s*\n", topics[name]):
            sentences = []
            for sentence in _SENTENCE_END.split(" ".join(block.split())):
                words = _prose(sentence)
                if words and tuple(words) not in seen:
                    seen.add(tuple(words))
                    sentences.append(words)
            if sentences:
                paragraphs.append(sentences)
    return paragraphs


def _prose(sentence: str) -> list[str]:
    """The words of a sentence; empty for what is none: code, a heading, a row of a table."""
    if not sentence.endswith((".", "?", "!")) or re.search(r"[=|>{}\[\]~^\\]|::|\.\.|--", sentence):
        return []
    found = _WORD.findall(sentence.lower())
    words = [_NUMBER if word[0].isdigit() else word for word in found if word[0].isalnum()]
    letters = sum(word[0].isalpha() for word in words)
    return words if letters >= _SHORTEST_WORDS and letters >= _PROSE * len(found) else []
