"""Numbers as spreadsheets write them, against the numbers that were written."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from dltrain.data.numbers import (
    NumberColumn,
    NumberFormat,
    PlainNumber,
    find_formats,
    find_thousands,
    parse_number,
    read_number,
)


def write(value: float, *, group: str, mark: str, places: int) -> str:
    return f"{value:,.{places}f}".replace(",", "G").replace(".", mark).replace("G", group)


@pytest.mark.parametrize("mark", ["point", "comma"])
@pytest.mark.parametrize("group", ["other", "'", "’", " ", "\u00a0", "\u202f", ""])
@pytest.mark.parametrize("signs", ["{}", "${}", "{} €", "-{}", "-£{}", "CHF {}", "\u2212{}"])
def test_what_is_written_is_read(mark: str, group: str, signs: str) -> None:
    own, other = (",", ".") if mark == "comma" else (".", ",")
    draw = random.Random(0)
    values = [round(draw.uniform(0, 10.0 ** draw.randint(0, 9)), 2) for _ in range(50)]
    texts = [
        signs.format(write(each, group=other if group == "other" else group, mark=own, places=2)) for each in values
    ]
    found = find_formats({"x": NumberColumn(Counter(texts))}, "auto", ",")
    assert not found.ambiguous
    sign = -1 if signs[0] in "-\u2212" else 1
    if found.formats:
        assert [found.formats["x"].parse(text) for text in texts] == [sign * value for value in values]
    else:
        assert [parse_number(text) for text in texts] == [sign * value for value in values]


@pytest.mark.parametrize(
    ("text", "value"),
    [("(5)", -5), ("(1,234)", -1234), ("(1,234.50)", -1234.5), ("($1,234.50)", -1234.5), ("$(1,234.50)", -1234.5),
     ("($12)", -12), ("(12.5%)", -0.125), ("(12.5)%", -0.125), (" ( 7 ) ", -7), ("(3) €", -3), ("(0)", 0)],
)  # fmt: skip
def test_parentheses_are_the_minus_of_accounts(text: str, value: float) -> None:
    assert read_number(text).point == value
    column = NumberColumn(Counter({text: 1, "1,000,000": 2, "2.5": 1}))
    assert column.mark == "point"
    form = column.make_format("point")
    assert form.parse(text) in (value, None), "a currency or a percent sign of its own is another format"
    told = NumberColumn(Counter({"(5)": 1, "7": 3})).describe("x", NumberFormat("point"))
    assert told is not None
    assert (told.what, told.count) == ("column 'x': numbers with negatives in parentheses, such as '(5)'", 1)


def test_a_column_of_numbers_in_parentheses_alone_holds_codes() -> None:
    assert NumberColumn(Counter(["(1)", "(2)", "(10)"])).looks_like_codes
    assert not NumberColumn(Counter(["(1)", "(2)", "10"])).looks_like_codes
    assert not NumberColumn(Counter(["($1.50)", "($2.20)"])).looks_like_codes


@pytest.mark.parametrize(
    "text", ["(", "()", "(-5)", "-(5)", "((5))", "(5", "5)", "(a)", "(030) 1234", "(1) (2)", "(1-2)", "($5 €)",
             "1-2", "2024-01-31", "31.12.2024", "12:30", "555-1234", "030 123 456", "1.2.3", "1,23,4",
             "12 34", "5 apples", "$5 €", "1,,234", "1'23", ",", ".", "%", "$", "--5", "0x1",
             "1_000", "012,345.5", "192.168.0.1"],
)  # fmt: skip
def test_what_is_no_number(text: str) -> None:
    assert read_number(text)[:2] == (None, None)


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [("1,234", 1234, 1.234), ("0,123", None, 0.123), ("1.234", 1.234, 1234), ("1.5", 1.5, None), ("2,5", None, 2.5),
     ("1,234.5", 1234.5, None), ("1.234.567", None, 1234567), ("12%", 0.12, 0.12), ("007", 7, 7), ("1e3", 1000, 1000),
     ("1,5e3", None, 1500), ("+3", 3, 3), (PlainNumber("1.234"), 1.234, 1.234)],
)  # fmt: skip
def test_readings(text: str, point: float | None, comma: float | None) -> None:
    assert read_number(text)[:2] == (point, comma)


def formats(decimal: str = "auto", separators: str = "", **columns: str) -> tuple[dict[str, str], set[str]]:
    parsed = {name: NumberColumn(Counter(texts.split())) for name, texts in columns.items()}
    found = find_formats(parsed, decimal, separators)  # type: ignore[arg-type]
    return {name: form.decimal for name, form in found.formats.items()}, set(found.ambiguous)


def test_what_decides_between_thousands_and_decimals() -> None:
    assert formats(x="1,234 5,678") == ({}, {"x"})
    assert formats("comma", x="1,234 5,678") == ({"x": "comma"}, set())
    assert formats("point", x="1,234 5,678") == ({"x": "point"}, set())
    assert formats(x="1,234 5,678", separators=",") == ({"x": "point"}, set())
    assert formats(x="1,234 5,678", separators=";") == ({}, {"x"})
    assert formats(x="1,234 5,678", y="2,5 3", separators=",") == ({"x": "comma", "y": "comma"}, set())
    assert formats(x="1,234 5,678", y="2.5 3", separators=";") == ({"x": "point"}, set())
    assert formats(x="1,234 5,678", y="2.5 3", z="2,5 3", separators=";") == ({"z": "comma"}, {"x"})
    assert formats(x="1.234 5.678") == ({}, set())
    assert formats(x="1.234 5.678", y="2,5 3", z="1 2") == ({"x": "comma", "y": "comma", "z": "comma"}, set())
    assert formats(x="1.234 2,5") == ({"x": "comma"}, set())
    assert formats(x="007 008", y="1 2") == ({}, set())


def test_signs_must_be_those_of_the_column() -> None:
    percent = NumberFormat("point", percent=True, example="5%")
    assert (percent.parse("12 %"), percent.parse("0")) == (0.12, 0)
    assert percent.parse("12") is None
    assert "has no percent sign" in percent.refuse("t", "12", known=True).message
    money = NumberFormat("point", currency="$", example="$5")
    assert (money.parse("$1,200"), money.parse("1200"), money.parse("€5")) == (1200, 1200, None)
    assert "another currency" in money.refuse("t", "€5", known=True).message


@pytest.mark.parametrize(
    ("texts", "found"),
    [("812 50.495 1.200 7.001 9.100 3.333", "50.495"), ("812.000 50.495 1.200 7.001 9.100 3.333", None),
     ("812 50.495 1.2 7.001 9.100 3.333", None), ("8120 50.495 1.200 7.001 9.100 3.333", None), ("812 50.495", None),
     ("812 0.495 1.200 7.001 9.100 3.333", None), ("1 2 3 4 5 6", None)],
)  # fmt: skip
def test_points_that_may_separate_thousands(texts: str, found: str | None) -> None:
    assert find_thousands(texts.split()) == found
