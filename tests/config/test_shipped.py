"""The configs and recipes that come with dltrain, by name."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from dltrain.config.experiment import load_experiment
from dltrain.config.shipped import find_recipe, find_shipped, list_recipes, list_shipped, list_shipped_names
from dltrain.errors import ConfigError
from dltrain.runs.finding import find_config
from support.commands import call, good
from support.pages import ROOT


def test_all_configs_and_recipes_are_listed_with_a_sentence() -> None:
    assert [each.name for each in list_shipped()] == sorted(path.stem for path in ROOT.glob("configs/*.yaml"))
    assert list_shipped_names() == [each.name for each in list_shipped()]
    programs = {path.name for path in ROOT.glob("recipes/*")} - {"digit_images.py", "train_and_require", "__pycache__"}
    assert {each.name for each in list_recipes()} == programs
    for each in (*list_shipped(), *list_recipes()):
        assert 15 < len(each.summary) < 200, each
        assert each.summary.endswith("."), each


def test_names_are_found_with_and_without_suffix() -> None:
    found = find_shipped("mnist_cnn")
    assert found is not None
    assert found.samefile(ROOT / "configs" / "mnist_cnn.yaml")
    assert find_shipped("mnist_cnn.yaml") == found
    for name in ("mnist_cn", "mnist_cnn.txt", "configs/mnist_cnn", "../mnist_cnn", "", ".", "..", "/", "a\0b"):
        assert find_shipped(name) is None, name
    assert find_recipe("mnist_cnn") is not None
    assert find_recipe("train_and_require") is None


@pytest.mark.parametrize("name", list_shipped_names())
def test_every_config_is_sound_and_its_paths_start_from_the_working_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load_experiment(Path(name)).experiment
    assert experiment.warnings == ()
    for place in experiment.places.values():
        for path in place if isinstance(place, list) else [place]:
            assert Path(path).parent.is_relative_to(tmp_path), path


def test_a_config_that_is_named_by_its_path_keeps_its_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load_experiment(ROOT / "configs" / "mnist_cnn.yaml").experiment
    assert experiment.places["data.root"] == str(ROOT / "data")


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("iris_dense.yaml").write_text("extends: iris_dense\nseed: 9\n")
    assert load_experiment(Path("iris_dense.yaml")).experiment.seed == 9
    assert load_experiment(Path("iris_dense")).experiment.seed == 0
    Path("mine.yaml").write_text("extends: mnist_cnn\nseed: 3\n")
    assert load_experiment(Path("mine.yaml")).experiment.seed == 3


def test_a_config_by_name_trains_in_the_working_directory() -> None:
    assert find_config(Path("mnist_cnn")) == (Path("mnist_cnn"), "mnist_cnn")
    assert find_config(Path("-")) == (Path("-"), "stdin")


def test_a_misspelt_name_is_answered_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for written in ("mnist_cn", "configs/mnist_cnn.yaml", "mnist-cnn.yml"):
        with pytest.raises(ConfigError, match="there is no such file\n    did you mean 'mnist_cnn'"):
            load_experiment(Path(written))


def test_a_config_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stream = io.TextIOWrapper(io.BytesIO(b"extends: mnist_cnn\ndata: {root: digits}\nseed: 5\n"))
    monkeypatch.setattr(sys, "stdin", stream)
    for _ in range(2):  # as the trials of a sweep read it
        experiment = load_experiment(Path("-")).experiment
        assert (experiment.seed, experiment.places["data.root"]) == (5, str(tmp_path / "digits"))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ConfigError, match="-: error: the file cannot be read: standard input is closed"):
        load_experiment(Path("-"))


@pytest.mark.parametrize("by_name", [False, True])
def test_recipes_train_in_the_working_directory(by_name: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `dltrain` that prints its words, beside the Python that runs this, takes the place of the real one."""
    program = tmp_path / "bin" / "dltrain"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\npwd\nfor word in "$@"; do echo "$word"; done\n')
    program.chmod(0o755)
    script = (
        f"import sys; sys.executable = {str(program)!r}; sys.argv = ['dltrain', 'recipe', 'mnist_cnn', '1']\n"
        "from dltrain.cli.main import main; main()"
    )
    by_path = [ROOT / "recipes" / "mnist_cnn", "1"]
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = [sys.executable, "-c", script] if by_name else by_path
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == str(tmp_path)
    assert Path(lines[2]).samefile(ROOT / "configs" / "mnist_cnn.yaml")
    assert lines[3:5] == ["-o", "runs/mnist_cnn-seed1"]


def test_recipes_are_listed_and_a_misspelt_one_is_answered() -> None:
    assert [line.split()[0] for line in good("recipe").stdout.splitlines()] == [each.name for each in list_recipes()]
    told = str(call("recipe", "mnist_cn").exception)
    assert "recipe 'mnist_cn' is not known\nallowed: demo, " in told
    assert told.endswith("did you mean 'mnist_cnn'?")
