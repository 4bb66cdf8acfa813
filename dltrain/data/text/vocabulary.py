"""The vocabulary of a text, and text as the ids of its tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.cleaning import FORM, compose_text
from dltrain.data.text_files import TextPiece, Unit
from dltrain.errors import DataError

END = "<eos>"
"""The token at each line's end; it also precedes the first token of a text."""
UNKNOWN = "<unk>"
"""The token for every word, or character, that is not in the vocabulary."""

_NUMBER = re.compile(r"[-+]?\d+(?:[.,:/]\d+)*")
_CODE_POINTS = 0x110000


class EncodedText(NamedTuple):
    """The ids of tokens, and the words (or characters) that are not in the vocabulary, in their order."""

    ids: list[int]
    unknown: list[str]


class Vocabulary:
    """The tokens of a dataset's assets, which a checkpoint stores as plain JSON; a token's id is its index in `words`.

    `ids` maps words to ids; `end` is the id of `<eos>`, `unknown` that of `<unk>`, or None without one.
    """

    def __init__(self, assets: Mapping[str, Any]) -> None:
        self.words: Sequence[str] = assets["words"]
        self.unit: Unit = assets["unit"]
        self._lowercase: bool = assets["lowercase"]
        self._number: str | None = assets.get("number")
        self._composed = assets.get("unicode") == FORM
        self.ids: Mapping[str, int] = {word: number for number, word in enumerate(self.words)}
        self.end = self.ids[assets["end"]]
        self.unknown = None if assets["unknown"] is None else self.ids[assets["unknown"]]

    @property
    def size(self) -> int:
        return len(self.words)

    def encode(self, text: str) -> EncodedText:
        """Encode a user's text, in the form of the training text; a newline becomes `<eos>`.

        An unknown word is converted to lower case if the training text was, and a number to the text's word for
        numbers. Words still unknown become `<unk>`, or are left out if there is no such token.
        """
        ids: list[int] = []
        unknown: list[str] = []
        text = compose_text(text) if self._composed else text
        for number, line in enumerate(text.replace("\r\n", "\n").split("\n")):
            if number:
                ids.append(self.end)
            for word in line.split() if self.unit == "word" else line:
                found = self._find_id(word)
                if found is None:
                    unknown.append(word)
                    found = self.unknown
                if found is not None:
                    ids.append(found)
        return EncodedText(ids, unknown)

    def _find_id(self, word: str) -> int | None:
        forms = [word]
        if self._lowercase:
            forms.append(word.lower())
        if self._number is not None and _NUMBER.fullmatch(word):
            forms.append(self._number)
        return next((self.ids[form] for form in forms if form in self.ids), None)

    def decode(self, ids: Iterable[int]) -> str:
        """Convert tokens to text: words separated by spaces, or characters; each `<eos>` becomes a newline."""
        if self.unit == "character":
            return "".join("\n" if number == self.end else self.words[number] for number in ids)
        text = " ".join("\n" if number == self.end else self.words[number] for number in ids)
        return text.replace(" \n", "\n").replace("\n ", "\n")


def count_tokens(pieces: Iterable[TextPiece], unit: Unit) -> Counter[str]:
    """Count the tokens of a text whose lines end with newlines, `<eos>` included."""
    counter = TokenCounter(unit)
    for piece in pieces:
        counter.add(piece)
    return counter.count()


class TokenCounter:
    """Counts the tokens of a text, piece by piece; `counted` are those of earlier pieces."""

    def __init__(self, unit: Unit, counted: Mapping[str, int] | None = None) -> None:
        self._unit = unit
        self._words = Counter(counted or {})
        self._characters = numpy.zeros(_CODE_POINTS if unit == "character" else 0, numpy.int64)

    def add(self, piece: TextPiece) -> None:
        if self._unit == "word":
            self._words.update(_split_tokens(piece.text))
            return
        some = numpy.bincount(_get_code_points(piece.text))
        self._characters[: len(some)] += some

    def count(self) -> Counter[str]:
        """How often each token was found, in the order of the first occurrences or of the code points."""
        if self._unit == "word":
            return self._words
        found = numpy.flatnonzero(self._characters)
        characters = Counter({chr(code): int(self._characters[code]) for code in found})
        characters[END] = characters.pop("\n", 0)
        return self._words + characters if self._words else characters


def choose_words(counts: Mapping[str, int], min_count: int, max_vocabulary: int | None) -> tuple[list[str], str | None]:
    """Choose the vocabulary, the most frequent tokens first and equally frequent ones by code points; and `<unk>`.

    `<unk>` is a token if the text has it, or if `min_count` or `max_vocabulary` exclude tokens; its count includes all
    excluded tokens. An adaptive softmax needs the order by frequency.
    """
    kept = {word: count for word, count in counts.items() if count >= min_count or word in (END, UNKNOWN)}
    if min_count > 1 or max_vocabulary is not None:
        kept.setdefault(UNKNOWN, 0)
    if max_vocabulary is not None:
        common = sorted(kept.keys() - {END, UNKNOWN}, key=lambda word: (-kept[word], word))
        kept = {word: kept[word] for word in (END, UNKNOWN, *common[: max_vocabulary - 2])}
    if UNKNOWN in kept:
        kept[UNKNOWN] += sum(counts.values()) - sum(counts.get(word, 0) for word in kept)
    return sorted(kept, key=lambda word: (-kept[word], word)), UNKNOWN if UNKNOWN in kept else None


class _Defaulting(dict[str, int]):
    """Ids of words, and one id for all others; looked up without a Python call for each known word."""

    def __init__(self, ids: Mapping[str, int], default: int) -> None:
        super().__init__(ids)
        self._default = default

    def __missing__(self, word: str) -> int:
        return self._default


class FileEncoder:
    """Encodes the text of files exactly as written; unknown tokens become `<unk>`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.dtype = numpy.dtype("<u2" if vocabulary.size <= 1 << 16 else "<i4")
        self.unit, self.end = vocabulary.unit, vocabulary.end
        self._ids = vocabulary.ids if vocabulary.unknown is None else _Defaulting(vocabulary.ids, vocabulary.unknown)
        self._unknown = vocabulary.unknown
        missing = -1 if vocabulary.unknown is None else vocabulary.unknown
        if self.unit == "character":
            self._by_code = numpy.full(_CODE_POINTS, missing, numpy.int32)
            for number, word in enumerate(vocabulary.words):
                if len(word) == 1:
                    self._by_code[ord(word)] = number
            self._by_code[ord("\n")] = vocabulary.end

    def encode(self, piece: TextPiece, file: str) -> NDArray[Any]:
        """Encode a piece, (n,) of `dtype`. Raises DataError for an unknown token if there is no `<unk>`."""
        if self.unit == "character":
            codes = _get_code_points(piece.text)
            numbers = self._by_code[codes]
            if self._unknown is None and len(numbers) and numbers.min() < 0:
                raise self._report_unknown(piece, file, chr(codes[numbers.argmin()]))
            return numbers.astype(self.dtype)
        words = _split_tokens(piece.text)
        try:
            return numpy.fromiter(map(self._ids.__getitem__, words), self.dtype, len(words))
        except KeyError as error:
            raise self._report_unknown(piece, file, error.args[0]) from None

    def _report_unknown(self, piece: TextPiece, file: str, token: str) -> DataError:
        lines = (text.split() if self.unit == "word" else text for text in piece.text.split("\n"))
        line = piece.line + next(number for number, tokens in enumerate(lines) if token in tokens)
        return DataError(
            f"{file}, line {line}: the {self.unit} {token!r} is not in the vocabulary of {len(self._ids)} "
            f"{self.unit}s, and there is no {UNKNOWN} token.",
            advice="correct the file, or use the data set 'text' with min_count: 2 or more, which makes rare "
            f"{self.unit}s {UNKNOWN}",
        )


def _split_tokens(text: str) -> list[str]:
    return text.replace("\n", f" {END} ").split()


def _get_code_points(text: str) -> NDArray[numpy.uint32]:
    return numpy.frombuffer(text.encode("utf-32-le"), "<u4")
