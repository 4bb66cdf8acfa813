"""What was said, as the characters that a model spells: rules for the text, the alphabet, and CTC's need of frames."""

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
    """`characters` are indices into the alphabet; `dropped` counts what the alphabet does not have."""

    text: str
    characters: list[int]
    dropped: Counter[str]


def normalize_transcript(sentence: str, spaces: bool = True) -> str:
    """A sentence as it is spelled: Unicode's NFC, lower case, no punctuation and no symbols, one space between words.

    Punctuation, symbols and separators (categories P, S, Z) and line ends and tabs end a word; other control and
    format characters (C) vanish. An apostrophe, in whatever typographic form, stays between two letters or digits.
    Without `spaces` the words stand together, as in scripts that do not part them.
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", sentence.translate(_APOSTROPHES)).lower())
    kept = []
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        if character == APOSTROPHE:
            inside = (
                0 < place < len(text) - 1
                and _is_word_character(text[place - 1])
                and _is_word_character(text[place + 1])
            )
            kept.append(character if inside else " ")
        elif category[0] in _SEPARATING or character in "\t\n\r\v\f":
            kept.append(" ")
        elif category[0] != "C":
            kept.append(character)
    return (" " if spaces else "").join("".join(kept).split())


def _is_word_character(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def collect_alphabet(texts: Iterable[str], spaces: bool = True) -> list[str]:
    """The alphabet of normalised texts: the blank, then their characters by code point, the space first.

    With `spaces` it has one even where every text is a single word: they are words none the less, and are judged so.
    """
    characters = {" "} if spaces else set[str]()
    for text in texts:
        characters.update(text)
    return [BLANK, *sorted(characters)]


def parse_alphabet(characters: str, spaces: bool = True) -> list[str]:
    """The alphabet of the named characters, in the order of `collected`, a space among them if `spaces`.

    Raises ValueError for a character that no transcript can have.
    """
    characters = unicodedata.normalize("NFC", characters)
    for character in characters:
        if character not in (" ", APOSTROPHE) and normalize_transcript(character) != character:
            raise ValueError(
                f"alphabet: {character!r} never stands in a transcript, which is lower case, NFC and without "
                "punctuation but for the apostrophe; leave it out"
            )
    return collect_alphabet([characters.replace(" ", "")], spaces)


def spell_transcript(text: str, places: Mapping[str, int]) -> Spelling:
    """A normalised text in an alphabet, given as each character's index.

    Characters that the alphabet does not have are dropped and counted, here as in every split: a reference without
    them is what a model that cannot write them is measured by, and the count is told.
    """
    dropped = Counter(character for character in text if character not in places and character != " ")
    kept = "".join(character for character in text if character in places or character == " ")
    kept = (" " if " " in places else "").join(kept.split())
    return Spelling(kept, [places[character] for character in kept], dropped)


def count_needed_frames(characters: Sequence[int] | str) -> int:
    """Output frames that CTC needs for a target: one a character, and one for the blank between two equal ones."""
    return len(characters) + sum(first == second for first, second in pairwise(characters))
