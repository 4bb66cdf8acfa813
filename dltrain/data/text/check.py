"""What lies where a text set should, compared with what was published; and what files of the user's own hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dltrain.data.text.sets import TEXT_SETS, PublishedText, folders, locate
from dltrain.data.text.vocabulary import END, UNKNOWN, count_tokens
from dltrain.data.text_files import LineSpan, read_pieces, scan_file
from dltrain.errors import DataError

_SHOWN = {"bytes": "bytes", "sha256": "SHA-256", "lines": "lines", "tokens": "tokens", "words": "words"}


@dataclass
class TextReport:
    """One text file: bytes and SHA-256 unpacked, lines, tokens (an end of each line included), distinct words.

    `expected` holds the same facts where they are published; `fault` is None when nothing is wrong.
    """

    name: str
    path: str | None = None
    found: dict[str, int | str] = field(default_factory=dict)
    expected: dict[str, int | str] = field(default_factory=dict)
    fault: str | None = None

    def lines(self) -> list[str]:
        """The report as text."""
        lines = [f"{self.name}: {'NOT FINE' if self.fault else 'ok'}", f"  path        {self.path or 'not found'}"]
        for fact, value in self.found.items():
            expected = f", expected {self.expected[fact]}" if fact in self.expected else ""
            lines.append(f"  {_SHOWN.get(fact, fact):<10}  {value}{expected}")
        if self.fault:
            lines.append(f"  fault       {self.fault}")
        return lines


def verify(name: str, root: Path) -> list[TextReport]:
    """A report on each file of a set; damaged and missing ones are reported, not raised.

    For `text` on each *.txt and *.txt.gz in the folder `root`, or on the file `root`; DataError where there is none.
    """
    if name in TEXT_SETS:
        return [_verified(name, root, file) for file in TEXT_SETS[name].files.values()]
    paths = [root] if root.is_file() else sorted([*root.glob("*.txt"), *root.glob("*.txt.gz")])
    if not paths:
        raise DataError(f"{root}: no *.txt and no *.txt.gz in it; name the folder or one file with --root.")
    return [_reported(TextReport(path.name, str(path)), path) for path in paths]


def _verified(name: str, root: Path, file: PublishedText) -> TextReport:
    split = next(split for split, one in TEXT_SETS[name].files.items() if one is file)
    path = locate(name, root, split)
    if path is None:
        places = ", ".join(map(str, folders(name, root)))
        return TextReport(file.name, fault=f"{file.name} (plain or .gz): not found in {places}")
    expected = {"bytes": file.size_bytes, **{fact: getattr(file, fact) for fact in list(_SHOWN)[1:]}}
    report = _reported(TextReport(file.name, str(path), expected=expected), path)
    wrong = [fact for fact in report.found.keys() & expected.keys() if report.found[fact] != expected[fact]]
    if wrong and not report.fault:
        first = min(wrong, key=list(_SHOWN).index)
        report.fault = f"{path}: {_SHOWN[first]} {report.found[first]}, expected {expected[first]}"
    return report


def _reported(report: TextReport, path: Path) -> TextReport:
    """Fill in what a file holds, as far as it can be read."""
    try:
        file = scan_file(path)
        report.found |= {"bytes": file.size_bytes, "sha256": file.sha256, "lines": file.lines}
        counts: Mapping[str, int] = count_tokens(read_pieces(LineSpan(file, 0, file.lines), "word"), "word")
    except DataError as error:
        report.fault = str(error)
        return report
    report.found |= {"tokens": sum(counts.values()), "words": len(counts), UNKNOWN: counts.get(UNKNOWN, 0)}
    if counts.keys() <= {END}:
        report.fault = f"{path}: no word in it, only line ends"
    return report
