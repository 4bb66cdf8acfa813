"""Layers in a config: faults with their places, before any data and without torch; schema, page and description."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dltrain.architecture.layers import LAYERS
from dltrain.architecture.plan import Misfit, faults, lay_out
from dltrain.architecture.shapes import UNKNOWN, ExampleShape, Length, SlidingWindow, slide
from dltrain.cli.main import application
from dltrain.config.annotations import list_options
from dltrain.config.catalogue import load_package_catalogue
from dltrain.config.experiment import load_experiment, load_tree
from dltrain.config.generate import build_page
from dltrain.config.plugins import load_catalogue
from dltrain.config.schema import build_json_schema
from dltrain.errors import ConfigError

ROOT = Path(__file__).parents[2]
HEAD = "task: image_classification\ndata: mnist\nmodel:\n  name: sequential\n  layers:\n"
GOOD = (
    HEAD + "    - conv2d: {filters: 8, kernel: 3}\n    - relu\n    - max_pool: 2\n    - flatten\n    - dense: classes\n"
)
TEXT = HEAD.replace("image_classification", "text_classification").replace("mnist", "letters")
SERIES = HEAD.replace("image_classification", "sequence_regression").replace("mnist", "waves")
IDX = HEAD.replace("mnist", "idx")
PLUGIN = """
from dltrain.architecture.layers import Layers
from dltrain.options import PositiveInt
from dltrain.registry import datasets, models

@datasets.register("letters", data="documents")
def letters(name, seed, assets): ...

@datasets.register("waves", data="series")
def waves(name, seed, assets): ...

@datasets.register("tides", data="series", sizes={"window": "window", "channels": 3})
def tides(name, seed, assets, *, window: PositiveInt = 8): ...

@models.register("tower", check="dltrain.architecture.plan")
def tower(sizes, *, layers: Layers): ...
"""
FORM = "must be the name of a layer, or a mapping of that one name to its options, found"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plugin.py").write_text(PLUGIN)


def write(text: str) -> Path:
    Path("a.yaml").write_text(text + "plugins: [plugin.py]\n")
    return Path("a.yaml")


def refused(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_experiment(write(text), overrides)
    return str(caught.value)


def told(*layers: str, head: str = HEAD) -> list[str]:
    """The first lines of what is said of layers, one a line of the file, without the file's name."""
    text = refused(head + "".join(f"    - {layer}\n" for layer in layers))
    return [line.removeprefix("a.yaml:") for line in text.splitlines() if line.startswith("a.yaml:")]


def test_forms_of_a_layer_mean_the_same() -> None:
    short = load_experiment(write(HEAD + "    - flatten\n    - {dropout: 0.2}\n    - dense: classes\n")).experiment
    options = "    - flatten:\n    - dropout:\n        share: 0.2\n    - dense: {units: classes, bias: true}\n"
    assert load_experiment(write(HEAD + options)).experiment == short
    assert short.model.options["layers"] == [
        {"flatten": {}},
        {"dropout": {"share": 0.2}},
        {"dense": {"units": "classes", "bias": True}},
    ]


def test_blocks_and_what_is_resolved_reads_back() -> None:
    block = "    - residual:\n      - conv2d: {filters: 8, padding: same, kernel: [3, 5]}\n      - relu\n"
    text = GOOD.replace(
        "    - flatten\n", block + "    - repeat: {times: 2, layers: [{residual: [relu]}]}\n    - flatten\n"
    )
    loaded = load_experiment(write(text))
    experiment = loaded.experiment
    inner = {"filters": 8, "kernel": [3, 5], "stride": 1, "padding": "same", "dilation": 1, "groups": 1, "bias": True}
    assert experiment.model.options["layers"][3] == {"residual": {"layers": [{"conv2d": inner}, {"relu": {}}]}}
    assert load_tree(experiment.resolved(), "again") == experiment
    Path("resolved.yaml").write_text(experiment.yaml(Path()))
    assert load_experiment(Path("resolved.yaml")).experiment == experiment
    assert loaded.origins["model.layers"] == "a.yaml:6:5"
    assert not [path for path in loaded.origins if path.startswith("layer ")]


def test_no_torch_and_no_data_are_needed() -> None:
    code = (
        "import sys; from dltrain.cli.main import main; sys.argv = ['dltrain', 'config', 'check', 'a.yaml']\n"
        "try: main()\nexcept SystemExit as left: assert not left.code, left.code\n"
        "assert 'torch' not in sys.modules; assert 'numpy' not in sys.modules"
    )
    write(GOOD)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("a.yaml: ok\n")


# Faults of single layers


def test_an_unknown_layer() -> None:
    assert refused(HEAD + "    - flatten\n    - denze: 3\n") == (
        "a.yaml:7:7: error: layer 2: 'denze' is not a layer\n"
        "        - denze: 3\n"
        "          ^\n"
        f"    allowed: {', '.join(LAYERS)}\n"
        "    did you mean 'dense'?\n"
        "1 fault in a.yaml; nothing was started"
    )


def test_an_unknown_option() -> None:
    assert refused(HEAD + "    - conv2d: {filters: 3, kernal: 3}\n") == (
        "a.yaml:6:28: error: 'kernal' is not an option of layer 1 (conv2d)\n"
        "        - conv2d: {filters: 3, kernal: 3}\n"
        "                               ^\n"
        "    allowed: filters, kernel, stride, padding, dilation, groups, bias\n"
        "    did you mean 'kernel'?\n"
        "1 fault in a.yaml; nothing was started"
    )


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("3", "6:7: error: layer 1: '3' is not a layer"),
        ("", f"6:6: error: layer 1 {FORM} nothing"),
        ("[relu]", f"6:7: error: layer 1 {FORM} a list"),
        ("{}", f"6:7: error: layer 1 {FORM} a mapping"),
        ("{name: dense, units: 3}",
         f"6:7: error: layer 1 {FORM} the keys "
         "name, units; without 'name': {dense: ...}"),
        ("{dense: , units: 3}",
         f"6:7: error: layer 1 {FORM} the keys "
         "dense, units; indent the options further than the name"),
        ("{dens: , units: 3}",
         f"6:7: error: layer 1 {FORM} the keys "
         "dens, units"),
        ("softmax", "6:7: error: layer 1: 'softmax' is not a layer: the tasks take plain scores and apply it "
         "themselves; "
                    "leave it out"),
        ("linear: 3", "6:7: error: layer 1: 'linear' is not a layer: it is called dense here"),
        ("input: [1, 2]", "6:7: error: layer 1: 'input' is not a layer: the task's data says what comes in; leave it "
         "out"),
        ("relu: 0.1", "6:13: error: layer 1 (relu) has no options, found 0.1"),
        ("dense", "6:7: error: layer 1 (dense) needs the option 'units': integer >= 1 or the name of a size"),
        ("dense: {bias: false}",
         "6:7: error: layer 1 (dense) needs the option 'units': integer >= 1 or the name of a size"),
        ("dense: 0", "6:14: error: layer 1 (dense).units must be an integer >= 1 or the name of a size, found 0"),
        ("dense: 1.5", "6:14: error: layer 1 (dense).units must be an integer >= 1 or the name of a size, found 1.5"),
        ("dense: {units: 3, bias: yes}", "6:31: error: layer 1 (dense).bias must be true or false, found 'yes' "
                                         "(write true)"),
        ("dropout: 1.0", "6:16: error: layer 1 (dropout).share must be a number in [0, 1), found 1.0"),
        ("conv2d: {filters: 3, kernel: [1, 2, 3]}",
         "6:36: error: layer 1 (conv2d).kernel must be an integer >= 1 or list of 2 integers >= 1, found a list of 3"),
        ("conv2d: {filters: 3, padding: valid}",
         "6:37: error: layer 1 (conv2d).padding must be an integer >= 0 or same, found 'valid'"),
        ("lstm: {units: 3, returns: all}", "6:33: error: layer 1 (lstm).returns cannot be 'all'"),
        ("reshape: []", "6:16: error: layer 1 (reshape).shape must be a list of 1 to 3 integers >= 1 or the name of a "
                        "size, found an empty list"),
        ("residual: {}", "6:7: error: layer 1 (residual) needs the option 'layers': non-empty list of layers"),
        ("residual: relu", "6:17: error: layer 1 (residual).layers must be a non-empty list of layers, found 'relu' "
                           "(write [relu])"),
        ("repeat: {times: 2, layers: [relu, {dense: -1}]}",
         "6:49: error: layer 1.2 (dense).units must be an integer >= 1 or the name of a size, found -1"),
        ("repeat: {times: 0, layers: [relu]}", "6:23: error: layer 1 (repeat).times must be an integer >= 1, found 0"),
    ],
)  # fmt: skip
def test_faults_of_a_layer(layer: str, message: str) -> None:
    assert told(layer) == [message]


def test_all_faults_come_at_once() -> None:
    found = told("dens: 3", "relu: 1", "dropout: 2", "residual: [3]", head=HEAD.replace("mnist", "mnits"))
    assert [line.partition(": ")[0] for line in found] == ["2:7", "6:7", "7:13", "8:16", "9:18"]


def test_layers_must_be_a_list() -> None:
    found = refused(HEAD.replace("  layers:\n", "  layers: {relu: , flatten: }\n"))
    assert "model.layers must be a non-empty list of layers, found a mapping (begin each item with '- ')" in found
    assert "a.yaml:3:1: error: model 'sequential' needs the option 'layers'" in refused(
        "task: image_classification\ndata: mnist\nmodel: sequential\n"
    ).replace("3:8", "3:1")


# Layers that do not fit together


def test_shapes_that_do_not_fit_point_to_the_layer() -> None:
    text = HEAD + "    - max_pool: 9\n    - conv2d:\n        filters: 8\n        kernel: 5\n    - dense: classes\n"
    assert refused(text) == (
        "a.yaml:7:7: error: layer 2 (conv2d): its kernel spans 5 x 5, and (1, 3, 3) has 3 x 3: use a smaller one, "
        "padding: same, or less pooling before\n"
        "        - conv2d:\n"
        "          ^\n"
        "1 fault in a.yaml; nothing was started"
    )


def test_flags_have_places_too() -> None:
    found = refused(GOOD, "model.layers=[flatten, {dense: clases}]")
    assert found == (
        "--set: error: layer 2 (dense).units: 'clases' is not a size that the task provides\n"
        "    --set model.layers=[flatten, {dense: clases}]\n"
        "                                         ^\n"
        "    allowed: image_channels, height, width, classes\n"
        "    did you mean 'classes'?\n"
        "1 fault in a.yaml; nothing was started"
    )


@pytest.mark.parametrize(
    ("head", "layers", "message"),
    [
        (HEAD, ["dense: classes"],
         "6:7: error: layer 1 (dense): it reads (features) or (steps, channels), found (1, 28, 28): put flatten "
         "before it"),
        (HEAD, ["conv1d: 3"], "6:7: error: layer 1 (conv1d): it reads (steps, channels), found (1, 28, 28)"),
        (HEAD, ["flatten", "conv2d: 3"],
         "7:7: error: layer 2 (conv2d): it reads (channels, height, width), found (784)"),
        (HEAD, ["flatten", "max_pool"],
         "7:7: error: layer 2 (max_pool): it reads (channels, height, width) or (steps, channels), found (784)"),
        (HEAD, ["flatten", "global_avg_pool"],
         "7:7: error: layer 2 (global_avg_pool): it reads (channels, height, width) or (steps, channels), found (784)"),
        (HEAD, ["flatten", "upsample"], "7:7: error: layer 2 (upsample): it reads (channels, height, width), found "
         "(784)"),
        (HEAD, ["lstm: 3"], "6:7: error: layer 1 (lstm): it reads (steps, channels), found (1, 28, 28)"),
        (HEAD, ["embedding: 3"], "6:7: error: layer 1 (embedding): it reads tokens, found (1, 28, 28)"),
        (HEAD, ["max_pool: [29, 2]"],
         "6:7: error: layer 1 (max_pool): its window spans 29 x 2, and (1, 28, 28) has 28 x 28: use a smaller one, or "
         "less pooling before"),
        (HEAD, ["conv2d: {filters: 8, kernel: 20, dilation: 2, padding: 2}"],
         "6:7: error: layer 1 (conv2d): its kernel spans 39 x 39, and (1, 28, 28) has 28 x 28 with 4 of padding: use a "
         "smaller one, padding: same, or less pooling before"),
        (HEAD, ["max_pool: {window: 2, padding: 2}"],
         "6:7: error: layer 1 (max_pool): its padding of 2 is more than half of its window"),
        (HEAD, ["conv2d: 8", "conv2d: {filters: 9, groups: 3}"],
         "7:7: error: layer 2 (conv2d): its 3 groups do not divide the 8 channels of (8, 26, 26)"),
        (HEAD, ["conv2d: 6", "conv2d: {filters: 4, groups: 3}"],
         "7:7: error: layer 2 (conv2d): its 3 groups do not divide its 4 filters"),
        (HEAD, ["conv2d: 8", "group_norm: 3"],
         "7:7: error: layer 2 (group_norm): its 3 groups do not divide the 8 channels of (8, 26, 26)"),
        (HEAD, ["reshape: [3, classes]"], "6:7: error: layer 1 (reshape): (1, 28, 28) holds 784 numbers, and (3, 10) "
                                          "needs 30"),
        (HEAD, ["residual: [conv2d: 8]"],
         "6:7: error: layer 1 (residual): its layers make (8, 26, 26) of (1, 28, 28), which no stride gives: use "
         "padding: "
         "same in the convolutions"),
        (HEAD, ["residual: [flatten]"],
         "6:7: error: layer 1 (residual): its layers make (784) of (1, 28, 28), which cannot be added"),
        (HEAD, ["repeat: {times: 9, layers: [max_pool]}"],
         "6:35: error: layer 1.1 (max_pool): its window spans 2 x 2, and (1, 1, 1) has 1 x 1: use a smaller one, or "
         "less "
         "pooling before"),
        (HEAD, ["repeat: {times: 200, layers: [repeat: {times: 200, layers: [relu]}]}"],
         "6:5: error: layers: 40201 of them with all repetitions; 10000 are the most"),
        (HEAD, ["flatten", "dense: 9"], "7:7: error: layer 2 (dense): it gives (9), and the task takes (classes) = "
         "(10): "
                                        "end with dense: classes"),
        (HEAD, ["relu"], "6:7: error: layer 1 (relu): it gives (1, 28, 28), and the task takes (classes) = (10): end "
         "with "
                         "dense: classes"),
        (HEAD.replace("image_classification", "reconstruction"), ["flatten"],
         "6:7: error: layer 1 (flatten): it gives (784), and the task takes (image_channels, height, width) = (1, 28, "
         "28): "
         "end with reshape: [image_channels, height, width]"),
        (HEAD, ["flatten", "residual: [dense: clases]"],
         "7:25: error: layer 2.1 (dense).units: 'clases' is not a size that the task provides"),
        (HEAD, ["flatten", "reshape: [4, clases]"],
         "7:20: error: layer 2 (reshape).shape: 'clases' is not a size that the task provides"),
        (TEXT, ["dense: classes"], "6:7: error: layer 1 (dense): it reads numbers, found (T) tokens: put embedding "
         "before "
                                   "it"),
        (TEXT, ["embedding: 3", "flatten", "dense: classes"],
         "7:7: error: layer 2 (flatten): (T, 3) has another length in each batch, and no fixed number of features: use "
         "global_avg_pool, global_max_pool, or a recurrent layer with returns: last"),
        (TEXT, ["embedding: 3", "conv1d: 4", "reshape: [3]"],
         "8:7: error: layer 3 (reshape): (T', 4) has another length in each batch, and cannot be put into a fixed "
         "shape"),
        (TEXT, ["embedding: 4", "batch_norm"],
         "7:7: error: layer 2 (batch_norm): (T, 4) has another length in each batch, and its padding would count: use "
         "layer_norm"),
        (TEXT, ["embedding: 4", "group_norm: 2"],
         "7:7: error: layer 2 (group_norm): (T, 4) has another length in each batch, and its padding would count: use "
         "layer_norm"),
        (TEXT, ["embedding: 4", "residual: [conv1d: 4]"],
         "7:7: error: layer 2 (residual): its layers make (T', 4) of (T, 4), which no stride gives: use padding: same "
         "in "
         "the convolutions"),
        (TEXT, ["embedding: 4", "max_pool: [2, 2]"],
         "7:7: error: layer 2 (max_pool): (T, 4) has one axis to slide over: give one number for window and for "
         "stride"),
        (TEXT, ["embedding: 4", "dense: classes"],
         "7:7: error: layer 2 (dense): it gives (T, ?), and the task takes (classes): end with dense: classes"),
        (SERIES, ["lstm: 4", "lstm: 4"], "7:7: error: layer 2 (lstm): it reads (steps, channels), found (4)"),
        (SERIES, ["lstm: {units: outputs, returns: sequence}"],
         "6:7: error: layer 1 (lstm): it gives (?, ?), and the task takes (outputs): end with dense: outputs"),
        (IDX, ["conv2d: {filters: 4, groups: 3}"], "6:7: error: layer 1 (conv2d): its 3 groups do not divide its 4 "
                                                   "filters"),
        (IDX, ["dense: classes"], "6:7: error: layer 1 (dense): it reads (features) or (steps, channels), found "
                                  "(?, ?, ?): put flatten before it"),
    ],
)  # fmt: skip
def test_layers_that_do_not_fit(head: str, layers: list[str], message: str) -> None:
    assert told(*layers, head=head) == [message]


def test_a_task_that_cannot_be_served() -> None:
    text = HEAD.replace("image_classification", "language_modelling").replace("mnist", "ptb")
    assert told("relu", head=text) == [
        "4:9: error: layers in a row need a task that provides (image_channels, height, width) or (window, channels) "
        "or "
        "(inputs) or (vocabulary) to read, and (classes) or (outputs) or (image_channels, height, width) to end in; "
        "this "
        "one provides vocabulary"
    ]


@pytest.mark.parametrize(
    ("head", "layers"),
    [
        (IDX, ["conv2d: 8", "max_pool: 50", "residual: [conv2d: 8]", "reshape: [3, 4]", "flatten", "dense: 9"]),
        (TEXT, ["embedding: 4", "conv1d: {filters: 4, kernel: 99}", "gru: 3", "dense: 9"]),
        (SERIES, ["conv1d: {filters: 4, kernel: 99}", "flatten", "dense: outputs"]),
    ],
)
def test_what_only_the_data_can_tell_passes(head: str, layers: list[str]) -> None:
    load_experiment(write(head + "".join(f"    - {layer}\n" for layer in layers)))


# What the data tells beforehand


def test_published_sizes_are_those_of_the_data(images_root: Path) -> None:
    """The facts of the registered dataset against what the task makes of files that are read."""
    from dltrain.data.images.mnist import IDXImages
    from dltrain.tasks.classification import ImageClassification

    assets = IDXImages("mnist", 0, None, root=str(images_root), download=False).assets
    for name in ("mnist", "fashion_mnist", "kmnist"):
        entry = load_package_catalogue().find("dataset", name)
        assert entry is not None
        assert entry.facts["sizes"] == ImageClassification(assets).sizes
    sample = IDXImages("mnist", 0, None, sample=True).assets
    assert ImageClassification(sample).sizes == ImageClassification(assets).sizes


@pytest.mark.parametrize(("data", "window"), [("tides", 8), ("{name: tides, window: 5}", 5)])
def test_sizes_may_be_options_of_the_data_and_plug_ins_have_layers_too(data: str, window: int) -> None:
    head = SERIES.replace("data: waves", f"data: {data}").replace("sequential", "tower")
    text = f"{head}    - conv1d: {{filters: 4, kernel: 9}}\n"
    assert f"layer 1 (conv1d): its kernel spans 9, and ({window}, 3) has {window}:" in refused(text)


def test_a_check_is_a_module_of_dltrain() -> None:
    text = 'from dltrain.registry import models\n@models.register("m", check="os")\ndef m(): ...\n'
    Path("bad.py").write_text(text)
    message = "bad.py:2:1: error: the fact check='os' must be a function, or name a module of dltrain"
    with pytest.raises(ConfigError, match=message):
        load_catalogue([Path("bad.py")])


def test_a_plug_in_checks_its_own_models() -> None:
    Path("checked.py").write_text(
        "from dltrain.architecture.plan import Misfit\nfrom dltrain.registry import models\n"
        "def odd(sizes, *, width):\n    return [Misfit(('width',), f'{width} is even')] if width % 2 == 0 else []\n"
        "@models.register('odd', check=odd)\ndef model(classes, *, width: int): ...\n"
    )
    Path("b.yaml").write_text(
        "task: image_classification\ndata: mnist\nmodel: {name: odd, width: 3}\nplugins: [checked.py]\n"
    )
    load_experiment(Path("b.yaml"))
    with pytest.raises(ConfigError, match=r"--set: error: 4 is even"):
        load_experiment(Path("b.yaml"), ["model.width=4"])


def test_a_model_that_takes_all_sizes_is_offered_for_all_tasks() -> None:
    text = "task: text_classification\ndata: letters\nmodel: cnn\n"
    assert "sequential" in refused(text).split("allowed: ")[1]


# Shapes


def test_windows_and_lengths() -> None:
    assert SlidingWindow(3, 2, 2, 2).span == 5
    assert SlidingWindow(3, 2, 2, 2).count(9) == 4
    assert str(ExampleShape((Length(), UNKNOWN, 3))) == "(T, ?, 3)"
    assert slide(Length(), SlidingWindow(3, 1, 2)) == Length()
    assert slide(Length(), SlidingWindow(3)) != slide(Length(), SlidingWindow(4))
    assert str(slide(Length(), SlidingWindow(3))) == "T'"
    assert slide(UNKNOWN, SlidingWindow(3)) is UNKNOWN


def test_the_plan_is_laid_out() -> None:
    layers = [
        {"conv2d": 4},
        {"repeat": {"times": 2, "layers": [{"residual": ["relu"]}]}},
        "flatten",
        {"dense": "classes"},
    ]
    sizes = {"image_channels": 1, "height": 6, "width": 5, "classes": 3}
    placed = lay_out(sizes, layers)
    assert [(each.number, each.name, str(each.before), str(each.after)) for each in placed] == [
        ("1", "conv2d", "(1, 6, 5)", "(4, 4, 3)"),
        ("2", "repeat", "(4, 4, 3)", "(4, 4, 3)"),
        ("3", "flatten", "(4, 4, 3)", "(48)"),
        ("4", "dense", "(48)", "(3)"),
    ]
    assert [(each.number, [inner.number for inner in each.inside]) for each in placed[1].inside] == [
        ("2.1", ["2.1.1"]),
        ("2.1", ["2.1.1"]),
    ]
    assert not list(faults(sizes, layers=layers))
    with pytest.raises(Misfit, match="layers in a row need a task"):
        lay_out({"bands": 3}, layers)


# Schema, page, description


SOUND = [
    ["relu", {"flatten": None}, {"dense": 3}, {"dense": {"units": "classes", "bias": False}}],
    [{"conv2d": {"filters": 3, "kernel": [1, 2], "padding": "same"}}, {"max_pool": None}, {"max_pool": [2, 3]}],
    [{"residual": ["relu", {"residual": {"layers": ["relu"]}}]}, {"repeat": {"times": 2, "layers": [{"dense": 3}]}}],
    [{"dense": "${env:UNITS:3}"}, {"reshape": [1, "height"]}],
]
FAULTY = [
    [],
    "relu",
    ["dense"],
    ["softmax"],
    [{"relu": 3}],
    [{"dense": 0}],
    [{"dense": "1 2"}],
    [{"dense": None}],
    [{"dense": 3, "relu": None}],
    [{"conv2d": {"kernel": 3}}],
    [{"conv2d": {"filters": 3, "kernal": 3}}],
    [{"conv2d": {"filters": 3, "kernel": [1, 2, 3]}}],
    [{"residual": [{"dense": 0}]}],
    [{"repeat": 3}],
]


@cache
def whole_schema() -> dict[str, Any]:
    return build_json_schema()


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "sound"), [*((each, True) for each in SOUND), *((each, False) for each in FAULTY)])
def test_schema_and_checker_agree(layers: Any, sound: bool) -> None:
    """Of single layers: whether they fit together is for the checker alone, whose words then tell shapes."""
    tree = {"task": "image_classification", "data": "mnist", "model": {"name": "sequential", "layers": layers}}
    try:
        load_experiment(write(yaml.safe_dump(tree)))
        message = ""
    except ConfigError as error:
        message = str(error)
    assert bool(re.search("must be|is not a layer|needs the option|has no options|is not an option", message)) != sound
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema, which checks the schema, is not installed")
    schema = whole_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid(tree) == sound


def test_every_option_of_every_layer_is_described() -> None:
    result = CliRunner().invoke(application(), ["describe", "model", "sequential"])
    rows = json.loads(CliRunner().invoke(application(), ["describe", "model", "sequential", "--json"]).stdout)[
        "options"
    ]
    page = build_page()
    for name, kind in LAYERS.items():
        assert f"`{name}`" in page
        assert (kind.__doc__ or "").split("\n")[0].split(" (")[0] in page
        assert name in result.stdout
        assert [row["name"] for row in rows[0]["choices"][name]] == [each.name for each in list_options(kind)]
        for option in list_options(kind):
            assert option.description, f"{name}.{option.name}"
            assert f"| `{option.name}` |" in page


def test_the_constructors_fault_is_the_users(images_root: Path) -> None:
    """What only the data tells is told when the model is built."""
    from dltrain.runs.building import build_training

    text = IDX.replace("data: idx", f"data: {{name: idx, root: {images_root}/MNIST}}")
    experiment = load_experiment(write(text + "    - max_pool: 29\n    - flatten\n    - dense: classes\n")).experiment
    with pytest.raises(ConfigError) as caught:
        build_training(experiment)
    head, _, told = str(caught.value).partition(": error: ")
    line = next(
        number for number, each in enumerate(Path(experiment.source).read_text().splitlines(), 1) if "max" in each
    )
    assert head == f"{experiment.source}:{line}:7"
    assert told == (
        "layer 1 (max_pool): its window spans 29 x 29, and (1, 28, 28) has 28 x 28: use a smaller one, or less pooling "
        f"before\n        - max_pool: 29\n          ^\n1 fault in {experiment.source}; nothing was started"
    )
