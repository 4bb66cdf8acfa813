"""Compare the files of a text set with what was published, and report the content of your own files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dltrain.data.mirrors import PublishedFiles
from dltrain.data.text.sets import TEXT_SETS, PublishedText, locate_text_set
from dltrain.data.text.vocabulary import END, UNKNOWN, count_tokens
from dltrain.data.text_files import LineSpan, read_text_pieces, scan_file
from dltrain.errors import DataError

_SHOWN = {"bytes": "bytes", "sha256": "SHA-256", "lines": "lines", "tokens": "tokens", "words": "words"}


@dataclass
class TextReport:
    """Report on a text file: bytes and SHA-256 unpacked, lines, tokens (line ends included), distinct words.

    `expected` holds the same facts if they are published; `fault` is None if nothing is wrong.
    """

    name: str
    path: str | None = None
    found: dict[str, int | str] = field(default_factory=dict)
    expected: dict[str, int | str] = field(default_factory=dict)
    fault: str | None = None

    def lines(self) -> list[str]:
        lines = [f"{self.name}: {'NOT FINE' if self.fault else 'ok'}", f"  path        {self.path or 'not found'}"]
        for fact, value in self.found.items():
            expected = f", expected {self.expected[fact]}" if fact in self.expected else ""
            lines.append(f"  {_SHOWN.get(fact, fact):<10}  {value}{expected}")
        if self.fault:
            lines.append(f"  fault       {self.fault}")
        return lines


def verify(name: str, root: Path) -> list[TextReport]:
    """Report on each file of a set; damaged and missing ones are reported, not raised.

    For `text`, report on each *.txt and *.txt.gz in the folder `root`, or on the file `root`. Raises DataError if
    there is none.
    """
    if name in TEXT_SETS:
        files = locate_text_set(name, root)
        return [_compare_with_published(files, file) for file in TEXT_SETS[name].files.values()]
    paths = [root] if root.is_file() else sorted([*root.glob("*.txt"), *root.glob("*.txt.gz")])
    if not paths:
        raise DataError(f"{root}: no *.txt and no *.txt.gz in it; name the folder or one file with --root.")
    return [_examine(TextReport(path.name, str(path)), path) for path in paths]


def _compare_with_published(files: PublishedFiles, file: PublishedText) -> TextReport:
    path = files.find(file.name)
    if path is None:
        return TextReport(file.name, fault=files.describe_missing([file.name]))
    published = {"bytes": file.size_bytes, **{fact: getattr(file, fact) for fact in list(_SHOWN)[1:]}}
    expected = {fact: value for fact, value in published.items() if value is not None}
    report = _examine(TextReport(file.name, str(path), expected=expected), path)
    wrong = [fact for fact in report.found.keys() & expected.keys() if report.found[fact] != expected[fact]]
    if wrong and not report.fault:
        first = min(wrong, key=list(_SHOWN).index)
        report.fault = f"{path}: {_SHOWN[first]} {report.found[first]}, expected {expected[first]}"
    return report


def _examine(report: TextReport, path: Path) -> TextReport:
    """Fill in the content of a file, as far as it can be read."""
    try:
        file = scan_file(path)
        report.found |= {"bytes": file.size_bytes, "sha256": file.sha256, "lines": file.lines}
        counts: Mapping[str, int] = count_tokens(read_text_pieces(LineSpan(file, 0, file.lines), "word"), "word")
    except DataError as error:
        report.fault = str(error)
        return report
    report.found |= {"tokens": sum(counts.values()), "words": len(counts), UNKNOWN: counts.get(UNKNOWN, 0)}
    if counts.keys() <= {END}:
        report.fault = f"{path}: no word in it, only line ends"
    return report
