"""Weights are taken over by what their indices stand for, never by position alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dltrain.capabilities import NamesIndices
from dltrain.config.catalogue import load_package_catalogue
from dltrain.core.translation import Translation, make_translation
from dltrain.core.weights import copy_matching_tensors
from dltrain.errors import UsageError
from dltrain.models.mlp import DenseNetwork
from dltrain.runs.building import construct_model
from support.commands import call, good
from support.examples import Examples, build_config, examples_of, write_config

Build = Callable[[Mapping[str, int]], nn.Module]
every_model = pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name in load_package_catalogue().names("model") for number in range(len(examples_of(name)))],
)


def weights_of(run: Path) -> dict[str, Tensor]:
    return load_file(run / "last" / "weights.safetensors")


# Language models -------------------------------------------------------------------------------------------------


def write_language(folder: Path, name: str, lines: Sequence[str]) -> Path:
    (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    config = {
        "task": {"name": "language_modelling", "samples": 0},
        "data": {
            "name": "text",
            "training": [f"{name}.txt"],
            "validation": 0.0,
            "test": ["test.txt"],
            "min_count": 1,
            "batch_size": 2,
            "sequence_length": 5,
            "root": str(folder),
        },
        "model": {"name": "rnn", "cell": "lstm", "embedding": 8, "hidden": 8, "layers": 1},
        "optimizer": {"name": "sgd", "learning_rate": 1e-12},
        "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
        "observers": [],
    }
    return write_config(folder / f"{name}.yaml", config)


def test_a_permuted_vocabulary_gives_the_same_perplexity(tmp_path: Path) -> None:
    draw = random.Random(0)
    words = [f"w{number}" for number in range(12)]
    shuffled = [draw.choices(words, k=8) for _ in range(40)]
    (tmp_path / "test.txt").write_text("\n".join(" ".join(words[::2]) for _ in range(5)) + "\n")
    first = write_language(tmp_path, "first", [*(" ".join(one) for one in shuffled), " ".join(words[:6] * 9)])
    second = write_language(tmp_path, "second", [*(" ".join(one) for one in shuffled), " ".join(words[6:] * 9)])
    good("fit", first, "-q", "-o", tmp_path / "a", "--set", "optimizer.learning_rate=1.0", "--set", "trainer.epochs=3")
    flags = ["--set", f"weights.init_from={tmp_path / 'a'}"]
    result = good("fit", second, "-o", tmp_path / "b", *flags)
    assert "vocabulary: taken by name; the order is another one" in result.stderr
    orders = [
        json.loads(next((tmp_path / run / "checkpoints").glob("*/state.json")).read_text())["record"]["assets"]["words"]
        for run in ("a", "b")
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    source, taken = (
        json.loads(good("eval", tmp_path / run, "--json").stdout)["metrics"]["perplexity"] for run in ("a", "b")
    )
    assert taken == pytest.approx(source, rel=1e-5)
    good("fit", second, "-q", "-o", tmp_path / "c", *flags, "--set", "weights.match=position")
    by_position = json.loads(good("eval", tmp_path / "c", "--json").stdout)["metrics"]["perplexity"]
    assert abs(by_position - source) > 0.01
    notes = json.loads((tmp_path / "c" / "environment.json").read_text())[0]["notes"]
    assert "taken by position, whatever the indices stand for there (weights.match: position)" in notes[0]


# Tables ----------------------------------------------------------------------------------------------------------


def write_columns(folder: Path, name: str, columns: str, **data: Any) -> Path:
    draw = random.Random(name)
    rows = [",".join(f"{draw.random():.4f}" for _ in columns) for _ in range(40)]
    (folder / f"{name}.csv").write_text("\n".join([",".join(columns), *rows]) + "\n")
    config = {
        "task": "regression",
        "data": {"name": "table", "training": f"{name}.csv", "target": "y", "root": str(folder), **data},
        "model": {"name": "dense", "hidden": [5]},
        "optimizer": {"name": "sgd", "learning_rate": 1e-12},
        "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
        "observers": [],
    }
    return write_config(folder / f"{name}.yaml", config)


def test_columns_go_to_the_column_of_the_same_name_and_new_ones_keep_their_initial_values(tmp_path: Path) -> None:
    good("fit", write_columns(tmp_path, "first", "abcy"), "-q", "-o", tmp_path / "a")
    second = write_columns(tmp_path, "second", "cadyb", target="y")
    good("fit", second, "-q", "-o", tmp_path / "plain")
    result = good("fit", second, "-o", tmp_path / "b", "--set", f"weights.init_from={tmp_path / 'a'}")
    assert "4 of 4 tensors taken\n  inputs: taken by name; 1 of 4 are new here (d)" in result.stderr
    source, plain, taken = (weights_of(tmp_path / run) for run in ("a", "plain", "b"))
    first = next(name for name, tensor in source.items() if tensor.shape == (5, 3))
    for here, there in enumerate([2, 0, None, 1]):
        expected = plain[first][:, here] if there is None else source[first][:, there]
        torch.testing.assert_close(taken[first][:, here], expected)
    for name in source.keys() - {first}:
        torch.testing.assert_close(taken[name], source[name])


def test_a_target_of_another_name_is_not_taken(tmp_path: Path) -> None:
    good("fit", write_columns(tmp_path, "first", "abcy"), "-q", "-o", tmp_path / "a")
    second = write_columns(tmp_path, "second", "abcz", target="z")
    result = good("fit", second, "-o", tmp_path / "b", "--set", f"weights.init_from={tmp_path / 'a'}")
    assert "outputs: taken by name; 1 of 1 are new here (z); 1 of 1 are not used here (y)" in result.stderr
    assert "none of its outputs are there" in result.stderr


def test_labels_keep_their_rows_when_a_new_one_comes_before_them(tmp_path: Path) -> None:
    runs = {}
    for name, labels in (("first", "bc"), ("second", "abc")):
        draw = random.Random(name)
        rows = [f"{draw.random():.4f},{labels[number % len(labels)]}" for number in range(60)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["x,label", *rows]) + "\n")
        config = {
            "task": "tabular_classification",
            "data": {"name": "table", "training": f"{name}.csv", "target": "label", "root": str(tmp_path)},
            "model": {"name": "dense", "hidden": [5]},
            "optimizer": {"name": "sgd", "learning_rate": 1e-12},
            "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
            "observers": [],
        }
        runs[name] = write_config(tmp_path / f"{name}.yaml", config)
    good("fit", runs["first"], "-q", "-o", tmp_path / "a")
    result = good("fit", runs["second"], "-o", tmp_path / "b", "--set", f"weights.init_from={tmp_path / 'a'}")
    assert "outputs: taken by name; 1 of 3 are new here (a)" in result.stderr
    source, taken = weights_of(tmp_path / "a"), weights_of(tmp_path / "b")
    last = [name for name, tensor in taken.items() if tensor.shape[0] == 3]
    assert len(last) == 2
    for name in last:
        torch.testing.assert_close(taken[name][1:], source[name])


# Any model -------------------------------------------------------------------------------------------------------


def test_permuted_classes_and_columns_give_the_same_outputs() -> None:
    torch.manual_seed(0)
    build: Build = lambda sizes: DenseNetwork(**{"inputs": 4, "outputs": 3, **sizes}, hidden=[6])  # noqa: E731
    source, model = build({}), build({})
    here = {"inputs": list("abcd"), "outputs": list("xyz")}
    there = {"inputs": list("dbca"), "outputs": list("zxy")}
    translation = make_translation(model, build, here, there)
    copied = copy_matching_tensors(model, source.state_dict(), "there", translation)
    assert len(copied.taken) == len(source.state_dict())
    inputs = torch.randn(10, 4)
    columns = [here["inputs"].index(name) for name in there["inputs"]]
    classes = [there["outputs"].index(name) for name in here["outputs"]]
    torch.testing.assert_close(model(inputs), source(inputs[:, columns])[:, classes])


UNCLEAR: Mapping[tuple[str, int], set[str]] = {("rnn", 2): {"output.tail.0.1.weight"}}
"""Tensors whose values belong to several indices in an order that only the model knows."""


@every_model
def test_every_axis_that_stands_for_names_is_found(name: str, number: int, tmp_path: Path) -> None:
    training = build_config(tmp_path / "config.yaml", Examples(tmp_path).model(name, number))
    task = type(training.task)
    assert isinstance(task, NamesIndices)
    experiment, model = training.experiment, training.state.model
    here = task.name_indices(training.dataset.assets, experiment.task.options)
    assert {size: len(names) for size, names in here.items()}.items() <= dict(training.task.sizes).items()
    there = {size: [*names[1:], names[0]] for size, names in here.items() if len(names) > 1}

    def build(sizes: Mapping[str, int]) -> nn.Module:
        built: nn.Module = construct_model(training.names, experiment, training.task, sizes)
        return built

    state = torch.get_rng_state()
    translation = make_translation(model, build, here, {**here, **there})
    assert torch.equal(state, torch.get_rng_state())
    assert translation.meanings.keys() == there.keys()
    unclear = {key for key, sizes in translation.unclear.items() if sizes & there.keys()}
    assert unclear == UNCLEAR.get((name, number), set())
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    for size in there:
        grown = {key: tensor.shape for key, tensor in build({size: len(here[size]) + 1}).state_dict().items()}
        depends = {key for key, shape in shapes.items() if grown[key] != shape}
        assert depends == {key for key, axes in translation.axes.items() if size in axes.values()} | unclear


def test_what_an_index_stands_for_must_be_known() -> None:
    build: Build = lambda sizes: DenseNetwork(**{"inputs": 4, "outputs": 3, **sizes}, hidden=[6])  # noqa: E731
    model = build({})
    unknown = make_translation(model, build, {"outputs": list("xyz")}, {})
    with pytest.raises(ValueError, match="would be taken by position, but what its outputs stand for there is not"):
        copy_matching_tensors(model, model.state_dict(), "there", unknown)
    assert make_translation(model, build, {"outputs": list("xyz")}, {"outputs": list("xyz")}) == Translation()


PLUGIN = '''
from dltrain.goal import Goal
from dltrain.registry import tasks
from dltrain.tasks.regression import Regression

class Unnamed:
    """{docstring}"""

    goal = Goal("loss", "min")

    def __init__(self, assets):
        self._known = Regression(assets)
        self.sizes, self.goal = self._known.sizes, self._known.goal
        self.step, self.score, self.report = self._known.step, self._known.score, self._known.report

tasks.register("unnamed", data="table", sizes=("inputs", "outputs"))(Unnamed)
'''


def test_a_plug_in_that_names_nothing_is_refused_unless_it_is_said_to_be_by_position(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN.format(docstring="A task that does not say what its sizes stand for."))
    configs = []
    for name in ("first", "second"):
        config = write_columns(tmp_path, name, "abcy")
        text = config.read_text().replace("task: regression", "task: unnamed\nplugins: [plugin.py]")
        config.write_text(text)
        configs.append(config)
    good("fit", configs[0], "-q", "-o", tmp_path / "a")
    words = ["fit", configs[1], "-q", "-o", tmp_path / "b", "--set", f"weights.init_from={tmp_path / 'a'}"]
    refused = call(*words)
    assert isinstance(refused.exception, UsageError)
    assert "does not say what the indices of its sizes stand for (name_indices)" in str(refused.exception)
    good(*words, "--set", "weights.match=position")


def test_autoregression_takes_the_channels_of_each_step_by_name(tmp_path: Path) -> None:
    for name, columns in (("first", "xyz"), ("second", "zxy")):
        draw = random.Random(name)
        rows = [",".join(f"{draw.random():.4f}" for _ in columns) for _ in range(60)]
        (tmp_path / f"{name}.csv").write_text("\n".join([",".join(columns), *rows]) + "\n")
        config = {
            "task": "sequence_regression",
            "data": {"name": "series", "file": f"{name}.csv", "window": 4, "target": ["x"], "root": str(tmp_path)},
            "model": {"name": "autoregression", "lags": 3, "solve": False},
            "optimizer": {"name": "sgd", "learning_rate": 1e-12},
            "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
            "observers": [],
        }
        write_config(tmp_path / f"{name}.yaml", config)
    good("fit", tmp_path / "first.yaml", "-q", "-o", tmp_path / "a")
    good("fit", tmp_path / "second.yaml", "-q", "-o", tmp_path / "b", "--set", f"weights.init_from={tmp_path / 'a'}")
    source, taken = (weights_of(tmp_path / run)["linear.weight"].reshape(1, 3, 3) for run in ("a", "b"))
    torch.testing.assert_close(taken, source[:, :, [2, 0, 1]])


@pytest.mark.parametrize("columns", ["x,z", "z,x"])
@pytest.mark.parametrize("source", ["standard", "window"])
def test_series_models_of_levels_and_of_relative_windows_exchange_weights_by_name(
    source: str, columns: str, tmp_path: Path
) -> None:
    draw = random.Random(0)
    target = "window" if source == "standard" else "standard"
    for name, order, normalize in (("a", "x,z", source), ("b", columns, target)):
        rows = [",".join(f"{draw.random():.4f}" for _ in "xz") for _ in range(60)]
        (tmp_path / f"{name}.csv").write_text("\n".join([order, *rows]) + "\n")
        config = {
            "task": "sequence_regression",
            "data": {
                "name": "series",
                "file": f"{name}.csv",
                "window": 4,
                "target": ["x"],
                "root": str(tmp_path),
                "normalize": normalize,
            },
            "model": {"name": "series_rnn", "cell": "lstm", "hidden": 5},
            "optimizer": {"name": "sgd", "learning_rate": 1e-12},
            "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
        }
        write_config(tmp_path / f"{name}.yaml", config)
    good("fit", tmp_path / "a.yaml", "-q", "-o", tmp_path / "a")
    told = good("fit", tmp_path / "b.yaml", "-o", tmp_path / "b", "--set", f"weights.init_from={tmp_path / 'a'}").output
    assert f"data prepared differently: normalize '{source}' there, '{target}' here" in told
    there, here = (
        {name.removeprefix("model."): value for name, value in weights_of(tmp_path / run).items()} for run in "ab"
    )
    assert there.keys() == here.keys()
    assert f"{len(here)} of {len(here)} tensors taken" in told
    for name, tensor in here.items():
        expected = there[name]
        if tensor.shape[-1] == 2 and "weight_ih_l0" in name and columns == "z,x":
            expected = expected.flip(-1)
        assert torch.allclose(tensor, expected, atol=1e-6), name
