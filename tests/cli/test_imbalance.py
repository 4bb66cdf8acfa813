"""Classes of unequal size: what the commands say about them, from the first line of `fit` to the report."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from support.commands import good

CONFIG = """
task: {task}
data: {{name: table, training: rows.csv, root: "{root}", target: kind, batch_size: 16}}
model: {{name: linear}}
optimizer: {{name: adam, learning_rate: 0.05}}
trainer: {{epochs: 3, device: cpu, threads: 1}}
"""


def write_rows(folder: Path, common: str, rare: str, count: int = 200, rarely: int = 20) -> None:
    """A table whose rare rows have larger numbers."""
    draw = random.Random(0)
    kinds = [rare if row % rarely == 0 else common for row in range(count)]
    lines = [f"{draw.gauss(kind == rare, 0.7):.4f},{draw.gauss(0, 1):.4f},{kind}" for kind in kinds]
    (folder / "rows.csv").write_text("\n".join(["x,y,kind", *lines]) + "\n")


def write_config(folder: Path, task: str) -> Path:
    (folder / "config.yaml").write_text(CONFIG.format(task=task, root=folder))
    return folder / "config.yaml"


def evaluate(run: Path, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(good("eval", run, "--json", *words).stdout)
    return found


@pytest.fixture(scope="module")
def fraud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fraud")
    write_rows(folder, "legit", "fraud")
    return folder


def test_every_output_names_the_positive_label(fraud: Path) -> None:
    run = fraud / "run"
    told = good("fit", write_config(fraud, "binary_classification"), "-o", run)
    assert "positive label: legit" in told.stderr
    assert "set task.positive to 'fraud' or 'legit'" in told.stderr  # nobody chose it
    assert "positive label" in told.stdout
    assert "positive label" in (run / "report.html").read_text()
    assert "positive label: legit" in good("eval", run).stdout
    assert evaluate(run)["facts"] == {"positive_label": "legit"}
    assert "positive label: legit" in good("predict", run, "x=1,y=0").stderr


def test_a_positive_label_that_was_chosen_or_is_obvious_needs_no_hint(fraud: Path, tmp_path: Path) -> None:
    chosen = write_config(fraud, "{name: binary_classification, positive: fraud}")
    told = good("fit", chosen, "-o", fraud / "chosen")
    assert "positive label: fraud" in told.stderr
    assert "task.positive" not in told.stderr
    write_rows(tmp_path, "no", "yes")
    told = good("fit", write_config(tmp_path, "binary_classification"), "-o", tmp_path / "run")
    assert "positive label: yes" in told.stderr
    assert "task.positive" not in told.stderr


def test_a_class_without_test_pictures_is_named_and_left_out_of_averages(tmp_path: Path) -> None:
    colours = {"ant": (30, 200, 30), "cat": (200, 30, 30), "dog": (30, 30, 200)}
    for split, names in (("train", ("ant", "cat", "dog")), ("test", ("cat", "dog"))):
        for name in names:
            folder = tmp_path / "three" / split / name
            folder.mkdir(parents=True)
            for number in range(10):
                Image.new("RGB", (16, 16), tuple(part + number for part in colours[name])).save(
                    folder / f"{number}.png"
                )
    (tmp_path / "pets.yaml").write_text(
        f"""
task: image_classification
data: {{name: image_folder, root: "{tmp_path / "three"}", height: 16, width: 16, batch_size: 8,
        cache: "{tmp_path / "cache"}"}}
model: {{name: mlp, hidden: [32]}}
optimizer: {{name: adam, learning_rate: 3e-3}}
trainer: {{epochs: 12, device: cpu, threads: 1}}
"""
    )
    good("fit", tmp_path / "pets.yaml", "-o", tmp_path / "run", "-q")
    found = evaluate(tmp_path / "run")
    assert found["metrics"]["accuracy"] == found["metrics"]["macro_f1"] == found["metrics"]["balanced_accuracy"] == 1
    assert found["absent_classes"] == ["ant"]
    assert found["classes"]["ant"] == {"precision": None, "recall": None, "f1": None, "examples": 0}
    told = good("eval", tmp_path / "run").stdout
    assert "neither true nor predicted in this split, so left out of macro averages: ant" in told
