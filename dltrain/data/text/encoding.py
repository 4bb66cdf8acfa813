"""Encode text as a file of token ids, written once and then mapped into memory, so that its length is not limited."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.cache import Cache, CacheEntry
from dltrain.data.cleaning import FORM, compose_text
from dltrain.data.text.vocabulary import END, FileEncoder, Vocabulary, choose_words, count_tokens
from dltrain.data.text_files import LineSpan, TextPiece, Unit, read_text_pieces
from dltrain.errors import DataError
from dltrain.files import write_synced

_FORMAT = 1  # of both entries; incremented when their content, or the reading of text, changes
_PIECE_TOKENS = 1 << 22
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
    spans: Sequence[LineSpan],
    unit: Unit,
    cache: Cache,
    *,
    lowercase: bool,
    composed: bool = False,
    min_count: int,
    max_vocabulary: int | None,
) -> tuple[list[str], str | None]:
    """Learn the vocabulary of a text, and its `<unk>` or None; see `choose_words`. Counted once, then cached."""
    rules = [unit, lowercase, min_count, max_vocabulary, *_name_form(composed)]

    def make(folder: Path) -> None:
        counts: Counter[str] = Counter()
        for span in spans:
            counts += count_tokens(_read_span_pieces(span, unit, lowercase=lowercase, composed=composed), unit)
        if counts.keys() <= {END}:
            raise DataError(f"{spans[0].file.path}: no {unit} in it, only line ends; expected is text.")
        write_synced(folder / _WORDS, json.dumps(choose_words(counts, min_count, max_vocabulary)).encode())

    entry = cache.entry("vocabulary", {"format": _FORMAT, "text": _identify_text(spans), "rules": rules}, make)
    words, unknown = json.loads((entry.path / _WORDS).read_bytes())
    return words, unknown


def encode_files(
    spans: Sequence[LineSpan], vocabulary: Vocabulary, cache: Cache, *, lowercase: bool, composed: bool = False
) -> EncodedTokens:
    """Encode a text with a vocabulary, once; later it is mapped from the cache."""
    words = hashlib.sha256(json.dumps(list(vocabulary.words)).encode()).hexdigest()
    key = {
        "format": _FORMAT,
        "text": _identify_text(spans),
        "rules": [vocabulary.unit, lowercase, words, vocabulary.end, vocabulary.unknown, *_name_form(composed)],
    }
    encoder = FileEncoder(vocabulary)
    read = partial(_read_span_pieces, unit=vocabulary.unit, lowercase=lowercase, composed=composed)

    def make(folder: Path) -> None:
        with (folder / _TOKENS).open("wb") as file:
            file.write(encoder.dtype.type(vocabulary.end).tobytes())
            longest = max((_append(file, span, encoder, read(span)) for span in spans), key=lambda line: line.tokens)
        write_synced(folder / _FACTS, json.dumps(longest).encode())

    entry = cache.entry("tokens", key, make)
    longest = LongestLine(*json.loads((entry.path / _FACTS).read_bytes()))
    return EncodedTokens(numpy.memmap(entry.path / _TOKENS, encoder.dtype, "r"), longest, entry)


def count_unknown(tokens: EncodedTokens, unknown: int) -> int:
    """Count the tokens of a text that are `unknown`, piece by piece."""
    parts = (tokens.ids[start : start + _PIECE_TOKENS] for start in range(1, len(tokens.ids), _PIECE_TOKENS))
    return sum(int((part == unknown).sum()) for part in parts)


def _append(file: Any, span: LineSpan, encoder: FileEncoder, pieces: Iterable[TextPiece]) -> LongestLine:
    """Append the tokens of a span's pieces; return its longest line."""
    name = str(span.file.path)
    longest, line = LongestLine(name, 0, 0), span.first + 1
    pending = 0  # tokens of a line that continues in the next piece
    for piece in pieces:
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


def _read_span_pieces(span: LineSpan, unit: Unit, *, lowercase: bool, composed: bool) -> Iterator[TextPiece]:
    for piece in read_text_pieces(span, unit):
        text = compose_text(piece.text) if composed else piece.text
        yield TextPiece(text.lower() if lowercase else text, piece.line)


def _name_form(composed: bool) -> list[str]:
    return [FORM] if composed else []


def _identify_text(spans: Sequence[LineSpan]) -> list[Any]:
    """Identify a text by its content, wherever it is stored."""
    return [[span.file.sha256, span.first, span.last] for span in spans]
