"""docs/tour.ipynb: a valid notebook that runs from top to bottom and gives the outputs that are saved in it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from support.notebooks import read_notebook, run_notebook
from support.pages import ROOT, without_numbers

TOUR = ROOT / "docs" / "tour.ipynb"


def test_the_tour_runs_and_gives_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        compared = run_notebook(read_notebook(TOUR))
    assert len(compared) > 5
    for saved, given in compared:
        assert [without_numbers(line) for line in saved.splitlines()] == list(map(without_numbers, given.splitlines()))
    assert (tmp_path / "curves.png").is_file()


def test_the_tour_is_a_notebook_of_format_4() -> None:
    notebook = read_notebook(TOUR)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    identifiers = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    for number, cell in enumerate(cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        assert cell["execution_count"] == number + 1
        assert not any(line.startswith(("%", "!")) for line in cell["source"])
