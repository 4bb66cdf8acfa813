"""All faults of a table in one message, and the line that fixes them."""

from __future__ import annotations

import random
import shlex
from pathlib import Path
from typing import Any

import pytest

from dltrain.data.tables.table_files import TableFiles
from dltrain.errors import DataError
from support.commands import call, good

CONFIG = """
task: tabular_classification
data: {{name: table, training: {table}, target: y{options}}}
model: {{name: dense, hidden: [4]}}
optimizer: {{name: adam, learning_rate: 0.01}}
trainer: {{epochs: 1, device: cpu, threads: 1}}
"""


def write_table(folder: Path) -> Path:
    """120 rows with five faults: missing targets, missing values, names, an empty column, and fractions as labels."""
    draw = random.Random(0)
    lines = ["size;full name;weight;empty;colour;y"]
    for row in range(120):
        weight = "" if row % 7 == 3 else f"{draw.random():.3f}"
        y = "" if row % 40 == 5 else f"{draw.random():.2f}"
        lines.append(f"{row + 1},{draw.randint(100, 999)};Person {row};{weight};;{draw.choice('rgb')};{y}")
    path = folder / "people.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_line_of_a_refusal_trains(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG.format(table=path, options=""))
    refused = call("fit", config, "-o", tmp_path / "a")
    assert isinstance(refused.exception, DataError)
    first, *faults = refused.exception.message.splitlines()
    assert first == f"{path}: 5 faults"
    for found, expected in zip(
        faults,
        [
            "  target 'y': no value in 3 of 120 rows, the first in line 7",
            "  the target 'y' holds fractions such as 0.",
            "  column 'full name' holds 117 different texts in 117 rows; each would be an input",
            "  column 'empty' holds no value",
            "  no value in 'weight' (16 of 117 rows)",
        ],
        strict=True,
    ):
        assert found.startswith(expected)
    advice = refused.exception.advice or ""
    assert advice == (
        "--set data.missing_target=drop --set task=regression --set data.missing=mean "
        "--set 'data.ignore=[full name,empty]'"
    )
    good("fit", config, "-o", tmp_path / "b", *shlex.split(advice))


def table(path: Path, **options: Any) -> TableFiles:
    return TableFiles("table", 0, None, "labels", training=str(path), target="y", validation=0.0, test=0.0, **options)


def test_a_decimal_mark_and_a_column_with_an_odd_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"1,{100 + row};{'' if row == 4 else row};{'ab'[row % 2]}" for row in range(60)]
    path.write_text("\n".join(["size;n;y", *rows]) + "\n")
    with pytest.raises(DataError) as caught:
        table(path)
    assert caught.value.advice == "--set data.decimal=point --set data.missing=mean"
    assert table(path, decimal="point", missing="mean").assets["features"][0]["mean"] == 1129.5
    names = [f"N {row};{'ab'[row % 2]};#{row}" for row in range(60)]
    path.write_text("\n".join(["no;y;it's: a name", *names]) + "\n")
    with pytest.raises(DataError) as caught:
        table(path)
    assert shlex.split(caught.value.advice or "") == ["--set", 'data.ignore=["no","it\'s: a name"]']


def test_one_fault_keeps_its_position(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,a\n,b\n3,a\n")
    with pytest.raises(DataError, match=r"t\.csv, line 3, column 'x': no value\nnext: fill it in, or set data.missing"):
        table(path)


def test_without_an_option_that_helps(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,a\n,a\n3,a\n")
    with pytest.raises(DataError, match="the target 'y' is 'a' in all rows; give more") as caught:
        table(path)
    assert caught.value.advice == "--set data.missing=mean"
