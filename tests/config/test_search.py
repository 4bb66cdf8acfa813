"""The `search` section: sound ones are read, and every fault is told with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from dltrain.config.experiment import load_experiment
from dltrain.config.schema import build_json_schema
from dltrain.config.search import Dimension
from dltrain.errors import ConfigError

BASE = """\
task: image_classification
data: mnist
model: {name: mlp, hidden: [32]}
optimizer: {name: adam, learning_rate: 1e-3}
"""


@pytest.fixture
def config(tmp_path: Path) -> Any:
    def write(space: str = "", search: str = "", name: str = "a.yaml", base: str = BASE) -> Path:
        path = tmp_path / name
        inside = f"  space:\n    {space}\n" if space else ""
        path.write_text(f"{base}search:\n{search}{inside}")
        return path

    return write


def test_a_sound_section_is_read_and_fit_passes_over_it(config: Any) -> None:
    space = "\n    ".join(
        [
            "optimizer.learning_rate: {low: 1e-4, high: 1, log: true}",
            "optimizer.momentum: [0.5, 0.9]",
            "optimizer.name: [sgd, adam]",
            "model.hidden: [[16], [32, 16]]",
            "data.batch_size: {low: 16, high: 64, step: 16}",
            "data.augment: [null, {rotation_degrees: 10}]",
            "data.root: [1.10, 'no']",
            "trainer.clip_norm: {low: 1, high: 9}",
            "weights.freeze: null",
        ]
    )
    loaded = load_experiment(config(space, "  trials: 5\n  sampler: random\n  pruner: none\n  warmup_epochs: 2\n"))
    search = loaded.search
    assert search is not None
    assert (search.trials, search.sampler, search.pruner, search.warmup_epochs) == (5, "random", "none", 2)
    assert search.dimensions == (
        Dimension("optimizer.name", ("sgd", "adam")),
        Dimension("optimizer.learning_rate", (), 1e-4, 1.0, log=True),
        Dimension("optimizer.momentum", ("0.5", "0.9"), names=frozenset(["sgd"])),
        Dimension("model.hidden", ("[16]", "[32, 16]")),
        Dimension("data.batch_size", (), 16, 64, step=16),
        Dimension("data.augment", ("null", "{rotation_degrees: 10}")),
        Dimension("data.root", ("1.10", '"no"')),
        Dimension("trainer.clip_norm", (), 1.0, 9.0),
    )
    kinds = {each.path: type(each.low) for each in search.dimensions if not each.values}
    assert kinds == {"optimizer.learning_rate": float, "data.batch_size": int, "trainer.clip_norm": float}
    momentum = search.dimensions[2]
    assert momentum.applies({"optimizer.name": "sgd"})
    assert not momentum.applies({"optimizer.name": "adam"})
    assert "search" not in loaded.experiment.resolved()
    assert (
        load_experiment(config(space, name="b.yaml")).experiment
        == load_experiment(config(base=BASE + "#", search="")).experiment
    )


def test_a_child_adds_to_its_parents_space_and_drops_it(config: Any, tmp_path: Path) -> None:
    config("model.dropout: [0, 0.5]", "  trials: 3\n", name="parent.yaml")
    path = tmp_path / "child.yaml"
    path.write_text("extends: parent.yaml\nsearch: {space: {model.dropout: null, data.batch_size: [8, 16]}}")
    search = load_experiment(path, ["search.trials=7"]).search
    assert search is not None
    assert (search.trials, [each.path for each in search.dimensions]) == (7, ["data.batch_size"])
    assert load_experiment(path, ["search=null"]).search is None


@pytest.mark.parametrize(
    ("space", "place", "told"),
    [
        ("optimizer.learning_rat: [1]", "7:15", "'learning_rat' is not an option of optimizer 'adam'"),
        ("optimizer.learning_rat: [1]", "7:15", "did you mean 'learning_rate'?"),
        ("optimizer.learning_rate: [0.1, -1]", "7:36", "optimizer.learning_rate must be a number > 0, found -1"),
        ("optimizer.learning_rate: {low: 0, high: 1}", "7:36", "optimizer.learning_rate must be a number > 0, found 0"),
        ("optimizer.name: [adam, sdg]", "7:28", "optimizer 'sdg' is not known"),
        ("model.name: [mlp, rnn]", "7:23", "model 'rnn' needs vocabulary, but task 'image_classification' provides"),
        ("modl.name: [cnn]", "7:5", "'modl' is not a section of a config"),
        ("learning_rate: [1]", "7:5", "'learning_rate' belongs to 'optimizer'"),
        ("model: [cnn]", "7:5", "'model' is a section; name one of its options, such as model.name"),
        ("trainer: [1]", "7:5", "'trainer' is a section; name one of its options, such as trainer.epochs"),
        ("seed: [1, 2]", "7:5", "'seed' is not searched over: a lucky seed is no better setting"),
        ("data.name: [mnist]", "7:5", "'data.name' is not searched over: scores on different data cannot be compared"),
        ("plugins: [a.py]", "7:5", "'plugins' is not searched over; name an option of another section"),
        ("model.hidden: 32", "7:19", "model.hidden needs a list of values or a range, found 32"),
        ("model.hidden: []", "7:19", "model.hidden has no values to choose from"),
        ("model.dropout: [0.1, 0.1]", "7:26", "model.dropout has the value 0.1 twice"),
        ("model.hidden: {low: 1, high: 2}", "7:19", "model.hidden is no number, so it has no range; list its values"),
        (
            "model.dropout: {low: 0.5, high: 0.1}",
            "7:26",
            "the low end of model.dropout must be below the high end, 0.1",
        ),
        ("model.dropout: {low: 0, high: 0.5, log: true}", "7:26", "the low end of model.dropout must be > 0 where log"),
        ("model.dropout: {low: 0.1, high: 0.5, log: true, step: 0.1}", "7:59", "model.dropout has both a step and log"),
        (
            "trainer.epochs: {low: 1, high: 9, step: 0.5}",
            "7:45",
            "trainer.epochs is an integer, so its step must be one",
        ),
        ("trainer.epochs: {low: 1.5, high: 9}", "7:27", "trainer.epochs must be an integer >= 1, found 1.5"),
        ("trainer.epochs: {low: 1}", "7:21", "a range needs the option 'high': number"),
        ("trainer.epochs: {low: a, high: 9}", "7:27", "search.space.trainer.epochs.low must be a number, found 'a'"),
        (
            "data.augment.rotation_degrees: [10, 200]",
            "7:41",
            "data.augment.rotation_degrees must be a number in [0, 180]",
        ),
    ],
)
def test_every_value_is_checked_at_its_place(space: str, place: str, told: str, config: Any) -> None:
    path = config(space)
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    assert f"{path}:{place}: error: " in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("  trials: 0\n  space: {model.dropout: [0]}\n", "search.trials must be an integer >= 1 or null, found 0"),
        ("  sampler: grids\n  space: {model.dropout: [0]}\n", "search.sampler cannot be 'grids'"),
        (
            "  sampler: grid\n  space: {model.dropout: {low: 0.1, high: 0.5}}\n",
            "a grid needs the values of model.dropout: write a list, or a range with a step",
        ),
        (
            "  sampler: grid\n  space: {data.batch_size: {low: 8, high: 64, log: true}}\n",
            "a grid needs the values of data.batch_size: write a list, or a range with a step",
        ),
        ("  pruner: asha\n  reduction: 1\n  space: {model.dropout: [0]}\n", "search.reduction must be an integer >= 2"),
        ("  trails: 3\n  space: {model.dropout: [0]}\n", "'trails' is not an option of the search section"),
        ("  trials: 3\n", "the search section needs the option 'space': mapping of paths to lists of values or ranges"),
        ("  space: {}\n", "search.space names no option; write optimizer.learning_rate: {low: 1e-4"),
        ("  space: [1]\n", "search.space must name options, found a list"),
        ("  - 3\n", "search must be a mapping of options, found a list"),
    ],
)
def test_the_sections_own_options_are_checked(search: str, told: str, config: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(config(search=search))
    assert told in str(caught.value)


def test_an_option_that_only_some_choices_have_is_checked_with_those(config: Any) -> None:
    space = "optimizer.name: [adam, sgd]\n    optimizer.momentum: [0.5, 2]"
    with pytest.raises(ConfigError) as caught:
        load_experiment(config(space))
    assert "8:31: error: optimizer.momentum must be a number in [0, 1), found 2" in str(caught.value)
    assert "1 fault in " in str(caught.value)


@pytest.mark.slow
def test_the_schema_knows_the_section(config: Any) -> None:
    schema = build_json_schema()
    good = yaml.safe_load(
        config("model.dropout: [0.1]\n    trainer.epochs: {low: 1, high: 3}", "  trials: 3\n").read_text()
    )
    good["optimizer"]["learning_rate"] = 0.001
    jsonschema.validate(good, schema)
    for wrong in ({"trials": 0}, {"space": {"a": 1}}, {"space": {"a": {"low": 1}}}, {"trails": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, "search": wrong}, schema)
