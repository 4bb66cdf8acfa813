"""The commands `config check|show|schema`, `list` and `describe`, called as the command line calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from dltrain.cli import config, describe
from dltrain.errors import ConfigError, UsageError

PLUGIN = '''
from dltrain.data.images.options import Augmentation
from dltrain.options import PositiveInt
from dltrain.registry import models, tasks, datasets

@tasks.register("sorting", data="cards", sizes=("cards",))
def sorting(assets):
    """Cards in order."""

@datasets.register("deck", data="cards")
def deck(name, seed, assets, *, augment: Augmentation | None = None):
    """A deck of cards."""

@models.register("sorter")
def sorter(cards, *, rounds: PositiveInt, hidden: int = 3):
    """Sorts.

    By a paper.

    Options:
        rounds: how often.
    """
'''
BASE = "task: sorting\ndata: deck\nmodel: {name: sorter, rounds: 2}\nplugins: [plugin.py]\n"

app = typer.Typer()
app.add_typer(config.app, name="config")
app.command("list")(describe.list_names)
app.command("describe")(describe.describe)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Path("plugin.py").write_text(PLUGIN)
    Path("a.yaml").write_text(BASE)


def run(*words: str) -> str:
    result: Any = CliRunner().invoke(app, list(words))
    if result.exception is not None:
        raise result.exception
    return str(result.stdout)


def test_check() -> None:
    expected = "a.yaml: ok\nsorting: sorter on deck, adam with constant schedule, {}, seed 0\n"
    assert run("config", "check", "a.yaml") == expected.format("10 epochs")
    assert run("config", "check", "a.yaml", "--set", "trainer.epochs=1") == expected.format("1 epoch")


def test_check_raises_what_it_finds() -> None:
    with pytest.raises(ConfigError, match=r"2 faults in a\.yaml; nothing was started"):
        run("config", "check", "a.yaml", "--set", "seed=-1", "--set", "trainer.epochs=0")


def test_show() -> None:
    tree = yaml.safe_load(run("config", "show", "a.yaml", "--set", "seed=4"))
    assert (tree["seed"], tree["model"]) == (4, {"name": "sorter", "rounds": 2, "hidden": 3})
    assert json.loads(run("config", "show", "a.yaml", "--set", "seed=4", "--json")) == tree


def test_show_origins() -> None:
    lines = run("config", "show", "a.yaml", "--origin", "--set", "seed=4").splitlines()
    assert "seed: 4  # --set" in lines
    assert "  rounds: 2  # a.yaml:3:31" in lines
    assert "  hidden: 3  # default" in lines
    assert lines[-1].endswith(".py]  # a.yaml:4:11")
    values = [line for line in lines if not line.endswith(":")]
    assert all("  # " in line for line in values)
    shown = json.loads(run("config", "show", "a.yaml", "--origin", "--json"))
    assert shown["origins"]["model.name"] == "a.yaml:3:15"


def test_schema() -> None:
    schema = json.loads(run("config", "schema", "--plugin", "plugin.py"))
    assert "model.sorter" in schema["$defs"]
    assert "model.sorter" not in json.loads(run("config", "schema"))["$defs"]


def test_list() -> None:
    lines = run("list", "datasets", "--plugin", "plugin.py").splitlines()
    assert any(line.split() == ["deck", "A", "deck", "of", "cards."] for line in lines)
    rows = json.loads(run("list", "model", "--plugin", "plugin.py", "--json"))
    assert {"name": "sorter", "summary": "Sorts.", "module": "plugin.py"} in rows
    assert any(line.startswith("cnn ") for line in run("list", "models").splitlines())


def test_list_of_an_unknown_kind() -> None:
    with pytest.raises(UsageError) as caught:
        run("list", "modles")
    assert str(caught.value) == (
        "'modles' is not a kind of registered name\n"
        "allowed: models, datasets, tasks, optimizers, schedules, observers, losses, metrics, "
        "augmentations\ndid you mean 'models'?"
    )


def test_describe() -> None:
    assert run("describe", "model", "sorter", "--plugin", "plugin.py") == (
        "model sorter\n"
        "\n"
        "  Sorts.\n"
        "\n"
        "  By a paper.\n"
        "\n"
        "options:\n"
        "  rounds  integer >= 1; required\n"
        "          how often.\n"
        "  hidden  integer; default 3\n"
    )
    assert "\noptions:\n  goal  text or null; default null\n" in run(
        "describe", "tasks", "sorting", "--plugin", "plugin.py"
    )
    assert "rotation_degrees  number in [0, 180]; default 0.0\n" in run(
        "describe", "dataset", "deck", "--plugin", "plugin.py"
    )


def test_describe_as_json() -> None:
    assert json.loads(run("describe", "model", "sorter", "--plugin", "plugin.py", "--json")) == {
        "kind": "model",
        "name": "sorter",
        "summary": "Sorts.",
        "doc": "Sorts.\n\nBy a paper.",
        "module": "plugin.py",
        "provided": ["cards"],
        "options": [
            {"name": "rounds", "type": "integer >= 1", "description": "how often."},
            {"name": "hidden", "type": "integer", "description": "", "default": 3},
        ],
    }


def test_describe_of_an_unknown_name() -> None:
    with pytest.raises(UsageError) as caught:
        run("describe", "task", "image_clasification")
    first, _, last = str(caught.value).splitlines()
    assert (first, last) == ("task 'image_clasification' is not known", "did you mean 'image_classification'?")
