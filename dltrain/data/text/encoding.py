"""Text as a file of numbers, made once and then mapped into memory, so that no text is too long for it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.cache import Cache, Entry
from dltrain.data.text.vocabulary import END, FileEncoder, Vocabulary, choose_words, count_tokens
from dltrain.data.text_files import LineSpan, TextPiece, Unit, read_pieces
from dltrain.errors import DataError
from dltrain.files import write_synced

_FORMAT = 1  # of both entries; another one where what they hold, or how text is read, changes
_TOKENS, _FACTS, _WORDS = "tokens", "facts.json", "words.json"


class LongestLine(NamedTuple):
    """A line of a file, from 1, and its tokens, `<eos>` included."""

    file: str
    number: int
    tokens: int


class EncodedTokens(NamedTuple):
    """An encoded text: `ids` (1 + n,) are `<eos>`, which the first token follows, and the n tokens.

    They are mapped from `entry`, which must live as long as they are used.
    """

    ids: NDArray[Any]
    longest: LongestLine
    entry: Entry | None = None


def make_empty_tokens(end: int) -> EncodedTokens:
    """A text without a token."""
    return EncodedTokens(numpy.array([end]), LongestLine("", 0, 0))


def learn_vocabulary(
    spans: Sequence[LineSpan], unit: Unit, lowercase: bool, min_count: int, max_vocabulary: int | None, cache: Cache
) -> tuple[list[str], str | None]:
    """The vocabulary of a text, and its `<unk>` or None; see `chosen_words`. Counted once, then read from the cache."""
    rules = [unit, lowercase, min_count, max_vocabulary]

    def make(folder: Path) -> None:
        counts: Counter[str] = Counter()
        for span in spans:
            counts += count_tokens(_read(span, unit, lowercase), unit)
        if counts.keys() <= {END}:
            raise DataError(f"{spans[0].file.path}: no {unit} in it, only line ends; expected is text.")
        write_synced(folder / _WORDS, json.dumps(choose_words(counts, min_count, max_vocabulary)).encode())

    entry = cache.entry("vocabulary", {"format": _FORMAT, "text": _identity(spans), "rules": rules}, make)
    words, unknown = json.loads((entry.path / _WORDS).read_bytes())
    return words, unknown


def encode_files(spans: Sequence[LineSpan], vocabulary: Vocabulary, lowercase: bool, cache: Cache) -> EncodedTokens:
    """A text in a vocabulary's numbers. Encoded once, then mapped from the cache."""
    words = hashlib.sha256(json.dumps(list(vocabulary.words)).encode()).hexdigest()
    key = {
        "format": _FORMAT,
        "text": _identity(spans),
        "rules": [vocabulary.unit, lowercase, words, vocabulary.end, vocabulary.unknown],
    }
    encoder = FileEncoder(vocabulary)

    def make(folder: Path) -> None:
        with (folder / _TOKENS).open("wb") as file:
            file.write(encoder.dtype.type(vocabulary.end).tobytes())
            longest = max((_written(file, span, encoder, vocabulary.end, lowercase) for span in spans), key=_length)
        write_synced(folder / _FACTS, json.dumps(longest).encode())

    entry = cache.entry("tokens", key, make)
    longest = LongestLine(*json.loads((entry.path / _FACTS).read_bytes()))
    return EncodedTokens(numpy.memmap(entry.path / _TOKENS, encoder.dtype, "r"), longest, entry)


def _written(file: Any, span: LineSpan, encoder: FileEncoder, end: int, lowercase: bool) -> LongestLine:
    """Append a span's tokens; its longest line."""
    name = str(span.file.path)
    longest, line, begun = (
        LongestLine(name, 0, 0),
        span.first + 1,
        0,
    )  # `begun`: tokens of the line that a piece ends within
    for piece in _read(span, encoder.unit, lowercase):
        numbers = encoder.encode(piece, name)
        file.write(numbers.tobytes())
        ends = numpy.flatnonzero(numbers == end)
        if not len(ends):
            begun += len(numbers)
            continue
        lengths = numpy.diff(ends, prepend=-1 - begun)
        most = int(lengths.argmax())
        if lengths[most] > longest.tokens:
            longest = LongestLine(name, line + most, int(lengths[most]))
        line, begun = line + len(ends), len(numbers) - 1 - int(ends[-1])
    return longest


def _length(line: LongestLine) -> int:
    return line.tokens


def _read(span: LineSpan, unit: Unit, lowercase: bool) -> Iterator[TextPiece]:
    for piece in read_pieces(span, unit):
        yield TextPiece(piece.text.lower(), piece.line) if lowercase else piece


def _identity(spans: Sequence[LineSpan]) -> list[Any]:
    """What a text is, wherever it lies."""
    return [[span.file.sha256, span.first, span.last] for span in spans]
