"""Find, scan and read text files, plain or gzipped, and report exactly how one is damaged.

Files are read in pieces, so memory does not limit their size. A line ends with LF or CRLF, the last one also with the
file. The encoding is UTF-8, a byte order mark is skipped.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple

from dltrain.data.reading import note_file
from dltrain.errors import FIND_DATA, DataError
from dltrain.runtime.interrupts import stop_if_out_of_time

Unit = Literal["word", "character"]

PIECE_BYTES = 1 << 20
LONGEST_WORD_BYTES = 1 << 20

_GZIP_MAGIC = b"\x1f\x8b"
_MARK = b"\xef\xbb\xbf"
_DAMAGED_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)


class TextFile(NamedTuple):
    """A scanned file: SHA-256 and size of its unpacked content, its number of lines, and of carriage returns."""

    path: Path
    sha256: str
    size_bytes: int
    lines: int
    returns: int = 0


class LineSpan(NamedTuple):
    """Lines first..last-1 of a file, counted from 0."""

    file: TextFile
    first: int
    last: int


class TextPiece(NamedTuple):
    """Some text of a file; `line` is the number of its first line, from 1."""

    text: str
    line: int


def find_file(path: Path) -> Path | None:
    """Return the file at `path`, or its gzipped form; None if there is neither."""
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if candidate.is_file():
            return candidate
    return None


def require_files(root: Path, names: Sequence[str]) -> list[Path]:
    """Find the files `names` relative to `root`, plain or .gz. Raises DataError with those that are missing."""
    paths = {name: find_file(root / Path(name).expanduser()) for name in names}
    if missing := [name for name, path in paths.items() if path is None]:
        raise DataError(
            f"{', '.join(missing)} (plain or .gz): not found in {root.absolute()}",
            advice=FIND_DATA,
        )
    return [path for path in paths.values() if path is not None]


def scan_file(path: Path) -> TextFile:
    """Read a file once to hash and measure it. Raises DataError if it is empty, damaged or unreadable."""
    note_file(path)
    digest, size, lines, returns, last = hashlib.sha256(), 0, 0, 0, b"\n"
    for block in _read_blocks(path):
        digest.update(block)
        size += len(block)
        lines += block.count(b"\n")
        returns += block.count(b"\r")
        last = block[-1:]
    if not size:
        raise DataError(f"{path}: the file is empty (0 bytes); expected is text. Give another file, or leave it out.")
    return TextFile(path, digest.hexdigest(), size, lines + (last != b"\n"), returns=returns)


def read_text_pieces(span: LineSpan, unit: Unit, *, skip: int = 0) -> Iterator[TextPiece]:
    """Yield the text of a span, cut at a line's end or, in long lines, between words (anywhere for characters).

    The first `skip` pieces are empty: they are read, but not decoded. Every line ends with a newline, including the
    last. Raises DataError for text that is not UTF-8, for a word of more than LONGEST_WORD_BYTES, and if the file has
    changed since it was scanned.
    """
    held, offset, line, ended = b"", -1, span.first + 1, True
    for start, block in _read_span(span):
        offset = start if offset < 0 else offset
        if offset == 0 and not held and block.startswith(_MARK):
            offset, block = len(_MARK), block[len(_MARK) :]
        held += block
        cut = _find_cut(held, unit)
        if cut:
            content, place = held[:cut], line
            held, offset, ended = held[cut:], offset + cut, content.endswith(b"\n")
            line += content.count(b"\n")
            yield TextPiece("" if skip > 0 else _decode(content, span.file.path, offset - cut, place), place)
            skip -= 1
        elif len(held) > LONGEST_WORD_BYTES:
            raise DataError(
                f"{span.file.path}, line {line}: a word of more than {LONGEST_WORD_BYTES} bytes; this is probably not "
                "text. Give another file, or use unit: character."
            )
    if held or not ended:
        text = "" if skip > 0 else _decode(held, span.file.path, offset, line)
        yield TextPiece(text if text.endswith("\n") else f"{text}\n", line)


def read_lines(spans: Iterable[LineSpan]) -> Iterator[str]:
    """Yield the lines of some spans without their ends. Raises DataError as `read_text_pieces` does."""
    for span in spans:
        held: list[str] = []  # of a line that continues in the next piece
        for piece in read_text_pieces(span, "character"):
            *whole, rest = piece.text.split("\n")
            for line in whole:
                yield "".join((*held, line))
                held.clear()
            held.append(rest)


def _find_cut(held: bytes, unit: Unit) -> int:
    """Return how many bytes of `held` can be decoded without the bytes that follow."""
    cut = held.rfind(b"\n") + 1
    if cut:
        return cut
    if unit == "word":
        return max(held.rfind(b" "), held.rfind(b"\t")) + 1
    cut = len(held) - held.endswith(b"\r")
    for back in range(1, min(4, cut) + 1):  # not within the bytes of one character
        byte = held[cut - back]
        if byte >= 0xC0:
            return cut - back
        if byte < 0x80:
            return cut
    return cut


def _decode(content: bytes, path: Path, offset: int, line: int) -> str:
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line += content.count(b"\n", 0, error.start)
        raise DataError(
            f"{path}, line {line}: not UTF-8: byte 0x{content[error.start]:02x} at offset {offset + error.start}. "
            "Convert the file to UTF-8 (such as with iconv), or give another one."
        ) from error


def _read_span(span: LineSpan) -> Iterator[tuple[int, bytes]]:
    """Yield the bytes of a span's lines in blocks, each with its offset; the whole file is read to verify its hash."""
    digest, offset, line = hashlib.sha256(), 0, 0
    for block in _read_blocks(span.file.path):
        digest.update(block)
        before, line = line, line + block.count(b"\n")
        begin = _skip_lines(block, span.first - before) if line >= span.first else len(block)
        end = _skip_lines(block, span.last - before) if line >= span.last else len(block)
        if begin < end:
            yield offset + begin, block[begin:end]
        offset += len(block)
    if digest.hexdigest() != span.file.sha256:
        raise DataError(
            f"{span.file.path}: the file changed while it was read. Run the command again when it is complete."
        )


def _skip_lines(block: bytes, newlines: int) -> int:
    """Return the offset after a number of newlines; 0 for none or fewer."""
    offset = 0
    for _ in range(newlines):
        offset = block.index(b"\n", offset) + 1
    return offset


def _read_blocks(path: Path) -> Iterator[bytes]:
    read_bytes = 0
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            file: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
            while block := file.read(PIECE_BYTES):
                read_bytes += len(block)
                yield block
                stop_if_out_of_time()
    except _DAMAGED_GZIP as error:
        raise DataError(
            f"{path}: damaged gzip file after {read_bytes} unpacked bytes ({error}). Delete it and get it again."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
