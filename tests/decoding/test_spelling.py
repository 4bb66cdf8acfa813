"""A language model that is spelled in another way than the transcripts is respelled, reported or refused."""

from __future__ import annotations

import math

import pytest

from dltrain.decoding.ngram import NGramModel, estimate_ngrams
from dltrain.decoding.spelling import fit_spelling, map_words

ALPHABET = ["<blank>", *" 'abcdefghijklmnopqrstuvwxyz"]
SENTENCES = ["one two", "two three don't", "three one one"]


def test_a_model_in_lower_case_is_left_alone() -> None:
    model = estimate_ngrams(SENTENCES, 2)
    fitted = fit_spelling(model, ALPHABET)
    assert fitted.model is model
    assert fitted.note is None


def test_a_model_in_upper_case_becomes_that_of_lower_case() -> None:
    model = estimate_ngrams(SENTENCES, 3)
    upper = estimate_ngrams([sentence.upper().replace("'", "’") for sentence in SENTENCES], 3)
    fitted = fit_spelling(upper, ALPHABET)
    assert fitted.model.probabilities == pytest.approx(model.probabilities)
    assert fitted.model.backoffs == pytest.approx(model.backoffs)
    assert fitted.note == (
        "0 of its 4 words can be spelled with the alphabet of the model, and 4 in lower case and without punctuation: "
        "so it is read"
    )


def test_of_words_that_become_the_same_the_likeliest_counts() -> None:
    words = {"The": -1.0, "the": -0.5, "THE": -2.0, "The cat": -0.1, "the cat": -0.2, "cat": -1.0, "<s>": -99.0}
    changed = map_words(NGramModel(2, words, {"The": -0.7, "the": -0.3}), str.lower)
    assert changed.probabilities == {"<s>": -99.0, "the": -0.5, "the cat": -0.1, "cat": -1.0}
    assert changed.backoffs == {"the": -0.3}


def test_a_model_of_another_script_is_refused_and_of_few_words_reported() -> None:
    with pytest.raises(
        ValueError, match=r"none of its 2 words \(два, один\) can be spelled with the alphabet .* score n"
    ):
        fit_spelling(estimate_ngrams(["один два"], 1), ALPHABET)
    mixed = estimate_ngrams(["один два три four"], 1)
    fitted = fit_spelling(mixed, ALPHABET)
    assert fitted.model is mixed
    assert fitted.note == "1 of its 4 words can be spelled with the alphabet of the model"
    assert math.isfinite(fitted.model.score((), "four"))
