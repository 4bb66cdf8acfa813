"""The score of a whole sentence under an n-gram model."""

from __future__ import annotations

from collections.abc import Iterable

from dltrain.decoding.ngram import END, NGramModel


def score_sentence(model: NGramModel, words: Iterable[str]) -> float:
    """Compute log10 p of a sentence, given its beginning and including its end."""
    context, total = model.beginning, 0.0
    for word in (*words, END):
        total += model.score(context, word)
        context = model.after(context, word)
    return total
