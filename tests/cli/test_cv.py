"""Cross-validation: every example is held out once, read once, and the dataset's own test files are not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dltrain.cli.main import application
from dltrain.config.experiment import load_experiment
from dltrain.data.images.sets import FILES, locate_image_set
from dltrain.errors import UsageError
from dltrain.runtime.interrupts import Interrupts
from dltrain.sweeps import repeats
from dltrain.sweeps.child import ChildFailed
from support.files import lines
from support.images import CLASSES, patterns, write_images
from support.members import run_here

Write = Callable[[Mapping[str, Any]], Path]
IMAGES = 80


@pytest.fixture
def config(settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> Path:
    root = write_images(tmp_path / "images", IMAGES, 20)
    for path in (root / "MNIST" / "raw").glob("t10k*"):
        path.unlink()  # whoever opens the test files fails
    settings["data"] |= {"root": str(root)}
    settings["model"] = {"name": "mlp", "hidden": [8]}
    return write_settings(settings)


def cv(*words: object) -> Result:
    return CliRunner().invoke(application(), ["cv", *map(str, words)], obj=Interrupts())


def test_every_example_is_held_out_once_and_read_once(config: Path, tmp_path: Path, here: list[list[str]]) -> None:
    parent = tmp_path / "cv"
    result = cv(config, "--folds", 3, "-o", parent, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    confusions = [np.array(member["confusion"]) for member in summary["members"]]
    labels, together = repeats.pool_confusion(summary["members"]) or ([], [])
    assert labels == [str(label) for label in range(CLASSES)]
    assert np.array_equal(np.sum(together, axis=1), np.bincount(patterns(IMAGES, 1)[1], minlength=CLASSES))
    assert np.array_equal(np.sum(confusions, axis=0), together)
    for member, confusion in zip(summary["members"], confusions, strict=True):
        assert member["metrics"]["accuracy"] == pytest.approx(confusion.trace() / confusion.sum())
    accuracies = [member["metrics"]["accuracy"] for member in summary["members"]]
    found = summary["statistics"]["accuracy"]
    assert found["mean"] == pytest.approx(np.mean(accuracies))
    assert found["standard_deviation"] == pytest.approx(np.std(accuracies, ddof=1))

    assert [words[0] for words in here] == ["fit", "eval"] * 3
    again = cv(config, "--folds", 3, "-o", parent)
    assert len(here) == 6  # nothing was missing
    assert "held-out folds of mnist, 3 of 3\nfold  epoch  accuracy" in again.stdout
    assert "confusion matrix of all folds together" in again.stdout
    assert [len(lines(parent / f"fold-{index}" / "evaluations.jsonl")) for index in range(3)] == [1, 1, 1]


@pytest.mark.slow
def test_an_evaluation_of_other_weights_does_not_count(config: Path, tmp_path: Path, here: list[list[str]]) -> None:
    parent = tmp_path / "cv"
    assert cv(config, "--folds", 2, "-o", parent, "--set", "trainer.epochs=1", "--quiet").stdout == ""
    log = parent / "fold-0" / "evaluations.jsonl"
    other = {**lines(log)[0], "weights_sha256": "0"}
    log.write_text(json.dumps(other) + "\n" + json.dumps({**lines(log)[0], "split": "validation"}) + "\n{half")
    assert cv(config, "--folds", 2, "-o", parent, "--set", "trainer.epochs=1", "--quiet").exit_code == 0
    assert [words[0] for words in here] == ["fit", "eval", "fit", "eval", "eval"]


def test_a_fold_that_fails_is_named_and_the_others_count(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: list[list[str]]
) -> None:
    from dltrain.sweeps import child

    def run(words: Any, *rest: Any) -> child.FinishedProcess:
        failing = words[0] == "eval" and "fold-1" in words[1]
        return child.FinishedProcess(5, "", ChildFailed("no memory left", 5)) if failing else run_here(words, *rest)

    monkeypatch.setattr(child, "run_dltrain", run)
    result = cv(config, "--folds", 2, "-o", tmp_path / "cv", "--set", "trainer.epochs=1")
    assert "fold-1: exit code 5: no memory left" in str(result.exception)
    assert "   1  failed: exit code 5" in result.stdout
    assert "confusion matrix" not in result.stdout


def test_too_many_folds_are_told_of_once(tmp_path: Path, write_settings: Write, here: list[list[str]]) -> None:
    (tmp_path / "reg.csv").write_text("x,y\n" + "".join(f"{n},{n % 7}\n" for n in range(60)))
    data = {"name": "table", "training": str(tmp_path / "reg.csv"), "target": "y"}
    config = write_settings(
        {"task": "regression", "data": data, "model": "linear", "trainer": {"device": "cpu", "threads": 1, "epochs": 1}}
    )
    result = cv(config, "--folds", 100, "-o", tmp_path / "cv")
    assert len(here) == 1
    assert isinstance(result.exception, ChildFailed)
    assert result.exception.exit_code == 3
    assert str(result.exception) == (
        f"{tmp_path}/cv: fold-0, the first of 100 runs, cannot start; the others were not tried\n"
        "100 folds need as many examples, found 60\nnext: make fewer folds"
    )
    assert not (tmp_path / "cv").exists()
    assert cv(config, "--folds", 2, "-o", tmp_path / "cv", "--quiet").exit_code == 0


def test_data_that_cannot_be_divided_is_told_of(write_settings: Write, tmp_path: Path) -> None:
    text = {"task": "language_modelling", "data": "ptb", "model": "rnn"}
    config = write_settings(text)
    with pytest.raises(UsageError) as caught:
        repeats.check_folds(config, load_experiment(config).experiment)
    told = str(caught.value)
    assert f"{config}: dataset 'ptb' cannot be divided into folds: it has no option 'fold'\nallowed: " in told
    assert "mnist" in told.rpartition("allowed: ")[2].split(", ")


def test_the_fold_is_not_set(config: Path) -> None:
    result = cv(config, "--set", "data.fold=null")
    assert "--set data.fold=null: cv gives each run its own data.fold" in str(result.exception)


def test_folds_belong_to_the_settings(config: Path, tmp_path: Path, here: list[list[str]]) -> None:
    cv(config, "--folds", 2, "-o", tmp_path / "cv", "--set", "trainer.epochs=1", "--quiet")
    result = cv(config, "--folds", 3, "-o", tmp_path / "cv", "--set", "trainer.epochs=1")
    assert "data.fold.of: 2 -> 3" in str(result.exception)
    assert len(here) == 4


def test_labels_of_other_folds_are_not_added() -> None:
    one = {"state": "finished", "classes": {"a": {}}, "confusion": [[1]]}
    assert repeats.pool_confusion([one, {**one, "classes": {"b": {}}}]) is None
    assert repeats.pool_confusion([{"state": "finished"}]) is None
    assert repeats.pool_confusion([one, one]) == (["a"], [[2]])


def test_the_test_files_of_idx_sets_are_not_there(config: Path) -> None:
    root = Path(load_experiment(config).experiment.data.options["root"])
    assert locate_image_set("mnist", root).list_missing(FILES["test"])
