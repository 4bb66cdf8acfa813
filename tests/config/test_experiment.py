"""Loading: sections, overrides, parents, the environment, plug-ins; each fault with its exact text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dltrain.config import experiment as experiment_module
from dltrain.config.catalogue import Catalogue
from dltrain.config.experiment import Experiment, Loaded, load_experiment, load_tree
from dltrain.config.values import Choice
from dltrain.data.images.options import Augmentation
from dltrain.errors import ConfigError
from dltrain.options import Plan

PLUGIN = """
from typing import Annotated, Literal

from annotated_types import Ge

from dltrain.data.images.options import Augmentation
from dltrain.options import Fraction, PositiveInt, Widths
from dltrain.registry import datasets, models, optimizers, schedules, tasks

@tasks.register("sorting", data="cards", sizes=("cards", "suits"))
def sorting(assets, *, strict: bool = True): ...

@tasks.register("singing", data="songs", sizes=("voices",))
def singing(assets): ...

@datasets.register("deck", data="cards")
def deck(name, seed, assets, *, root: str = "data", augment: Augmentation | None = None, label: str | None = None,
         pair: tuple[int, float] = (1, 2.0), weights: dict[str, float] = {}, either: int | str = 1,
         step: Literal["epoch"] | PositiveInt = "epoch",
         limits: list[list[PositiveInt]] = [], power: Literal[1, 2] = 1): ...

@datasets.register("choir", data="songs")
def choir(name, seed, assets): ...

@models.register("sorter")
def sorter(cards, *, hidden: PositiveInt = 64, widths: Widths = [8], dropout: Fraction = 0.0,
           activation: Literal["relu", "gelu"] = "relu", bias: bool = True): ...

@models.register("shuffler")
def shuffler(cards, suits, *, rounds: PositiveInt, hidden: int | None = None): ...

@models.register("singer")
def singer(voices, *, tempo: Annotated[int, Ge(1)] = 60): ...

@optimizers.register("steady")
def steady(parameters, *, learning_rate: float = 0.1): ...
"""

BASE = "task: sorting\ndata: deck\nmodel: sorter\nplugins: [plugin.py]\n"
END = "; nothing was started"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with the plug-in and a sound config, a.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("plugin.py").write_text(PLUGIN)
    Path("a.yaml").write_text(BASE)
    return tmp_path


def loaded(text: str = BASE, *flags: str) -> Loaded:
    Path("a.yaml").write_text(text)
    return load_experiment(Path("a.yaml"), flags)


def message(text: str = BASE, *flags: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(text, *flags)
    assert caught.value.exit_code == 2
    return str(caught.value)


def fault(text: str = BASE, *flags: str) -> str:
    """The text of the only fault."""
    report, _, end = message(text, *flags).rpartition("\n")
    assert end == f"1 fault in a.yaml{END}"
    return report


def test_defaults() -> None:
    experiment = loaded().experiment
    assert experiment.model == Choice(
        "sorter", {"hidden": 64, "widths": [8], "dropout": 0.0, "activation": "relu", "bias": True}
    )
    assert experiment.task == Choice("sorting", {"strict": True, "goal": None})
    assert (experiment.optimizer.name, experiment.schedule.name) == ("adam", "constant")
    assert (experiment.trainer, experiment.seed, experiment.source) == (Plan(), 0, "a.yaml")
    assert experiment.plugins == (Path("plugin.py").absolute(),)


def test_values_take_the_type_of_their_option() -> None:
    text = """
task: {name: sorting, strict: false}
data:
  name: deck
  root: 1.10
  label: no
  pair: [1, 2]
  weights: {a: 1, b: 1e-3}
  either: 1:30
  step: 3
  limits: [[1], [2, 3]]
  power: 2
  augment: {shift: 0, scale: [1, 2]}
model: {name: sorter, dropout: 0}
optimizer: {learning_rate: 1e-3}
plugins: [plugin.py]
seed: 0x10
"""
    experiment = loaded(text).experiment
    augment = Augmentation(shift=0.0, scale=[1.0, 2.0])
    assert experiment.data.options == {
        "root": "1.10", "label": "no", "pair": (1, 2.0), "weights": {"a": 1.0, "b": 0.001}, "either": "1:30", "step": 3,
        "limits": [[1], [2, 3]], "power": 2, "augment": augment,
    }  # fmt: skip
    assert type(experiment.data.options["pair"][1]) is float
    assert type(experiment.model.options["dropout"]) is float
    assert experiment.optimizer.name == "adam"
    assert experiment.optimizer.options["learning_rate"] == 0.001
    assert experiment.seed == 16


@pytest.mark.parametrize(
    ("value", "kept"),
    [("no", "no"), ("1e-3", "1e-3"), ("1.10", "1.10"), ("true", "true"), ("'~'", "~"), ("010", "010"), ('""', "")],
)
def test_text_stays_what_was_written(value: str, kept: str) -> None:
    assert loaded(BASE.replace("deck", f"{{name: deck, root: {value}}}")).experiment.data.options["root"] == kept


@pytest.mark.parametrize(("value", "kept"), [("null", None), ("nul", "nul"), ("1", "1"), ("'null'", "null")])
def test_text_or_null(value: str, kept: str | None) -> None:
    assert loaded(BASE.replace("deck", f"{{name: deck, label: {value}}}")).experiment.data.options["label"] == kept


@pytest.mark.parametrize(("value", "kept"), [("1", 1), ("'1'", "1"), ("1.5", "1.5"), ("true", "true"), ("x", "x")])
def test_a_number_or_text(value: str, kept: int | str) -> None:
    either = loaded(BASE.replace("deck", f"{{name: deck, either: {value}}}")).experiment.data.options["either"]
    assert either == kept
    assert type(either) is type(kept)


SORTER = "hidden, widths, dropout, activation, bias"
TRAINER = ", ".join(Plan.__dataclass_fields__)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("model: {name: sorter, hidden: 0}",
         "a.yaml:3:31: error: model.hidden must be an integer >= 1, found 0\n"
         "    model: {name: sorter, hidden: 0}\n"
         "                                  ^"),
        ("model: {name: sorter, hidden: true}", "model.hidden must be an integer >= 1, found true"),
        ("model: {name: sorter, hidden: 1e1}", "model.hidden must be an integer >= 1, found 1e1 (write 10)"),
        ("model: {name: sorter, hidden: 1.5}", "model.hidden must be an integer >= 1, found 1.5"),
        ("model: {name: sorter, hidden: null}", "model.hidden must be an integer >= 1, found null"),
        ("model: {name: sorter, hidden: [1]}", "model.hidden must be an integer >= 1, found a list of 1"),
        ("model: {name: sorter, hidden: {a: 1}}", "model.hidden must be an integer >= 1, found a mapping"),
        ("model: {name: sorter, hidden: '10'}",
         "model.hidden must be an integer >= 1, found '10' (the quotes make it text)"),
        ("model: {name: sorter, hidden: 010}",
         "model.hidden must be an integer >= 1, found '010' (the leading zero makes it text: write 10)"),
        ("model: {name: sorter, dropout: 1}", "model.dropout must be a number in [0, 1), found 1"),
        ("model: {name: sorter, dropout: .nan}", "model.dropout must be a number in [0, 1), found .nan (it is not "
         "finite)"),
        ("model: {name: sorter, dropout: 1e999}",
         "model.dropout must be a number in [0, 1), found 1e999 (it is not finite)"),
        ("model: {name: sorter, bias: yes}", "model.bias must be true or false, found 'yes' (write true)"),
        ("model: {name: sorter, bias: Off}", "model.bias must be true or false, found 'Off' (write false)"),
        ("model: {name: sorter, bias: 1}", "model.bias must be true or false, found 1"),
        ("model: {name: sorter, widths: []}", "model.widths must be a non-empty list of integers >= 1, found an "
         "empty list"),
        ("model: {name: sorter, widths: 3}", "model.widths must be a non-empty list of integers >= 1, found 3 "
         "(write [3])"),
        ("model: {name: sorter, widths: [1, 0]}", "model.widths[1] must be an integer >= 1, found 0"),
        ("model: {name: sorter, activation: relo}",
         "a.yaml:3:35: error: model.activation cannot be 'relo'\n"
         "    model: {name: sorter, activation: relo}\n"
         "                                      ^\n"
         "    allowed: relu, gelu\n"
         "    did you mean 'relu'?"),
        ("model: {name: sorter, hiden: 4}",
         "a.yaml:3:23: error: 'hiden' is not an option of model 'sorter'\n"
         "    model: {name: sorter, hiden: 4}\n"
         "                          ^\n"
         f"    allowed: {SORTER}\n"
         "    did you mean 'hidden'?"),
        ("model: {name: sorter, epochs: 4}",
         "a.yaml:3:23: error: 'epochs' is not an option of model 'sorter'; 'epochs' belongs to 'trainer'\n"
         "    model: {name: sorter, epochs: 4}\n"
         "                          ^\n"
         f"    allowed: {SORTER}"),
        ("model: {name: sorter, root: 4}", "'root' is not an option of model 'sorter'; 'root' belongs to 'data'"),
        ("model: {name: sorter, seed: 4}",
         "'seed' is not an option of model 'sorter'; 'seed' is a section of its own, at the left margin"),
        ("model: {name: sorter, tempo: 4}", "'tempo' is not an option of model 'sorter'; it is one of singer"),
        ("model: {name: shuffler}", "model 'shuffler' needs the option 'rounds': integer >= 1"),
        ("model: sortr",
         "a.yaml:3:8: error: model 'sortr' is not known\n"
         "    model: sortr\n"
         "           ^\n"
         "    allowed: cnn, lenet, mlp, shuffler, singer, sorter\n"
         "    did you mean 'sorter'?"),
        ("model: singer",
         "a.yaml:3:8: error: model 'singer' needs voices, but task 'sorting' provides cards, suits\n"
         "    model: singer\n"
         "           ^\n"
         "    allowed: shuffler, sorter"),
        ("model: {hidden: 3}", "model.name is missing"),
        ("model: {name: [a]}", "model.name must be a name, found a list"),
        ("model: {name: null}", "model.name must be a name, found null"),
        ("model: [sorter]", "model must be a name, or a mapping with a name and options, found a list"),
        ("model:", "model must be a name, or a mapping with a name and options, found null"),
    ],
)  # fmt: skip
def test_faults_of_a_choice(line: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = experiment_module.load_package_catalogue()
    known = tuple(entry for entry in shipped.entries if entry.kind != "model" or entry.name in ("cnn", "lenet", "mlp"))
    monkeypatch.setattr(experiment_module, "load_package_catalogue", lambda: Catalogue(known))
    found = fault(BASE.replace("model: sorter", line))
    if "\n" in expected:
        assert found == expected
    else:
        assert found.splitlines()[0].partition(": error: ")[2] == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("pair: [1]", "a.yaml:2:26: error: data.pair must be a list of 2: integer, number, found a list of 1"),
        ("pair: [1, x]", "a.yaml:2:30: error: data.pair[1] must be a number, found 'x'"),
        ("weights: {a: x}", "a.yaml:2:33: error: data.weights.a must be a number, found 'x'"),
        ("limits: [[1], [0]]", "a.yaml:2:35: error: data.limits[1][0] must be an integer >= 1, found 0"),
        ("either: [1]", "a.yaml:2:28: error: data.either must be an integer or text, found a list of 1"),
        ("step: 0", "a.yaml:2:26: error: data.step must be epoch or integer >= 1, found 0"),
        ("power: 3", "a.yaml:2:27: error: data.power cannot be 3"),
        ("power: true", "a.yaml:2:27: error: data.power cannot be true"),
        ("root: null", "a.yaml:2:26: error: data.root must be text, found null"),
        ("root: [a]", "a.yaml:2:26: error: data.root must be text, found a list of 1"),
        ("augment: 3", "a.yaml:2:29: error: data.augment must be a mapping of options, found 3"),
        ("augment: {shift: 1}", "a.yaml:2:37: error: data.augment.shift must be a number in [0, 1), found 1"),
        ("augment: {flip: up}", "a.yaml:2:36: error: data.augment.flip cannot be 'up'"),
        ("augment: {epochs: 1}",
         "a.yaml:2:30: error: 'epochs' is not an option of data.augment; 'epochs' belongs to 'trainer'"),
        ("augment: {shft: 1}", "a.yaml:2:30: error: 'shft' is not an option of data.augment"),
        ("augment: {name: x}", "a.yaml:2:30: error: 'name' is not an option of data.augment"),
    ],
)  # fmt: skip
def test_faults_of_nested_values(options: str, expected: str) -> None:
    assert fault(BASE.replace("deck", f"{{name: deck, {options}}}")).splitlines()[0] == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("seed: -1", "a.yaml:5:7: error: seed must be an integer in [0, 9223372036854775807], found -1\n"
         "    seed: -1\n          ^"),
        ("trainer: 3", f"a.yaml:5:10: error: trainer must be a mapping of options, found 3\n    trainer: 3\n"
         f"             ^\n    allowed: {TRAINER}"),
        ("trainer: {epoch: 3}",
         "a.yaml:5:11: error: 'epoch' is not an option of the trainer section\n    trainer: {epoch: 3}\n"
         "              ^\n"
         f"    allowed: {TRAINER}\n    did you mean 'epochs'?"),
        ("trainer: {momentum: 3}",
         "a.yaml:5:11: error: 'momentum' is not an option of the trainer section\n    trainer: {momentum: 3}\n"
         "              ^\n"
         f"    allowed: {TRAINER}"),
        ("tariner: {}",
         "a.yaml:5:1: error: 'tariner' is not a section of a config\n    tariner: {}\n    ^\n"
         "    allowed: task, seed, data, model, optimizer, schedule, weights, trainer, observers, search, "
         "extends, plugins\n"
         "    did you mean 'trainer'?"),
        ("trainer: {ema: 0.9, nt_asgd: 5}",
         "a.yaml:5:10: error: trainer: ema and nt_asgd both say how weights are averaged; give one, and null for the "
         "other\n    trainer: {ema: 0.9, nt_asgd: 5}\n             ^"),
        ("epochs: 3",
         "a.yaml:5:1: error: 'epochs' is not a section of a config; 'epochs' belongs to 'trainer'\n    epochs: 3\n"
         "    ^\n"
         "    allowed: task, seed, data, model, optimizer, schedule, weights, trainer, observers, search, "
         "extends, plugins"),
        ("optimizer: {name: steady, lr: 1}",
         "a.yaml:5:27: error: 'lr' is not an option of optimizer 'steady'\n    optimizer: {name: steady, lr: 1}\n"
         "                              ^\n    allowed: learning_rate\n    did you mean 'learning_rate'?"),
    ],
)  # fmt: skip
def test_faults_of_other_sections(line: str, expected: str) -> None:
    assert fault(BASE + line) == expected


def test_data_that_is_not_the_tasks() -> None:
    assert fault(BASE.replace("deck", "choir")) == (
        "a.yaml:2:7: error: dataset 'choir' holds songs, but task 'sorting' takes cards\n"
        "    data: choir\n"
        "          ^\n"
        "    allowed: deck"
    )


def test_missing_sections_and_all_faults_in_one_ordered_report() -> None:
    text = "# a comment\ntrainer: {epochs: 0, compile: 2}\ntask: sorting\nseed: x\nplugins: [plugin.py]\n"
    report = message(text, "trainer.epochs=-1", "seeds=3")
    heads = [line for line in report.splitlines() if not line.startswith("    ")]
    assert heads == [
        "a.yaml:1:1: error: the section 'data' is missing",
        "a.yaml:1:1: error: the section 'model' is missing",
        "a.yaml:2:31: error: trainer.compile must be true or false, found 2",
        "a.yaml:4:7: error: seed must be an integer in [0, 9223372036854775807], found 'x'",
        "--set: error: trainer.epochs must be an integer >= 1, found -1",
        "--set: error: 'seeds' is not a section of a config",
        f"6 faults in a.yaml{END}",
    ]


def test_a_long_report_is_cut() -> None:
    text = BASE + "".join(f"x{number}: 1\n" for number in range(60))
    lines = message(text).splitlines()
    assert lines[-2:] == ["... and 10 more", f"60 faults in a.yaml{END}"]


def test_a_long_name_is_clipped() -> None:
    first = message(BASE.replace("sorter", "s" * 10_000)).splitlines()[0]
    assert first == f"a.yaml:3:8: error: model '{'s' * 393}..."


def test_a_long_line_is_clipped_around_the_caret() -> None:
    line = f"model: {{name: sorter, widths: [{'1, ' * 100}0, {'1, ' * 100}1]}}"
    _, shown, caret = fault(BASE.replace("model: sorter", line)).splitlines()
    assert len(shown) == 104
    assert shown.startswith("    ...")
    assert shown.endswith("...")
    assert shown[caret.index("^")] == "0"


def test_the_caret_stands_under_wide_characters_and_escapes_are_harmless() -> None:
    _, shown, caret = fault(BASE + "'語語\u0301': 1").splitlines()[:3]
    assert (shown, caret) == ("    '語語\u0301': 1", "    ^")
    _, shown, caret = fault(BASE.replace("model: sorter", "model: {name: '語', hidden: 3} # \x85")).splitlines()[:3]
    assert caret == "                  ^"
    _, shown, caret = fault(BASE.replace("model: sorter", "model: {name: sorter, activation: '語', bias: 語}")
                            .replace("activation: '語', ", "widths: ['語'], ")
                            .replace("bias: 語", "bias: true")).splitlines()  # fmt: skip
    assert shown[caret.index("^")] == "'"


# --- parents -----------------------------------------------------------------------------------------------------


def test_extends_merges_deeply_and_tells_origins() -> None:
    Path("bases").mkdir()
    Path("bases/root.yaml").write_text(
        "task: sorting\ndata: {name: deck, root: a, augment: {shift: 0.1, erase: 0.1}}\n"
        "model: {name: sorter, hidden: 3, widths: [1, 2]}\nplugins: [../plugin.py]\n"
    )
    Path("bases/middle.yaml").write_text("extends: root.yaml\nmodel: {name: sorter, widths: [5]}\nseed: 4\n")
    result = loaded("extends: bases/middle.yaml\ndata:\n  augment: {erase: 0.5}\n", "trainer.epochs=3")
    experiment = result.experiment
    assert experiment.data.options["augment"] == Augmentation(shift=0.1, erase=0.5)
    assert experiment.model.options["hidden"] == 3
    assert experiment.model.options["widths"] == [5]
    assert experiment.plugins == (Path("plugin.py").absolute(),)
    origins = result.origins
    assert origins["seed"] == "bases/middle.yaml:3:7"
    assert origins["data.augment.shift"] == "bases/root.yaml:2:46"
    assert origins["data.augment.erase"] == "a.yaml:3:20"
    assert origins["data.augment.flip"] == "default"
    assert origins["model.widths"] == "bases/middle.yaml:2:31"
    assert origins["trainer.epochs"] == "--set"
    assert origins["optimizer.name"] == "default"
    assert origins["plugins"] == "bases/root.yaml:4:11"


@pytest.mark.parametrize("child", ["model: shuffler\n", "model: {name: shuffler}\n"])
def test_another_name_replaces_the_parents_section(child: str) -> None:
    Path("base.yaml").write_text(BASE.replace("model: sorter", "model: {name: sorter, hidden: 3, bias: false}"))
    text = "extends: base.yaml\n" + child.replace("shuffler}", "shuffler, rounds: 2}")
    flags = () if "rounds" in text else ("model.rounds=2",)
    assert loaded(text, *flags).experiment.model == Choice("shuffler", {"rounds": 2, "hidden": None})


def test_the_same_name_in_shorthand_keeps_the_parents_options() -> None:
    Path("base.yaml").write_text(BASE.replace("model: sorter", "model: {name: sorter, hidden: 3}"))
    assert loaded("extends: base.yaml\nmodel: sorter\n").experiment.model.options["hidden"] == 3


def test_a_fault_of_a_parent_is_told_there() -> None:
    Path("base.yaml").write_text(BASE + "seed: x\n")
    assert fault("extends: base.yaml\n").startswith("base.yaml:5:7: error: seed must be an integer")


@pytest.mark.parametrize(
    ("extends", "expected"),
    [
        ("missing.yaml", "a.yaml:1:10: error: 'missing.yaml': there is no such file\n    extends: missing.yaml\n"
         "             ^"),
        ("bse.yaml",
         "a.yaml:1:10: error: 'bse.yaml': there is no such file\n    extends: bse.yaml\n             ^\n"
         "    did you mean 'base.yaml'?"),
        ("[base.yaml]", "a.yaml:1:10: error: extends must name a file, found a list\n    extends: [base.yaml]\n"
         "             ^"),
        ("null", "a.yaml:1:10: error: extends must name a file, found null\n    extends: null\n             ^"),
        ("' '", "a.yaml:1:10: error: extends must name a file, found ' '\n    extends: ' '\n             ^"),
        ("a.yaml",
         "a.yaml:1:10: error: the files extend each other in a circle: a.yaml -> a.yaml\n    extends: a.yaml\n"
         "             ^"),
        ("circle.yaml",
         "circle.yaml:1:10: error: the files extend each other in a circle: a.yaml -> circle.yaml -> a.yaml\n"
         "    extends: ./a.yaml\n             ^"),
        (".", "a.yaml:1:10: error: '.': this is a directory, not a file\n    extends: .\n             ^\n"
              "    allowed: a.yaml, base.yaml, circle.yaml"),
    ],
)  # fmt: skip
def test_faults_of_extends(extends: str, expected: str) -> None:
    Path("base.yaml").write_text(BASE)
    Path("circle.yaml").write_text("extends: ./a.yaml\n")
    assert fault(f"extends: {extends}\n{BASE}") == expected
    assert fault(f"extends: {extends}\nseed: 3\n") == expected  # and no section is called missing


def test_files_are_alike_by_what_stands_before_their_suffix(tmp_path: Path) -> None:
    Path("bases").mkdir()
    Path("bases/neg.yaml").write_text(BASE)
    text = "extends: bases/nothere.yaml\n"
    assert fault(text) == (
        "a.yaml:1:10: error: 'bases/nothere.yaml': there is no such file\n    extends: bases/nothere.yaml\n"
        "             ^"
    )
    assert fault("extends: bases/nge.yml\n").endswith("did you mean 'bases/neg.yaml'?")
    for number in range(64):
        Path(f"bases/{number:02}.yaml").write_text(BASE)
    assert fault("extends: bases\n").endswith(
        f"    allowed: {', '.join(f'bases/{number:02}.yaml' for number in range(8))}, ... (65 files)"
    )


# --- flags -------------------------------------------------------------------------------------------------------


def test_set() -> None:
    text = BASE.replace("model: sorter", "model: {name: sorter, hidden: 3}")
    flags = [
        "model.widths=[16,32]",
        "data.augment={shift: 0.5}",
        "data.root=x=y",
        "seed=1",
        "seed=2",
        "optimizer=steady",
    ]
    experiment = loaded(text, *flags).experiment
    assert experiment.model.options["widths"] == [16, 32]
    assert experiment.model.options["hidden"] == 3
    assert experiment.data.options["augment"] == Augmentation(shift=0.5)
    assert experiment.data.options["root"] == "x=y"
    assert experiment.seed == 2
    assert experiment.optimizer.name == "steady"


@pytest.mark.parametrize("order", [1, -1])
def test_set_of_another_model_keeps_its_options_in_any_order(order: int) -> None:
    flags = ["model=shuffler", "model.rounds=2", "model.hidden=null"][::order]
    assert loaded(BASE, *flags).experiment.model == Choice("shuffler", {"rounds": 2, "hidden": None})


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("model.hiden=4",
         "--set: error: 'hiden' is not an option of model 'sorter'\n    --set model.hiden=4\n                ^\n"
         f"    allowed: {SORTER}\n    did you mean 'hidden'?"),
        ("trainer.epochs=0",
         "--set: error: trainer.epochs must be an integer >= 1, found 0\n    --set trainer.epochs=0\n"
         "                         ^"),
        ("model.widths=[1, x]",
         "--set: error: model.widths[1] must be an integer >= 1, found 'x'\n    --set model.widths=[1, x]\n"
         "                           ^"),
        ("model.hidden.x=1",
         "--set: error: model.hidden must be an integer >= 1, found a mapping\n    --set model.hidden.x=1\n"
         "                       ^"),
        ("model.hidden=",
         "--set: error: model.hidden must be an integer >= 1, found null\n    --set model.hidden=\n"
         "                       ^"),
        ("model.hidden", "--set: error: 'model.hidden' sets nothing; write --set section.option=VALUE\n"
                         "    --set model.hidden\n                      ^"),
        ("=1", "--set: error: a name is missing here; write --set section.option=VALUE\n    --set =1\n          ^"),
        ("model..x=1",
         "--set: error: a name is missing here; write --set section.option=VALUE\n    --set model..x=1\n"
         "                ^"),
        ("model. x=1",
         "--set: error: a name is missing here; write --set section.option=VALUE\n    --set model. x=1\n"
         "                ^"),
        ("extends=b.yaml", "--set: error: extends belongs in a file, not in --set\n    --set extends=b.yaml\n"
         "          ^"),
        ("seed=[1", "--set: error: this list needs ',' or ']' here\n    --set seed=[1\n                 ^"),
        ("seed={a: 1, a: 2}",
         "--set: error: 'a' is given twice, first at --set\n    --set seed={a: 1, a: 2}\n                      ^"),
    ],
)  # fmt: skip
def test_faults_of_set(flag: str, expected: str) -> None:
    report = message(BASE, flag)
    assert expected + "\n" in report


# --- the environment ---------------------------------------------------------------------------------------------


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECK", "/cards #1, {x}")
    monkeypatch.setenv("WIDE", "16")
    monkeypatch.delenv("ABSENT", raising=False)
    text = """
task: sorting
data: {name: deck, root: "${env:DECK}/${env:ABSENT:a: b, c}", label: $${env:DECK}, either: "${env:WIDE}"}
model: {name: sorter, widths: [1, ${env:WIDE}], hidden: 7, bias: ${env:ABSENT:false}}
trainer:
  epochs: ${env:WIDE}
  device: "${env:ABSENT:cpu}"
plugins: ["${env:ABSENT:plugin}.py"]
"""
    experiment = loaded(text).experiment
    assert experiment.data.options["root"] == "/cards #1, {x}/a: b, c"
    assert experiment.data.options["label"] == "${env:DECK}"
    assert experiment.data.options["either"] == "16"
    assert experiment.model.options["widths"] == [1, 16]
    assert experiment.model.options["bias"] is False
    assert (experiment.trainer.epochs, experiment.trainer.device) == (16, "cpu")


def test_a_variable_that_a_child_overrides_need_not_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABSENT", raising=False)
    Path("base.yaml").write_text(BASE + "seed: ${env:ABSENT}\n")
    assert loaded("extends: base.yaml\nseed: 3\n").experiment.seed == 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${env:ABSENT}",
         "a.yaml:5:7: error: the environment variable ABSENT is not set; set it, or write ${env:ABSENT:default}"),
        ("${env:PRESNT_HERE}",
         "a.yaml:5:7: error: the environment variable PRESNT_HERE is not set; set it, or write "
         "${env:PRESNT_HERE:default}"),
        ("${HOME}", "a.yaml:5:7: error: '${HOME}' is not a reference; write $${ for the two characters themselves"),
        ("${env:}", "a.yaml:5:7: error: '${env:}' is not a reference; write $${ for the two characters themselves"),
        ("${env:A:${env:B}}",
         "a.yaml:5:7: error: '${env:A:${env:B}' is not a reference; write $${ for the two characters themselves"),
        ("a${env:X", "a.yaml:5:7: error: '${env:X' is not a reference; write $${ for the two characters themselves"),
        ("${env:PRESENT_HERE}", "a.yaml:5:7: error: seed must be an integer in [0, 9223372036854775807], found 'many'"),
    ],
)  # fmt: skip
def test_faults_of_the_environment(value: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABSENT", raising=False)
    monkeypatch.setenv("PRESENT_HERE", "many")
    report = message(BASE + f"seed: {value}")
    assert report.splitlines()[0] == expected
    assert ("did you mean 'PRESENT_HERE'?" in report) == ("PRESNT" in value)


# --- plug-ins ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plugins", "expected"),
    [
        ("plugin.py", "a.yaml:4:10: error: plugins must be a list of file names, found 'plugin.py'"),
        ("[[plugin.py]]", "a.yaml:4:11: error: a plug-in must name a file, found a list"),
        ("[plugin.txt]", "a.yaml:4:11: error: a plug-in is a .py file, found 'plugin.txt'"),
        ("[plugn.py]", "a.yaml:4:11: error: the plug-in 'plugn.py' does not exist"),
        ("[nowhere/plugin.py]", "a.yaml:4:11: error: the plug-in 'nowhere/plugin.py' does not exist"),
        ("[folder.py]", "a.yaml:4:11: error: the plug-in 'folder.py' cannot be read: Is a directory"),
        ("[latin.py]", "a.yaml:4:11: error: the plug-in 'latin.py' cannot be read: not UTF-8, byte 0xe9 at offset 2"),
        ("[plugin.py, other/plugin.py]",
         "a.yaml:4:22: error: two plug-ins are called plugin.py: this and 'plugin.py'; rename one"),
    ],
)  # fmt: skip
def test_faults_of_plugins(plugins: str, expected: str) -> None:
    Path("folder.py").mkdir()
    Path("latin.py").write_bytes(b"# \xe9")
    report = message(BASE.replace("[plugin.py]", plugins))
    assert expected in report.splitlines()
    assert ("did you mean 'plugin.py'?" in report) == (plugins == "[plugn.py]")


def test_a_plugin_that_cannot_be_imported_is_reported_before_what_follows_from_it() -> None:
    Path("bad.py").write_text("import dltrain.registry as r\nimport nowhere\n@r.models.register('x')\ndef x(): ...\n")
    text = BASE.replace("[plugin.py]", "[plugin.py, bad.py]").replace("model: sorter", "model: x")
    heads = [line for line in message(text).splitlines() if not line.startswith("    ")]
    assert heads == [
        "bad.py:2:1: error: the plug-in cannot be imported: ModuleNotFoundError: No module named 'nowhere'",
        "a.yaml:3:8: error: model 'x' is not known",
        f"2 faults in a.yaml{END}",
    ]


# --- the result --------------------------------------------------------------------------------------------------

ODD = "data: {name: deck, root: 'a ${env:X}', label: 'no', pair: [1, 1e-5], weights: {a: 1}, augment: {scale: [1, 2]}}"


@pytest.mark.parametrize("text", [BASE, BASE.replace("data: deck", ODD.replace("${", "$${")) + "optimizer: steady\n"])
def test_a_resolved_config_means_the_same(text: str, folder: Path) -> None:
    experiment = loaded(text).experiment
    tree = experiment.resolved()
    assert list(tree) == [
        "task",
        "seed",
        "data",
        "model",
        "optimizer",
        "schedule",
        "weights",
        "trainer",
        "observers",
        "plugins",
    ]
    assert load_tree(tree, "run") == experiment
    Path("elsewhere").mkdir()
    Path("elsewhere/b.yaml").write_text(experiment.yaml(Path("elsewhere")))
    assert load_experiment(Path("elsewhere/b.yaml")).experiment == experiment
    assert load_experiment(Path("elsewhere/b.yaml")).experiment.resolved() == tree
    if "$" not in text:  # another writer may be used where no text holds ${
        Path("elsewhere/c.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        assert load_experiment(Path("elsewhere/c.yaml")).experiment == experiment


def test_a_resolved_config_is_plain() -> None:
    tree = loaded(BASE.replace("data: deck", ODD.replace("${env:X}", ""))).experiment.resolved()
    assert tree["data"]["pair"] == [1, 1e-5]
    assert tree["data"]["augment"]["scale"] == [1.0, 2.0]
    assert tree["plugins"] == [str(Path("plugin.py").absolute())]

    def kinds(value: Any) -> set[type]:
        if isinstance(value, dict):
            return {dict}.union(*map(kinds, value.values()))
        return {list}.union(*map(kinds, value)) if isinstance(value, list) else {type(value)}

    assert kinds(tree) <= {dict, list, str, int, float, bool, type(None)}


def test_results_do_not_share_defaults() -> None:
    one, two = loaded().experiment, loaded().experiment
    assert one == two
    assert isinstance(one, Experiment)
    one.model.options["widths"].append(1)
    assert two.model.options["widths"] == [8]


def test_faults_of_a_tree_have_no_lines() -> None:
    tree = loaded().experiment.resolved()
    tree["trainer"]["epochs"] = 0
    tree["model"]["hiden"] = 3
    tree["extends"] = "x"
    with pytest.raises(ConfigError) as caught:
        load_tree(tree, "runs/x/step-1")
    lines = str(caught.value).splitlines()
    assert [line for line in lines if not line.startswith("    ")] == [
        "runs/x/step-1: error: 'extends' is not a section of a config",
        "runs/x/step-1: error: 'hiden' is not an option of model 'sorter'",
        "runs/x/step-1: error: trainer.epochs must be an integer >= 1, found 0",
        f"3 faults in runs/x/step-1{END}",
    ]
    tree = loaded().experiment.resolved()
    tree["plugins"] = ["${env:X}.py"]
    with pytest.raises(ConfigError, match=r"the plug-in '\$\{env:X\}\.py' does not exist"):
        load_tree(tree, "run")


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(Path("aa.yml"))
    assert str(caught.value) == (
        f"aa.yml: error: there is no such file\n    did you mean 'a.yaml'?\n1 fault in aa.yml{END}"
    )
    with pytest.raises(ConfigError) as caught:
        load_experiment(Path("nowhere/b.yaml"))
    assert str(caught.value) == f"nowhere/b.yaml: error: there is no such file\n1 fault in nowhere/b.yaml{END}"


def test_a_group_that_refuses_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Augmentation) -> None:
        raise ValueError("erase and flip exclude each other")

    monkeypatch.setattr(Augmentation, "__post_init__", refuse, raising=False)
    monkeypatch.setattr(Augmentation, "__init__", lambda self, **values: refuse(self))
    assert fault(BASE.replace("deck", "{name: deck, augment: {shift: 0.1}}")).splitlines()[0] == (
        "a.yaml:2:29: error: data.augment: erase and flip exclude each other"
    )


def test_checking_imports_no_torch() -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom dltrain.config.experiment import load_experiment\n"
        "from dltrain.config import generate, schema\nimport dltrain.options, dltrain.errors, dltrain.registry\n"
        "load_experiment(Path('a.yaml')); schema.build_json_schema(); generate.build_page()\n"
        "print([name for name in ('torch', 'numpy') if name in sys.modules])"
    )
    root = Path(experiment_module.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[]\n"
