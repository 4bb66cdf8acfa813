"""The examples of docs/extending.md run as the page says."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from dltrain.cli import main
from dltrain.errors import UsageError
from dltrain.kinds import find_kind
from support.commands import call, good

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```(?:python|yaml)\n# ([\w.]+)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"^dltrain (.*)$", PAGE, re.MULTILINE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with all files of the page."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)
    return tmp_path


def test_all_files_of_the_page_are_found() -> None:
    assert len(FILES) == PAGE.count("```python") + PAGE.count("```yaml")


@pytest.mark.parametrize("name", ["wide", "gated", "stripes", "absolute", "pairs"])
def test_a_plugin_trains(name: str, here: Path) -> None:
    good("config", "check", f"{name}.yaml")
    good("fit", f"{name}.yaml", "-o", "run", "-q")
    assert json.loads(good("eval", "run", "--json").stdout)["metrics"]["loss"] > 0


def test_a_subclass_of_a_model_of_the_package_is_a_model(here: Path) -> None:
    config = (
        Path("wide.yaml").read_text().replace("{name: wide, units: 16}", "{name: cold_cnn, channels: [2], hidden: 4}")
    )
    Path("cold.yaml").write_text(config)
    good("fit", "cold.yaml", "-o", "run", "-q")
    Path("scaled.yaml").write_text(
        config.replace("wide.py", "gated.py").replace("cold_cnn, channels: [2]", "scaled_cnn, scale: 3")
    )
    good("fit", "scaled.yaml", "-o", "scaled", "-q")


def test_a_group_of_options_and_a_computed_default_are_described(here: Path) -> None:
    lines = good("describe", "model", "gated", "--plugin", "gated.py").stdout.splitlines()
    assert "  units  integer >= 1; default 16" in lines
    assert "  gate   mapping of gate options; default {width: 16, slope: 2.0}" in lines


def test_the_assets_of_the_page_are_enough_for_predict(here: Path) -> None:
    good("fit", "stripes.yaml", "-o", "run", "-q")
    Image.new("L", (10, 10)).save("dark.png")
    assert good("predict", "run", "dark.png").stdout.split()[1] in ("horizontal", "vertical")
    features = '[{"name": c, "missing": "error", "mean": 0.0, "std": 1.0, "fill": 0.0} for c in "xy"]'
    points = (
        FILES["stripes.py"]
        .replace('data="images"', 'data="table"')
        .replace('"labels":', f'"inputs": ["x", "y"], "features": {features}, "labels":')
        .replace("return Loader(", "images = images.flatten(1)[:, :2]\n        return Loader(")
    )
    Path("points.py").write_text(points)
    config = FILES["stripes.yaml"].replace("stripes.py", "points.py").replace("image_", "tabular_")
    Path("points.yaml").write_text(config.replace("model: cnn", "model: dense"))
    good("fit", "points.yaml", "-o", "points", "-q")
    assert good("predict", "points", "x=1,y=2").stdout.split()[1] in ("horizontal", "vertical")


@pytest.mark.slow
def test_a_kind_of_its_own_works_with_every_command(here: Path) -> None:
    for command in COMMANDS:
        good(*command.split())
    evaluation = json.loads(good("eval", "runs/pairs", "--worst", "3", "--json").stdout)
    assert evaluation["metrics"]["accuracy"] > 0.8
    assert len(evaluation["worst_examples"]) == 3
    assert good("predict", "runs/pairs", "1,0:2,3", "1,0:-1,0").stdout.split()[1::3] == ["same", "different"]
    unread = call("predict", "runs/pairs", "1,0:2,3", "nothing")
    assert str(unread.exception) == "1 of 2 pairs could not be read; the others are done"
    summary = json.loads(good("summary", "pairs.yaml", "--json").stdout)
    assert [row["uncounted"] for row in summary["layers"]] == [["_trilinear"]]
    assert "not counted    product (_trilinear)" in good("summary", "pairs.yaml").stdout
    assert len(json.loads(Path("runs/pairs_cv/summary.json").read_text())["members"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("form", ["safetensors", "torch-export", "onnx"])
def test_a_kind_of_its_own_is_exported(form: str, here: Path) -> None:
    if form == "onnx":
        pytest.importorskip("onnx")
    good("fit", "pairs.yaml", "-o", "run", "-q")
    good("export", "run", "--format", form, "-o", "exported")
    described = json.loads(Path("exported.json").read_text())
    assert described["preparation"]["steps"] == ["two points, float32"]
    if form != "safetensors":
        assert [(port["name"], port["shape"]) for port in described["inputs"]] == [
            ("left", ["batch", 2]),
            ("right", ["batch", 2]),
        ]
    good("export", "run", "--format", form, "-o", "synthetic", "--synthetic")


def test_a_kind_without_a_reader_says_how_to_add_one(here: Path) -> None:
    source = Path("pairs.py").read_text().replace('"pairs"', '"silent"').replace("        reader=PairReader,\n", "")
    source = source.replace("        synthetic=draw_pairs,\n", "")
    Path("pairs.py").write_text(source.replace('"same_side"', '"silent_side"').replace('"bilinear"', '"silent_model"'))
    config = Path("pairs.yaml").read_text().replace("data: pairs", "data: silent").replace("same_side", "silent_side")
    Path("pairs.yaml").write_text(config.replace("bilinear", "silent_model"))
    good("fit", "pairs.yaml", "-o", "run", "-q")
    refused = call("predict", "run", "1,0:2,3")
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception) == (
        "run: nothing reads inputs of the kind of data 'silent'\n"
        "next: register a reader in the plug-in: register(Kind(name='silent', reader=...)), see docs/extending.md"
    )
    refused = call("export", "run", "--synthetic")
    assert str(refused.exception).startswith("--synthetic: the kind of data 'silent' has no synthetic inputs")


def test_two_kinds_of_one_name_are_refused() -> None:
    from dataclasses import replace

    from dltrain.kinds import register

    images = find_kind("images")
    assert register(replace(images)) == images
    with pytest.raises(ValueError, match="the kind of data 'images' is already registered; rename it"):
        register(replace(images, plural="pictures"))


def test_a_layer_is_checked_and_built(here: Path, dltrain: Callable[..., object]) -> None:
    """In a process of its own, since layers are known to all configs."""
    for command in (("config", "check", "scale.yaml"), ("fit", "scale.yaml", "-o", "run", "-q"), ("eval", "run")):
        result = dltrain(*command)
        assert getattr(result, "returncode", None) == 0, result
    refused = dltrain("config", "check", "scale.yaml", "--set", "model.layers=[{scale: high}, {dense: outputs}]")
    assert "layer 1" in getattr(refused, "stderr", "")


def test_an_observer_follows_a_run(here: Path) -> None:
    good("config", "check", "rates.yaml")
    good("fit", "rates.yaml", "-o", "run", "-q")
    lines = [line.split("\t") for line in Path("run/lr.tsv").read_text().splitlines()]
    assert [int(step) for step, _ in lines] == sorted({int(step) for step, _ in lines})
    assert {rate for _, rate in lines} == {"0.01"}


def test_a_loss_of_the_page_trains(here: Path) -> None:
    good("config", "check", "asymmetric.yaml")
    good("fit", "asymmetric.yaml", "-o", "run", "-q")
    assert json.loads(good("eval", "run", "--json").stdout)["metrics"]["loss"] > 0
    refused = call("config", "check", "asymmetric.yaml", "--set", "task.loss={asymmetric: -1}")
    assert "task.loss.factor must be a number > 0, found -1" in str(refused.exception)
    assert "asymmetric     The absolute error" in good("list", "losses", "--plugin", "asymmetric.py").stdout
    assert (
        "factor  number > 0; default 3.0"
        in good(*["describe", "loss", "asymmetric", "--plugin", "asymmetric.py"]).stdout
    )


def test_a_metric_of_the_page_decides(here: Path) -> None:
    good("fit", "cost.yaml", "-o", "run", "-q")
    found = json.loads(good("eval", "run", "--json").stdout)
    costs = [10 if label == "virginica" else 1 for label in found["classes"]]
    missed = [sum(row) - row[index] for index, row in enumerate(found["confusion"])]
    total = sum(cost * count for cost, count in zip(costs, missed, strict=True))
    assert found["metrics"]["cost"] == pytest.approx(total / sum(map(sum, found["confusion"])))
    assert "cohen_kappa" in found["metrics"]
    assert found["goal"] == "cost"


def test_an_augmentation_of_the_page_trains_the_same_with_workers(here: Path) -> None:
    for workers in (0, 2):
        good("fit", "dim.yaml", "-o", f"run{workers}", "-q", "--set", f"data.workers={workers}")
    assert Path("run0/metrics.jsonl").read_bytes() == Path("run2/metrics.jsonl").read_bytes()


def test_a_callback_of_the_page_writes_a_line_for_each_better_epoch(here: Path) -> None:
    good("fit", "note.yaml", "-o", "run", "-q")
    events = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    better = [event["epoch"] for event in events if event["event"] == "epoch" and event["improved"]]
    lines = Path("run/progress.txt").read_text().splitlines()
    assert [int(line.split()[1].strip(":")) for line in lines] == better


def test_a_command_is_added(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = re.findall(r'`"(\w+)": "(\w+:\w+)"`', PAGE)
    module = ModuleType("dltrain.cli.steps")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(FILES["steps.py"], vars(module))
    monkeypatch.setitem(main.COMMANDS, *entry)
    good("fit", "pairs.yaml", "-o", "run", "-q")
    assert good("steps", "run").stdout == "80\n"
