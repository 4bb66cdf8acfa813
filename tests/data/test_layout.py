"""How the fields of text files are separated and quoted: found from the content, or set."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from dltrain.data.delimited import parse_delimited, read_delimited
from dltrain.data.layout import Layout, restore_layout
from dltrain.data.text_files import scan_file

ROWS = [["name", "text"], ["a", "one, two; three"], ["b", 'she said "no"'], ["c", "four\tfive|six"], ["d", ""]]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_what_the_csv_module_writes_is_read(separator: str, quoting: int, suffix: str) -> None:
    if suffix == ".tsv" and separator != "\t":
        return
    written = io.StringIO()
    csv.writer(written, delimiter=separator, quoting=quoting, lineterminator="\n").writerows(ROWS)  # type: ignore[arg-type]
    table = parse_delimited(written.getvalue(), "t", suffix)
    assert [list(table.columns), *table.rows] == ROWS
    usual = "\t" if suffix == ".tsv" else ","
    assert (table.form is None) == (separator == usual and suffix == ".csv")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('text\tlabel\nsay "no" now\tpos\n"no" he said\tneg\n', [['say "no" now', "pos"], ['"no" he said', "neg"]]),
        ('text\tlabel\n"one\tpos\ntwo"\tneg\n', [['"one', "pos"], ['two"', "neg"]]),
        ('text\tlabel\n"Wow!"\tpos\nfine\tneg\n', [['"Wow!"', "pos"], ["fine", "neg"]]),
        ('text\tsize\na\t5"\nb\t7"\n', [["a", '5"'], ["b", '7"']]),
    ],
)
def test_lone_quotation_marks_between_tabs_are_text(text: str, rows: list[list[str]]) -> None:
    table = parse_delimited(text, "t", ".tsv")
    assert (table.rows, table.form) == (rows, None)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('text\tlabel\n"two\nlines"\tpos\nb\tneg\n', [["two\nlines", "pos"], ["b", "neg"]]),
        ('"x"\t"y"\n1\t2\n', [["1", "2"]]),
        ('x\ty\n"1"\t2\n"3"\t4\n', [["1", "2"], ["3", "4"]]),
        ('x\ty\n"He said ""hi"""\t2\nb\t4\n', [['He said "hi"', "2"], ["b", "4"]]),
    ],
)
def test_quoted_fields_between_tabs_are_found(text: str, rows: list[list[str]]) -> None:
    table = parse_delimited(text, "t", ".tsv")
    assert (table.rows, table.form) == (rows, "quoted")
    assert '"' in "".join(
        field or "" for row in parse_delimited(text, "t", ".tsv", [], layout=KEPT).rows for field in row
    ) or (text.startswith('"'))


KEPT = Layout(quoting="none")


def test_an_option_decides() -> None:
    text = "a;b,c\n1;2,3\n"
    assert parse_delimited(text, "t", ".csv").columns == ("a;b", "c")
    assert parse_delimited(text, "t", ".csv", layout=Layout("semicolon")).columns == ("a", "b,c")
    assert parse_delimited('a,b\n"1,2"\n', "t", ".csv", layout=KEPT).rows == [['"1', '2"']]


def test_commas_within_one_column_are_no_separators() -> None:
    table = parse_delimited("text\nwell, yes\nno; never\n", "t", ".csv", ragged := [])
    assert (table.columns, len(ragged)) == (("text",), 1)


def test_quotation_marks_that_training_kept_are_kept() -> None:
    assert restore_layout({}, ["red", '"blue"']) == KEPT
    assert restore_layout({}, ["red", '5"', '"']) == Layout()
    assert restore_layout({"layout": {"separator": "pipe", "quoting": "standard"}}, ['"a"']).separator == "pipe"


def test_a_file_says_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("\ufeffx;y\r\n1,5;2,5\r\n2,5;4,5\r\n", encoding="utf-8")
    table = read_delimited(scan_file(path))
    assert table.columns == ("x", "y")
    assert table.form == "separated by semicolons"
