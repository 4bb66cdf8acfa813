"""The JSON Schema and the page of documentation say what the checker does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dltrain.config.catalogue import load_package_catalogue
from dltrain.config.document import MAX_DEPTH, MAX_NODES
from dltrain.config.experiment import load_experiment
from dltrain.config.generate import FUNCTIONS, build_page
from dltrain.config.schema import build_json_schema
from dltrain.config.sections import SECTIONS
from dltrain.config.source_files import MAX_BYTES
from dltrain.errors import ConfigError

ROOT = Path(__file__).parents[2]
CNN = "task: image_classification\ndata: mnist\nmodel: cnn\n"


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written.endswith("\n" + build_page()), "run `make docs`"


def test_the_page_gives_the_limits_of_a_file() -> None:
    text = " ".join((ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").split())
    limits = f"{MAX_BYTES >> 20} MiB, nested more than {MAX_DEPTH} deep or of more than {MAX_NODES:,} values."
    assert f"a file that is not UTF-8, larger than {limits}" in text


def test_the_page_names_every_option() -> None:
    page = build_page()
    for entry in load_package_catalogue().entries:
        section = next((section for section in SECTIONS if section.kind == entry.kind), None)
        if section is None:
            assert f"`{FUNCTIONS[entry.kind][1].format(entry.name)}`" in page
        else:
            assert f"`{section.name}: {f'[{entry.name}]' if section.several else entry.name}`" in page
        for option in entry.options:
            assert f"| `{option.name}` |" in page


def test_the_schema_holds_bounds_defaults_and_meanings() -> None:
    schema = build_json_schema()
    cnn = schema["$defs"]["model.cnn"]
    assert cnn["properties"]["name"] == {"const": "cnn"}
    assert cnn["additionalProperties"] is False
    assert cnn["properties"]["kernel"] == {
        "anyOf": [{"type": "integer", "minimum": 1}, {"$ref": "#/$defs/reference"}],
        "description": "side of the square filters.",
        "default": 3,
    }
    channels = cnn["properties"]["channels"]
    assert (channels["type"], channels["minItems"], channels["default"]) == ("array", 1, [32, 64])
    epochs = schema["properties"]["trainer"]["properties"]["epochs"]
    assert (epochs["anyOf"][0], epochs["default"]) == ({"type": "integer", "minimum": 1}, 10)
    assert schema["properties"]["optimizer"]["default"] == "adam"
    assert schema["then"]["required"] == ["task", "data", "model"]


PLUGIN = """
from typing import Annotated, Literal
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from dltrain.data.images.options import Augmentation
from dltrain.registry import models

@models.register("odd")
def odd(*, rounds: int, pair: tuple[int, float] = (1, 2.0), weights: dict[str, Annotated[float, Gt(0), Le(9)]] = {},
        some: Annotated[list[int], MaxLen(2)] = [], either: int | str | None = None,
        group: Augmentation = Augmentation(),
        many: tuple[int, ...] = (), share: Annotated[float, Ge(0), Lt(1)] = 0): ...
"""
ODD = CNN.replace("cnn", "{{name: odd, rounds: 1, {}}}") + "plugins: [plugin.py]\n"

GOOD = [
    CNN,
    CNN + "seed: 3\ntrainer: {epochs: 2, ema: null, clip_norm: 1}\n",
    CNN + "seed: '${env:SEED:3}'\n".replace("'", ""),
    CNN.replace("model: cnn", "model: {name: cnn, channels: [8], hidden: null}"),
    CNN.replace("model: cnn", "model: {name: '${env:MODEL:cnn}', channels: [8]}"),
    CNN.replace("data: mnist", "data: {name: mnist, root: 3, augment: {flip: horizontal, scale: [0.9, 1.1]}}"),
    CNN + "optimizer: {learning_rate: 0.1}\n",
    CNN + "optimizer: {name: sgd, momentum: 0.9}\nschedule: cosine\n",
    "extends: base.yaml\n",
    "extends: base.yaml\nmodel: {kernel: 5}\n",
    CNN + "observers: [times, {name: progress}]\n",
    CNN + "observers: []\n",
    ODD.format("pair: [1, 2.5], weights: {a: 2}, some: [1], either: x, group: {shift: 0.5}, many: [1], share: 0"),
    ODD.format("either: null"),
]
BAD = [
    "seed: 3\n",
    CNN + "sed: 3\n",
    CNN + "seed: -1\n",
    CNN + "seed: text\n",
    CNN + "trainer: {epochs: 0}\n",
    CNN + "trainer: {epochs: true}\n",
    CNN + "trainer: {epoch: 1}\n",
    CNN + "trainer: 3\n",
    CNN + "optimizer: {momentum: 0.9}\n",
    CNN + "optimizer: {name: sgd, betas: [0.9, 0.9]}\n",
    CNN + "plugins: plugin.py\n",
    CNN + "observers: times\n",
    CNN + "observers: [tims]\n",
    CNN + "observers: [{}]\n",
    CNN + "observers: [{name: times, file: a}]\n",
    CNN + "extends: 3.5\nplugins: [3]\n",
    CNN.replace("cnn", "cnnn"),
    CNN.replace("cnn", "{kernel: 3}"),
    CNN.replace("cnn", "{name: cnn, kernal: 3}"),
    CNN.replace("cnn", "{name: cnn, channels: []}"),
    CNN.replace("cnn", "{name: cnn, channels: [0]}"),
    CNN.replace("cnn", "{name: cnn, activation: relo}"),
    CNN.replace("cnn", "{name: cnn, dropout: 1.0}"),
    CNN.replace("cnn", "[cnn]"),
    CNN.replace("mnist", "{name: mnist, augment: {flip: sideways}}"),
    CNN.replace("mnist", "{name: mnist, root: [a]}"),
    "extends: base.yaml\nmodel: {unknown: 5}\n",
    ODD.format("pair: [1]"),
    ODD.format("weights: {a: 10}"),
    ODD.format("some: [1, 2, 3]"),
    ODD.format("either: [1]"),
    ODD.format("group: {shft: 1}"),
    ODD.format("share: 1"),
    ODD.replace("rounds: 1, {}", "").format(),
    ODD.replace("{{name: odd, rounds: 1, {}}}", "odd"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("text", "sound"), [*((text, True) for text in GOOD), *((text, False) for text in BAD)])
def test_schema_and_checker_agree(text: str, sound: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(CNN)
    Path("plugin.py").write_text(PLUGIN)
    Path("a.yaml").write_text(text)
    try:
        load_experiment(Path("a.yaml"))
        accepted = True
    except ConfigError:
        accepted = False
    assert accepted == sound
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema, which checks the schema, is not installed")
    validator = jsonschema.Draft202012Validator(build_json_schema([Path("plugin.py")]))
    assert validator.is_valid(yaml.safe_load(text)) == sound


def test_the_schema_is_a_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema, which checks the schema, is not installed")
    schema: dict[str, Any] = build_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
