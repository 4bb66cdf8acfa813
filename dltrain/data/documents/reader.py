"""Texts as a text classifier's inputs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
from torch import Tensor

from dltrain.data.delimited import Ragged, get_table_suffix, read_delimited
from dltrain.data.documents.batches import DocumentCounts, DocumentEncoder, DocumentSet
from dltrain.data.documents.summary import describe_unknown
from dltrain.data.kept import list_kept_cells
from dltrain.data.layout import Layout
from dltrain.data.objects import describe_object, flatten, is_frame, is_row, to_columns, to_row
from dltrain.data.text_files import LineSpan, read_text_pieces, scan_file
from dltrain.errors import DataError
from dltrain.kinds import NamedInput


class TextReader:
    """Reads texts: the lines of text files, `-` for those of standard input, and the text column of tables.

    What is not the name of a file is a text itself, and its own name. The other names are FILE:LINE. Tables are .csv,
    .tsv and .jsonl files, plain or .gz, with the column that the training files had.
    """

    def __init__(self, assets: Mapping[str, Any], keep: Sequence[str] = ()) -> None:
        self._encoder, self._keep = DocumentEncoder(assets), keep
        self._layout = Layout(**assets.get("layout", {} if "unicode" in assets else {"quoting": "none"}))
        self._column: str = assets["text"]
        self._counts = DocumentCounts()
        self._most: int = assets["max_tokens"]
        self._unit: str = assets["unit"]

    def read(self, names: Sequence[str], lines: Iterator[str]) -> Iterator[NamedInput]:
        for name in names:
            if is_text(name):
                yield NamedInput(" ".join(name.split()), refuse_bytes("the text", name) or self._encoded(name))
                continue
            ragged: Ragged = []
            try:
                for line, text, kept in self._numbered(name, lines, ragged):
                    place = f"{name}:{line}"
                    yield NamedInput(place, refuse_bytes(place, text) or self._encoded(text), kept=kept)
            except DataError as error:
                yield NamedInput(name, error, whole_file=True)
            yield from (NamedInput(f"{name}:{line}", error) for line, error in ragged)

    def _numbered(
        self, name: str, lines: Iterator[str], ragged: Ragged
    ) -> Iterator[tuple[int, str, Mapping[str, str]]]:
        """The line, the text, and the cells to keep of each text."""
        if name == "-":
            yield from ((number, line.rstrip("\r\n"), {}) for number, line in enumerate(lines, 1))
            return
        file = scan_file(Path(name))
        if get_table_suffix(file.path) is None:
            if self._keep:
                raise DataError(f"{name}: has no columns to keep", advice="leave out --keep, or name a table")
            content = "".join(piece.text for piece in read_text_pieces(LineSpan(file, 0, file.lines), "character"))
            yield from ((number, line, {}) for number, line in enumerate(content.removesuffix("\n").split("\n"), 1))
            return
        table = read_delimited(file, ragged, self._layout)
        advice = f"call the column with the texts '{self._column}', as in training"
        texts = table.column(self._column, "data.text in training", advice)
        columns = {column: table.column(column, "--keep", "correct --keep", absent="") for column in self._keep}
        kept = list_kept_cells(columns, self._keep, name, len(texts))
        yield from zip(table.lines, texts, kept, strict=True)

    def _encoded(self, text: str) -> list[int]:
        encoded = self._encoder.encode(text)
        self._counts.add(encoded)
        return encoded.ids

    def read_values(self, values: Iterable[Any]) -> Iterator[NamedInput]:
        """Read texts, files by `Path`, and the text column of frames and rows."""
        number = 0
        for value in flatten(values, is_single=lambda value: is_frame(value) or self._is_row(value)):
            if isinstance(value, Path):
                yield from self.read([str(value)], iter(()))
                continue
            for text in self._list_texts(value):
                name, number = f"input {number}", number + 1
                if isinstance(text, str):
                    yield NamedInput(name, refuse_bytes(name, text) or self._encoded(text))
                else:
                    advice = f"give texts, files as Path, or a column or key '{self._column}'"
                    fault = f"{name}: found {describe_object(text)}; expected is a text"
                    yield NamedInput(name, DataError(fault, advice=advice))

    def _is_row(self, value: Any) -> bool:
        return is_row(value) and self._column in to_row(value)

    def _list_texts(self, value: Any) -> Sequence[Any]:
        if is_frame(value):
            columns = to_columns(value)
            return columns.get(self._column) or [value]
        return [to_row(value)[self._column] if self._is_row(value) else value]

    def inputs(self, values: Sequence[Any]) -> tuple[Tensor, ...]:
        """Tokens (N, T) int64, 0 after each text's end, and lengths (N,) int64."""
        return DocumentSet.concatenate(values, [0] * len(values)).pad(numpy.arange(len(values)))

    def notes(self) -> Sequence[str]:
        notes, counts = [], self._counts
        if counts.unknown:
            notes.append(describe_unknown(counts, self._unit))
        if counts.truncated:
            notes.append(f"{counts.truncated} of {counts.texts} texts were cut after {self._most} {self._unit}s")
        return notes


_SUFFIXES = (".txt", ".text", ".md", ".csv", ".tsv", ".json", ".jsonl", ".gz", ".parquet", ".xlsx", ".html")


def is_text(argument: str) -> bool:
    """Whether an argument is a text, and not the name of a file: there is none, and it is not written like one."""
    if argument == "-" or os.path.exists(argument):  # noqa: PTH110 - Path.exists raises for names that are too long
        return False
    spaced = any(map(str.isspace, argument))
    return not argument.lower().endswith(_SUFFIXES) and (spaced or "/" not in argument) and argument.strip() != ""


def refuse_bytes(place: str, text: str) -> DataError | None:
    """The error for a text of standard input that was not UTF-8, whose bytes Python keeps as lone surrogates."""
    found = next((character for character in text if "\udc80" <= character <= "\udcff"), None)
    if found is None:
        return None
    return DataError(f"{place}: not UTF-8: byte 0x{ord(found) - 0xDC00:02x}", advice="convert it to UTF-8 (iconv)")
