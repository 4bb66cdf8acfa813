"""Encode text as a file of token ids, written once and then mapped into memory, so that its length is not limited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.cache import Cache, CacheEntry
from dltrain.data.cleaning import FORM, compose_text
from dltrain.data.parts import Parts
from dltrain.data.reading import describe_file, note_file
from dltrain.data.text.vocabulary import END, FileEncoder, TokenCounter, Vocabulary, choose_words
from dltrain.data.text_files import LineSpan, TextFile, TextPiece, Unit, read_text_pieces, scan_file
from dltrain.errors import DataError
from dltrain.files import write_synced

_FORMAT = 1  # of both entries; incremented when their content, or the reading of text, changes
_PIECE_TOKENS = 1 << 22
_LARGE_BYTES = 1 << 18  # of a file, perhaps packed to a thousandth
_TOKENS, _FACTS, _WORDS, _SCAN = "tokens", "facts.json", "words.json", "scan.json"


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


def recall_scan(path: Path, cache: Cache) -> TextFile:
    """Scan a file as `scan_file` does; a large one only once, unless its state has changed."""
    note_file(path)
    if not path.is_file() or path.stat().st_size < _LARGE_BYTES:
        return scan_file(path)

    def make(folder: Path) -> None:
        write_synced(folder / _SCAN, json.dumps(scan_file(path)[1:]).encode())

    key = {"format": _FORMAT, "file": str(path.absolute()), "state": describe_file(path)}
    entry = cache.entry("text-file", key, make)
    return TextFile(path, *json.loads((entry.path / _SCAN).read_bytes()))


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
    read = partial(_read_span_pieces, unit=unit, lowercase=lowercase, composed=composed)
    rules = [unit, lowercase, min_count, max_vocabulary, *_name_form(composed)]

    def make(folder: Path) -> None:
        with Parts(folder) as parts:
            counter = TokenCounter(unit, parts.state)
            parts.describe_with(counter.count)
            for _, piece in _number_pieces(spans, read, skip=parts.done):
                counter.add(piece)
                parts.complete_part()
            counts = counter.count()
            if counts.keys() <= {END}:
                raise DataError(f"{spans[0].file.path}: no {unit} in it, only line ends; expected is text.")
            write_synced(folder / _WORDS, json.dumps(choose_words(counts, min_count, max_vocabulary)).encode())

    key = {"format": _FORMAT, "text": _identify_text(spans), "rules": rules}
    entry = cache.entry("vocabulary", key, make, resumable=True)
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
        with Parts(folder, [_TOKENS]) as parts:
            lines = [LineLengths(str(span.file.path), span.first + 1) for span in spans]
            if parts.done:
                lines = [LineLengths(line.file, *known) for line, known in zip(lines, parts.state, strict=True)]
            else:
                parts.write(_TOKENS, encoder.dtype.type(vocabulary.end).tobytes())
            parts.describe_with(lambda: [list(vars(each).values())[1:] for each in lines])
            for index, piece in _number_pieces(spans, read, skip=parts.done):
                numbers = encoder.encode(piece, lines[index].file)
                parts.write(_TOKENS, numbers.tobytes())
                lines[index].note(numbers, encoder.end)
                parts.complete_part()
            longest = max((each.longest for each in lines), key=lambda line: line.tokens)
            write_synced(folder / _FACTS, json.dumps(longest).encode())

    entry = cache.entry("tokens", key, make, resumable=True)
    longest = LongestLine(*json.loads((entry.path / _FACTS).read_bytes()))
    return EncodedTokens(numpy.memmap(entry.path / _TOKENS, encoder.dtype, "r"), longest, entry)


def count_unknown(tokens: EncodedTokens, unknown: int) -> int:
    """Count the tokens of a text that are `unknown`, piece by piece."""
    parts = (tokens.ids[start : start + _PIECE_TOKENS] for start in range(1, len(tokens.ids), _PIECE_TOKENS))
    return sum(int((part == unknown).sum()) for part in parts)


@dataclass
class LineLengths:
    """The lengths of a span's lines so far: the `longest_line` has `most` tokens, and `pending` are those of `line`."""

    file: str
    line: int
    pending: int = 0
    longest_line: int = 0
    most: int = 0

    @property
    def longest(self) -> LongestLine:
        return LongestLine(self.file, self.longest_line, self.most)

    def note(self, numbers: NDArray[Any], end: int) -> None:
        """Count the tokens of a piece, after which a line may continue in the next one."""
        ends = numpy.flatnonzero(numbers == end)
        if not len(ends):
            self.pending += len(numbers)
            return
        lengths = numpy.diff(ends, prepend=-1 - self.pending)
        place = int(lengths.argmax())
        if lengths[place] > self.most:
            self.longest_line, self.most = self.line + place, int(lengths[place])
        self.line, self.pending = self.line + len(ends), len(numbers) - 1 - int(ends[-1])


def _number_pieces(
    spans: Sequence[LineSpan], read: Callable[..., Iterator[TextPiece]], *, skip: int
) -> Iterator[tuple[int, TextPiece]]:
    """The pieces of all spans but the first `skip`, each with the index of its span."""
    for index, span in enumerate(spans):
        for piece in read(span, skip=max(skip, 0)):
            if skip <= 0:
                yield index, piece
            skip -= 1


def _read_span_pieces(span: LineSpan, unit: Unit, *, lowercase: bool, composed: bool, skip: int) -> Iterator[TextPiece]:
    for piece in read_text_pieces(span, unit, skip=skip):
        text = compose_text(piece.text) if composed else piece.text
        yield TextPiece(text.lower() if lowercase else text, piece.line)


def _name_form(composed: bool) -> list[str]:
    return [FORM] if composed else []


def _identify_text(spans: Sequence[LineSpan]) -> list[Any]:
    """Identify a text by its content, wherever it is stored."""
    return [[span.file.sha256, span.first, span.last] for span in spans]
