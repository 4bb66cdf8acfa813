"""Reading text in pieces: the same whatever the pieces, and faults with their places."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from dltrain.data import text_files
from dltrain.data.text_files import LineSpan, Unit, find_file, read_text_pieces, scan_file
from dltrain.errors import DataError

CONTENT = "one two\r\nzwölf \t drei\n\nüber 𝄞𝄞 x\nlast"


def read(path: Path, unit: Unit = "word", first: int = 0, last: int | None = None) -> str:
    file = scan_file(path)
    found = list(read_text_pieces(LineSpan(file, first, file.lines if last is None else last), unit))
    line = first + 1
    for piece in found:
        assert piece.line == line
        line += piece.text.count("\n")
    return "".join(piece.text for piece in found)


@pytest.mark.parametrize("unit", ["word", "character"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
@pytest.mark.parametrize("packed", [False, True])
def test_pieces_make_up_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: Unit, size: int, packed: bool
) -> None:
    content = CONTENT.encode()
    path = tmp_path / "text.txt"
    path.write_bytes(gzip.compress(content) if packed else content)
    monkeypatch.setattr(text_files, "PIECE_BYTES", size)
    expected = CONTENT.replace("\r\n", "\n") + "\n"
    assert read(path, unit) == expected
    assert scan_file(path) == (path, hashlib.sha256(content).hexdigest(), len(content), 5, content.count(b"\r"))
    lines = expected.splitlines(keepends=True)
    for first in range(5):
        for last in range(first + 1, 6):
            assert read(path, unit, first, last) == "".join(lines[first:last])


@pytest.mark.parametrize("unit", ["word", "character"])
def test_a_text_without_a_newline_at_its_end_is_read_as_if_it_had_one(tmp_path: Path, unit: Unit) -> None:
    for number, content in enumerate((b"a b\nc", b"a b\nc\n")):
        (tmp_path / str(number)).write_bytes(content)
    assert read(tmp_path / "0", unit) == read(tmp_path / "1", unit) == "a b\nc\n"
    assert scan_file(tmp_path / "0").lines == scan_file(tmp_path / "1").lines == 2
    (tmp_path / "space").write_bytes(b"a ")
    assert read(tmp_path / "space", unit) == "a \n"


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbfa\nb\n\xef\xbb\xbfc\n")
    assert read(tmp_path / "marked") == "a\nb\n\ufeffc\n"


def test_one_line_of_any_length_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "line").write_bytes(b"ab cd " * 5000)
    monkeypatch.setattr(text_files, "PIECE_BYTES", 1000)
    file = scan_file(tmp_path / "line")
    found = list(read_text_pieces(LineSpan(file, 0, 1), "word"))
    assert max(len(piece.text) for piece in found) <= 1006
    assert "".join(piece.text for piece in found).split() == ["ab", "cd"] * 5000


def test_a_word_that_is_no_word_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "PIECE_BYTES", 64)
    monkeypatch.setattr(text_files, "LONGEST_WORD_BYTES", 100)
    (tmp_path / "line").write_bytes(b"a b\nc " + b"x" * 300 + b"\n")
    with pytest.raises(DataError, match=r"line, line 2: a word of more than 100 bytes; this is probably not text"):
        read(tmp_path / "line")
    assert len(read(tmp_path / "line", "character")) == 307


@pytest.mark.parametrize("size", [2, 64])
def test_what_is_not_utf8_is_named_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(text_files, "PIECE_BYTES", size)
    path = tmp_path / "latin.txt"
    path.write_bytes("ä\nb\n".encode() + b"gr\xfc\xdfe\n")
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line 3: not UTF-8: byte 0xfc at offset 7. Convert the file to UTF-8")
    path.write_bytes(b"ok \xc3")
    with pytest.raises(DataError, match="line 1: not UTF-8: byte 0xc3 at offset 3"):
        read(path, "character")


def test_empty_damaged_and_unreadable_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"file: the file is empty \(0 bytes\); expected is text"):
        scan_file(path)
    content = "".join(f"{number} " for number in range(300_000)).encode()
    path.write_bytes(gzip.compress(content)[:-100_000])
    with pytest.raises(DataError, match=r"file: damaged gzip file after 1048576 unpacked bytes \(.*\). Delete it"):
        scan_file(path)
    with pytest.raises(DataError, match=r"tmp.*: cannot be read \(Is a directory\)"):
        scan_file(tmp_path)


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_text("a\n")
    file = scan_file(path)
    path.write_text("a\nb\n")
    with pytest.raises(DataError, match="growing: the file changed while it was read"):
        list(read_text_pieces(LineSpan(file, 0, 1), "word"))


def test_the_gzipped_form_is_found(tmp_path: Path) -> None:
    assert find_file(tmp_path / "a.txt") is None
    (tmp_path / "a.txt.gz").touch()
    assert find_file(tmp_path / "a.txt") == tmp_path / "a.txt.gz"
    (tmp_path / "a.txt").touch()
    assert find_file(tmp_path / "a.txt") == tmp_path / "a.txt"
