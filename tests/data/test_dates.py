"""Dates: every way of writing them is parsed as strptime parses it, and the order of day and month is found or open."""

from __future__ import annotations

from datetime import datetime

import pytest

from dltrain.data.dates import DateOrder, find_date_order, is_open_order, parse_date

MOMENT = datetime(2024, 3, 31, 17, 7, 5)


@pytest.mark.parametrize(
    ("form", "order"),
    [
        ("%Y-%m-%d", "year"),
        ("%Y/%m/%d %H:%M:%S", "year"),
        ("%Y-%m-%dT%H:%M:%SZ", "year"),
        ("%Y%m%d", "year"),
        ("%Y-%m", "year"),
        ("%d.%m.%Y", "day"),
        ("%d/%m/%Y %H:%M", "day"),
        ("%m/%d/%Y", "month"),
        ("%m/%d/%Y %I:%M %p", "month"),
        ("%d %b %Y", "year"),
        ("%d-%B-%Y", "year"),
        ("%B %d, %Y %H:%M", "year"),
    ],
)
def test_a_date_is_parsed_as_strptime_parses_it(form: str, order: DateOrder) -> None:
    text = MOMENT.strftime(form)
    assert parse_date(text, order) == datetime.strptime(text, form)
    assert find_date_order([text, "", "NA"]) == order


def test_the_order_of_day_and_month_is_found_from_days_above_12_or_open() -> None:
    assert find_date_order(["03/04/2024", "13/04/2024"]) == "day"
    assert find_date_order(["03/04/2024", "04/13/2024"]) == "month"
    assert find_date_order(["03/04/2024"]) is None
    assert is_open_order(["03/04/2024", ""])
    assert not is_open_order(["03/04/2024", "13/04/2024"])
    assert find_date_order(["13/04/2024", "04/13/2024"]) is None
    assert find_date_order(["03.04.2024"]) == "day"


@pytest.mark.parametrize(
    "text", ["", "today", "2024", "2024-13-01", "2024-02-30", "1.5", "12:30", "31/03/24", "X 1, 2024"]
)
def test_other_texts_are_no_dates(text: str) -> None:
    assert all(parse_date(text, order) is None for order in ("year", "day", "month"))
