"""The examples of docs/python.md run as they are shown."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from support.pages import ROOT


@pytest.mark.filterwarnings("ignore::dltrain.DltrainWarning")  # of the small splits
def test_the_examples_of_the_page_give_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = str(ROOT / "docs" / "python.md")
    result = doctest.testfile(page, module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
    assert result.attempted > 20
