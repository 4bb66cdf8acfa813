"""Classes of unequal size: what the commands say about them, from the first line of `fit` to the report."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from support.commands import call, good
from support.runs import StopAt, outcome, run_to_end

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


def test_results_of_several_runs_name_the_positive_label(fraud: Path) -> None:
    config = write_config(fraud, "{name: binary_classification, positive: fraud}")
    for words in (("cv", config, "--folds", 2), ("fit", config, "--seeds", "0-1")):
        told = good(*words, "-o", fraud / str(words[0]), "--set", "trainer.epochs=1").stdout
        assert told.splitlines()[1] == "positive label: fraud"
        assert max(map(len, told.splitlines())) <= 110
        assert "average_precision" in told


def test_classes_that_are_never_predicted_are_named(fraud: Path) -> None:
    assert evaluate(fraud / "run")["never_predicted"] == ["fraud"]
    assert "never predicted: fraud" in good("eval", fraud / "run").stdout


WEIGHING = {
    "class weights": ("{name: binary_classification, positive: fraud, class_weights: balanced}", "shuffled"),
    "sampling": ("{name: binary_classification, positive: fraud}", "balanced"),
    "focal loss": ("{name: tabular_classification, focal_gamma: 2, class_weights: {fraud: 20}}", "shuffled"),
}


def write_weighing(name: str, fraud: Path, folder: Path, model: str) -> Path:
    task, sampling = WEIGHING[name]
    text = write_config(fraud, task).read_text().replace("batch_size: 16", f"batch_size: 16, sampling: {sampling}")
    (folder / "config.yaml").write_text(text.replace("{name: linear}", model))
    return folder / "config.yaml"


@pytest.mark.parametrize("name", WEIGHING)
def test_a_rare_class_is_found_when_it_weighs_more(name: str, fraud: Path, tmp_path: Path) -> None:
    config = write_weighing(name, fraud, tmp_path, "{name: linear, solve: false}")
    good("fit", config, "-o", tmp_path / "run", "-q")
    found = evaluate(tmp_path / "run")
    assert found["never_predicted"] == []
    assert found["metrics"]["balanced_accuracy"] > 0.6
    assert "class_weighted_loss" in found["metrics"]


@pytest.mark.parametrize("name", WEIGHING)
def test_a_stopped_run_ends_with_the_same_bytes(name: str, fraud: Path, tmp_path: Path) -> None:
    config = write_weighing(name, fraud, tmp_path, "{name: dense, hidden: [4], dropout: 0.2}")
    run_to_end(config, tmp_path / "whole", [])
    run_to_end(config, tmp_path / "stopped", [StopAt(5), StopAt(9, kill=True), StopAt(6)])
    assert outcome(tmp_path / "whole") == outcome(tmp_path / "stopped")


def test_faults_in_the_options_say_what_is_allowed(fraud: Path) -> None:
    def refuse(task: str, *more: str) -> str:
        return str(call("fit", write_config(fraud, task), "-o", fraud / "refused", *more).exception)

    assert "'fruad' is not a class; allowed are fraud, legit\ndid you mean 'fraud'?" in refuse(
        "{name: binary_classification, class_weights: {fruad: 10}}"
    )
    assert "did you mean 'fraud'?" in refuse("{name: binary_classification, positive: Fraud}")
    assert "give one of them" in refuse("{name: tabular_classification, focal_gamma: 2, label_smoothing: 0.1}")
    numbers = refuse("regression", "--set", "data.target=x", "--set", "data.sampling=balanced")
    assert "data.sampling: balanced draws classes equally often, but the target x holds numbers" in numbers


def test_fit_warns_where_accuracy_says_nothing(tmp_path: Path) -> None:
    rows = [f"{word} film,{'spam' if row % 20 == 0 else 'ham'}" for row in range(100) for word in ("good", "bad")]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    config = tmp_path / "texts.yaml"
    config.write_text(
        f"""
task: text_classification
data: {{name: labelled_text, training: [texts.csv], root: "{tmp_path}"}}
model: {{name: embedding_bag, embedding: 4}}
optimizer: {{name: adam, learning_rate: 0.01}}
trainer: {{epochs: 1, device: cpu, threads: 1}}
"""
    )
    told = good("fit", config, "-o", tmp_path / "run").stderr
    assert "95.1% of the training examples are 'ham': a model that always predicts it has that accuracy" in told
    told = good("fit", config, "-o", tmp_path / "both", "--set", "data.sampling=balanced", "--set",
                "task.class_weights=balanced").stderr  # fmt: skip
    assert "class weights: ham 0.5" in told
    assert "rare ones count twice" in told


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
