"""Transcripts as characters of an alphabet: normalisation of text, alphabets, and the frames that CTC needs."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

BLANK = "<blank>"
"""The alphabet's first symbol, CTC's blank (Graves et al. 2006): no character of a transcript."""

APOSTROPHE = "'"
_APOSTROPHES = str.maketrans(dict.fromkeys("‘’‛ʼʹˈ′`´＇", APOSTROPHE))
_SEPARATING = "PSZ"  # Unicode's general categories of punctuation, symbols and separators


class Spelling(NamedTuple):
    """A text in an alphabet: `characters` are indices into it; `dropped` counts characters that are not in it."""

    text: str
    characters: list[int]
    dropped: Counter[str]


def normalize_transcript(sentence: str, spaces: bool = True) -> str:
    """Normalise a sentence: Unicode's NFC, lower case, no punctuation and no symbols, one space between words.

    Punctuation, symbols and separators (categories P, S, Z) and line ends and tabs end a word; other control and
    format characters (C) vanish. An apostrophe, in whatever typographic form, stays between two letters or digits.
    Without `spaces` the words are joined, as in scripts that do not separate them.
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", sentence.translate(_APOSTROPHES)).lower())
    kept = []
    for index, character in enumerate(text):
        category = unicodedata.category(character)
        if character == APOSTROPHE:
            neighbours = text[max(0, index - 1) : index + 2]
            between = len(neighbours) == 3 and all(unicodedata.category(one)[0] in "LMN" for one in neighbours[::2])
            kept.append(character if between else " ")
        elif category[0] in _SEPARATING or character in "\t\n\r\v\f":
            kept.append(" ")
        elif category[0] != "C":
            kept.append(character)
    return (" " if spaces else "").join("".join(kept).split())


def collect_alphabet(texts: Iterable[str], spaces: bool = True) -> list[str]:
    """Collect the alphabet of normalised texts: the blank, then their characters by code point, the space first.

    With `spaces` it has a space even if every text is a single word: they are words nonetheless, and scored as words.
    """
    return [BLANK, *sorted(set(" " if spaces else "").union(*texts))]


def parse_alphabet(characters: str, spaces: bool = True) -> list[str]:
    """Make the alphabet of the given characters, in the order of `collect_alphabet`, with a space if `spaces`.

    Raises ValueError for a character that no transcript can have.
    """
    characters = unicodedata.normalize("NFC", characters)
    for character in characters:
        if character not in (" ", APOSTROPHE) and normalize_transcript(character) != character:
            raise ValueError(
                f"alphabet: {character!r} never occurs in a transcript, which is lower case, NFC and without "
                "punctuation but for the apostrophe; leave it out"
            )
    return collect_alphabet([characters.replace(" ", "")], spaces)


def spell_transcript(text: str, symbols: Mapping[str, int]) -> Spelling:
    """Spell a normalised text in an alphabet, which maps each character to its index.

    Characters that are not in the alphabet are dropped and counted, in every split: a model that cannot write them is
    scored against references without them, and the count is reported.
    """
    dropped = Counter(character for character in text if character not in symbols and character != " ")
    kept = "".join(character for character in text if character in symbols or character == " ")
    kept = (" " if " " in symbols else "").join(kept.split())
    return Spelling(kept, [symbols[character] for character in kept], dropped)


def count_needed_frames(characters: Sequence[int] | str) -> int:
    """Count the output frames that CTC needs for a target: one per character, and one per blank between equal ones."""
    return len(characters) + sum(first == second for first, second in pairwise(characters))
