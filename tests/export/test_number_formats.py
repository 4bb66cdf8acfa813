"""How numbers are written in a run's table goes with its exports: the description, the check and the predictions."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from support.commands import call, good
from support.examples import write_config

INPUTS = [1234.5, 17.25, 8000.0, 999.75]


def write_number(value: float, decimal: str) -> str:
    plain = f"{value:,.2f}"
    return plain if decimal == "point" else plain.translate(str.maketrans(",.", ".,"))


def write_table(path: Path, decimal: str) -> None:
    draw = random.Random(0)
    rows = [(draw.random() * 9000, draw.randint(1, 9)) for _ in range(120)]
    lines = [f"{write_number(a, decimal)};{b};{write_number(3 * a + b, decimal)}" for a, b in rows]
    path.write_text("\n".join(["a;b;y", *lines]) + "\n")


def predict(*words: object) -> list[str]:
    return [line.rpartition("\t")[2] for line in good("predict", *words).stdout.splitlines()]


def test_an_export_reads_numbers_as_its_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = {}
    for decimal in ("comma", "point"):
        write_table(Path(f"{decimal}.csv"), decimal)
        config = {
            "task": "regression",
            "data": {"name": "table", "training": f"{decimal}.csv", "target": "y", "decimal": decimal},
            "model": {"name": "dense", "hidden": [4]},
            "trainer": {"epochs": 2, "device": "cpu", "threads": 1},
            "observers": [],
        }
        good("fit", write_config(Path(f"{decimal}.yaml"), config), "-q", "-o", decimal)
        exported = good("export", decimal, "-o", f"{decimal}.safetensors")
        assert "largest difference 0 of the largest output" in exported.output
        described = json.loads(Path(f"{decimal}.safetensors.json").read_text())
        assert described["record"]["config"]["data"]["decimal"] == decimal
        lines = [f"{write_number(value, decimal)};3" for value in INPUTS]
        Path(f"new-{decimal}.csv").write_text("\n".join(["a;b", *lines]) + "\n")
        found[decimal] = predict(decimal, f"new-{decimal}.csv")
        assert predict(f"{decimal}.safetensors", f"new-{decimal}.csv") == found[decimal]
    assert found["comma"] == found["point"]
    assert predict("comma.safetensors", "a=1.234,50,b=3") == found["comma"][:2]
    assert predict("point.safetensors", "a=1,234.50,b=3") == found["comma"][:2]
    other = call("predict", "comma.safetensors", "new-point.csv")
    assert "4 of 4 rows could not be read" in str(other.exception)
