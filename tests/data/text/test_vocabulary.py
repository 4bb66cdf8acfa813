"""Vocabularies: which tokens, in which order, and text to numbers and back."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy
import pytest

from dltrain.data.text.vocabulary import FileEncoder, Vocabulary, choose_words, count_tokens
from dltrain.data.text_files import TextPiece, Unit
from dltrain.errors import DataError

TEXT = "b a b ü\n\na  b\tc\n"


def assets(words: list[str], unit: Unit = "word", **facts: Any) -> dict[str, Any]:
    unknown = "<unk>" if "<unk>" in words else None
    return {"words": words, "unit": unit, "lowercase": False, "end": "<eos>", "unknown": unknown, **facts}


def test_words_and_characters_are_counted_with_line_ends() -> None:
    assert count_tokens([TextPiece(TEXT, 1)], "word") == {"b": 3, "<eos>": 3, "a": 2, "ü": 1, "c": 1}
    expected = Counter(TEXT)
    expected["<eos>"] = expected.pop("\n")
    pieces = [TextPiece(TEXT[:3], 1), TextPiece(TEXT[3:], 1)]
    assert count_tokens(pieces, "character") == expected


@pytest.mark.parametrize(
    ("min_count", "max_vocabulary", "words", "unknown"),
    [
        (1, None, ["<eos>", "b", "a", "c", "ü"], None),
        (2, None, ["<eos>", "b", "<unk>", "a"], "<unk>"),  # two words left out: as frequent as `a`, and `<` before it
        (3, None, ["<unk>", "<eos>", "b"], "<unk>"),
        (1, 4, ["<eos>", "b", "<unk>", "a"], "<unk>"),
        (1, 3, ["<unk>", "<eos>", "b"], "<unk>"),
        (1, 9, ["<eos>", "b", "a", "c", "ü", "<unk>"], "<unk>"),
    ],
)
def test_the_most_frequent_words_come_first(
    min_count: int, max_vocabulary: int | None, words: list[str], unknown: str | None
) -> None:
    counts = count_tokens([TextPiece(TEXT, 1)], "word")
    assert choose_words(counts, min_count, max_vocabulary) == (words, unknown)


def test_the_texts_own_unknown_word_is_the_vocabularys() -> None:
    counts = count_tokens([TextPiece("<unk> a <unk> b\n", 1)], "word")
    assert choose_words(counts, 1, None) == (["<unk>", "<eos>", "a", "b"], "<unk>")
    assert choose_words(counts, 2, None) == (["<unk>", "<eos>"], "<unk>")


@pytest.mark.parametrize("unit", ["word", "character"])
@pytest.mark.parametrize("unknown", [True, False])
def test_encoding_pieces_equals_looking_up_each_token(unit: Unit, unknown: bool) -> None:
    draw = random.Random(7)
    text = "".join(draw.choice(["ab", "ç", "ä𝄞", " ", "  ", "\n", "z"]) for _ in range(500)) + "\n"
    counts = count_tokens([TextPiece(text, 1)], unit)
    words, special = choose_words(counts, 3 if unknown else 1, None)
    assert (special is not None) == unknown
    vocabulary = Vocabulary(assets(words, unit))
    tokens = text.replace("\n", " <eos> ").split() if unit == "word" else list(text.replace("\n", "E"))
    ids = {"E": words.index("<eos>")} | {word: number for number, word in enumerate(words)}
    expected = [ids[token] if token in ids else ids["<unk>"] for token in tokens]
    encoder = FileEncoder(vocabulary)
    assert encoder.encode(TextPiece(text, 1), "file").tolist() == expected
    assert encoder.dtype == numpy.uint16
    assert vocabulary.encode(text).ids == expected


def test_large_vocabularies_have_wider_numbers() -> None:
    words = ["<eos>", *map(str, range(1 << 16))]
    encoder = FileEncoder(Vocabulary(assets(words)))
    assert encoder.dtype == numpy.int32
    assert encoder.encode(TextPiece("65535\n", 1), "file").tolist() == [65536, 0]
    assert FileEncoder(Vocabulary(assets(words[:-1]))).dtype == numpy.uint16


@pytest.mark.parametrize(("unit", "token"), [("word", "'strange'"), ("character", "'r'")])
def test_a_stranger_where_there_is_no_unknown_is_named_with_its_line(unit: Unit, token: str) -> None:
    words = ["<eos>", "a", "st", *(["s", "t", " "] if unit == "character" else [])]
    encoder = FileEncoder(Vocabulary(assets(words, unit)))
    with pytest.raises(DataError) as caught:
        encoder.encode(TextPiece("a\nst\nst strange a\n", 41), "some.txt")
    assert f"some.txt, line 43: the {unit} {token} is not in the vocabulary of {len(words)} {unit}s" in str(
        caught.value
    )
    assert "with min_count: 2 or more, which makes rare" in str(caught.value)


def test_a_users_text_is_written_as_the_training_text_was() -> None:
    vocabulary = Vocabulary(assets(["<eos>", "the", "N", "<unk>", "10-year"], lowercase=True, number="N"))
    ids, unknown = vocabulary.encode("The 1,234.5 10-year\r\n-7 N xyzzy Über the")
    assert ids == [1, 2, 4, 0, 2, 2, 3, 3, 1]
    assert unknown == ["xyzzy", "Über"]
    plain = Vocabulary(assets(["<eos>", "the", "N"]))
    assert plain.encode("The 12 the\n") == ([1, 0], ["The", "12"])
    assert (plain.unknown, plain.end, plain.size) == (None, 0, 3)


def test_characters_of_a_users_text() -> None:
    vocabulary = Vocabulary(assets([" ", "<eos>", "a", "<unk>"], "character", lowercase=True))
    assert vocabulary.encode("A a\nx") == ([2, 0, 2, 1, 3], ["x"])
    assert vocabulary.decode([2, 0, 2, 1, 2]) == "a a\na"


def test_tokens_become_lines_of_text() -> None:
    vocabulary = Vocabulary(assets(["<eos>", "a", "b"]))
    assert vocabulary.decode([1, 2, 0, 0, 1]) == "a b\n\na"
    assert vocabulary.decode([0, 1, 0]) == "\na\n"
    assert vocabulary.decode([]) == ""
