"""docs/data.md names every option of every dataset, in the section of its kind or in the one that all kinds share."""

from __future__ import annotations

import re

import pytest

from dltrain.config.catalogue import Entry, load_package_catalogue
from support.pages import ROOT

PAGE = ROOT / "docs" / "data.md"
DATASETS = load_package_catalogue().of("dataset")
SHARED = "Steps that all kinds share"


def read_sections() -> dict[str, str]:
    """The text of each section by its heading."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def find_section(kind: str) -> str:
    """The section that says it is about a kind of data."""
    (text,) = [text for text in read_sections().values() if f"(kind `{kind}`)" in text]
    return text


@pytest.mark.parametrize("entry", DATASETS, ids=lambda entry: entry.name)
def test_every_option_of_a_dataset_is_named(entry: Entry) -> None:
    text = find_section(entry.facts["data"])
    assert f"`{entry.name}`" in text.replace("`data: ", "`")
    named = set(re.findall(r"`(\w+)`", read_sections()[SHARED] + text))
    assert [option.name for option in entry.options if option.name not in named] == []


def test_every_option_in_the_last_column_exists() -> None:
    for kind in {entry.facts["data"] for entry in DATASETS}:
        options = {option.name for entry in DATASETS if entry.facts["data"] == kind for option in entry.options}
        cells = [row.rsplit("|", 2)[1] for row in find_section(kind).splitlines() if row.startswith("| ")]
        assert set(re.findall(r"`(\w+)`", " ".join(cells))) - options == set(), kind
