"""Encode text as a file of token ids, written once and then mapped into memory, so that its length is not limited."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.cache import Cache, CacheEntry
from dltrain.data.text.vocabulary import END, FileEncoder, Vocabulary, choose_words, count_tokens
from dltrain.data.text_files import LineSpan, TextPiece, Unit, read_text_pieces
from dltrain.errors import DataError
from dltrain.files import write_synced

_FORMAT = 1  # of both entries; incremented when their content, or the reading of text, changes
_TOKENS, _FACTS, _WORDS = "tokens", "facts.json", "words.json"


class LongestLine(NamedTuple):
    """The longest line of a file: its number, from 1, and its tokens, `<eos>` included."""

    file: str
    number: int
    tokens: int


class EncodedTokens(NamedTuple):
    """An encoded text: `ids` (1 + n,) are `<eos>`, which the first token follows, and the n tokens.

    They are mapped from `entry`, which must be kept as long as they are used.
    """

    ids: NDArray[Any]
    longest: LongestLine
    entry: CacheEntry | None = None


def make_empty_tokens(end: int) -> EncodedTokens:
    return EncodedTokens(numpy.array([end]), LongestLine("", 0, 0))


def learn_vocabulary(
    spans: Sequence[LineSpan], unit: Unit, cache: Cache, *, lowercase: bool, min_count: int, max_vocabulary: int | None
) -> tuple[list[str], str | None]:
    """Learn the vocabulary of a text, and its `<unk>` or None; see `choose_words`. Counted once, then cached."""
    rules = [unit, lowercase, min_count, max_vocabulary]

    def make(folder: Path) -> None:
        counts: Counter[str] = Counter()
        for span in spans:
            counts += count_tokens(_read_span_pieces(span, unit, lowercase), unit)
        if counts.keys() <= {END}:
            raise DataError(f"{spans[0].file.path}: no {unit} in it, only line ends; expected is text.")
        write_synced(folder / _WORDS, json.dumps(choose_words(counts, min_count, max_vocabulary)).encode())

    entry = cache.entry("vocabulary", {"format": _FORMAT, "text": _identify_text(spans), "rules": rules}, make)
    words, unknown = json.loads((entry.path / _WORDS).read_bytes())
    return words, unknown


def encode_files(spans: Sequence[LineSpan], vocabulary: Vocabulary, lowercase: bool, cache: Cache) -> EncodedTokens:
    """Encode a text with a vocabulary, once; later it is mapped from the cache."""
    words = hashlib.sha256(json.dumps(list(vocabulary.words)).encode()).hexdigest()
    key = {
        "format": _FORMAT,
        "text": _identify_text(spans),
        "rules": [vocabulary.unit, lowercase, words, vocabulary.end, vocabulary.unknown],
    }
    encoder = FileEncoder(vocabulary)

    def make(folder: Path) -> None:
        with (folder / _TOKENS).open("wb") as file:
            file.write(encoder.dtype.type(vocabulary.end).tobytes())
            longest = max((_append(file, span, encoder, lowercase) for span in spans), key=lambda line: line.tokens)
        write_synced(folder / _FACTS, json.dumps(longest).encode())

    entry = cache.entry("tokens", key, make)
    longest = LongestLine(*json.loads((entry.path / _FACTS).read_bytes()))
    return EncodedTokens(numpy.memmap(entry.path / _TOKENS, encoder.dtype, "r"), longest, entry)


def _append(file: Any, span: LineSpan, encoder: FileEncoder, lowercase: bool) -> LongestLine:
    """Append a span's tokens; return its longest line."""
    name = str(span.file.path)
    longest, line = LongestLine(name, 0, 0), span.first + 1
    pending = 0  # tokens of a line that continues in the next piece
    for piece in _read_span_pieces(span, encoder.unit, lowercase):
        numbers = encoder.encode(piece, name)
        file.write(numbers.tobytes())
        ends = numpy.flatnonzero(numbers == encoder.end)
        if not len(ends):
            pending += len(numbers)
            continue
        lengths = numpy.diff(ends, prepend=-1 - pending)
        most = int(lengths.argmax())
        if lengths[most] > longest.tokens:
            longest = LongestLine(name, line + most, int(lengths[most]))
        line, pending = line + len(ends), len(numbers) - 1 - int(ends[-1])
    return longest


def _read_span_pieces(span: LineSpan, unit: Unit, lowercase: bool) -> Iterator[TextPiece]:
    for piece in read_text_pieces(span, unit):
        yield TextPiece(piece.text.lower(), piece.line) if lowercase else piece


def _identify_text(spans: Sequence[LineSpan]) -> list[Any]:
    """Identify a text by its content, wherever it is stored."""
    return [[span.file.sha256, span.first, span.last] for span in spans]
