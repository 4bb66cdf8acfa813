"""Whether the words of a language model can be spelled with a recogniser's alphabet, and the model respelled for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from dltrain.data.speech.transcripts import normalize_transcript
from dltrain.data.wording import join_some
from dltrain.decoding.ngram import BEGIN, END, UNKNOWN, NGramModel

FEW = 0.5
"""Share of a model's words that can be spelled below which it is respelled, or reported."""
_MARKS = frozenset((BEGIN, END, UNKNOWN))
_NAMED = 3


class SpelledModel(NamedTuple):
    """A language model, and what to say about how its words are spelled, or None."""

    model: NGramModel
    note: str | None


def fit_spelling(model: NGramModel, alphabet: Sequence[str]) -> SpelledModel:
    """Return a model whose words the alphabet can spell: in the form of transcripts if few can be spelled as they are.

    Raises ValueError if no word can be spelled either way.
    """
    words = sorted(model.vocabulary - _MARKS)
    letters = frozenset(alphabet)
    known = count_spelled(words, letters)
    if known >= FEW * len(words):
        return SpelledModel(model, None)
    respelled = [respell(word) for word in words]
    better = count_spelled(respelled, letters)
    if not max(known, better):
        raise ValueError(
            f"none of its {len(words)} words ({join_some(words, _NAMED)}) can be spelled with the alphabet of the "
            f"model, {''.join(alphabet[1:])!r}, so it would score nothing"
        )
    share = f"{known} of its {len(words)} words can be spelled with the alphabet of the model"
    if better <= known:
        return SpelledModel(model, share)
    form = f"{share}, and {better} in lower case and without punctuation: so it is read"
    return SpelledModel(map_words(model, respell), form)


def respell(word: str) -> str:
    """Write a word as transcripts do, in lower case and NFC; unchanged if it would not be one word."""
    found = normalize_transcript(word)
    return found if found and " " not in found else word


def count_spelled(words: Iterable[str], letters: Collection[str]) -> int:
    """Count the words all of whose characters are among the letters."""
    return sum(all(character in letters for character in word) for word in words)


def map_words(model: NGramModel, change: Callable[[str], str]) -> NGramModel:
    """Change each word of a model's n-grams; of n-grams that become the same, the likeliest counts."""
    changed = {word: word if word in _MARKS else change(word) for word in model.vocabulary}

    def rename(key: str) -> str:
        return " ".join(changed.get(word, word) for word in key.split(" "))

    probabilities: dict[str, float] = {}
    backoffs: dict[str, float] = {}
    for key, value in sorted(model.probabilities.items(), key=lambda item: -item[1]):
        new = rename(key)
        if new not in probabilities:
            probabilities[new] = value
            if key in model.backoffs:
                backoffs[new] = model.backoffs[key]
    return NGramModel(model.order, probabilities, backoffs)
