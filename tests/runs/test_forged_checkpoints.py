"""Checkpoints whose hashes are right and whose content is not: each is named as damaged, with exit code 7."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from dltrain.core.checkpoint import _seal
from dltrain.errors import NoCheckpoint
from support.commands import call, good
from support.examples import write_config

STATE, WEIGHTS, OPTIMIZER = "state.json", "weights.safetensors", "optimizer.safetensors"
Change = Callable[[Any], Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forged")
    config = {
        "task": "tabular_classification",
        "data": {"name": "bundled_table", "table": "iris"},
        "model": {"name": "dense", "hidden": [4]},
        "trainer": {"epochs": 2, "device": "cpu", "threads": 1, "keep_last": 1},
        "observers": [],
    }
    path = write_config(folder / "c.yaml", config)
    good("fit", path, "-q", "-o", folder / "run")
    for checkpoint in sorted((folder / "run" / "checkpoints").iterdir())[:-1]:
        shutil.rmtree(checkpoint)
    return folder


def reseal(checkpoint: Path, change: Change = lambda manifest: manifest) -> None:
    """Write the manifest that belongs to the files, after a change."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    del manifest["sha256"]
    for name in manifest["files"]:
        content = (checkpoint / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (checkpoint / "manifest.json").write_bytes(_seal(change(manifest)))


def set_in(tree: Any, path: str, value: Any) -> Any:
    *parents, last = path.split(".")
    place = tree
    for name in parents:
        place = place[name]
    if value is DROPPED:
        del place[last]
    else:
        place[last] = value
    return tree


DROPPED = object()
LEARNED_AGAIN = ("no assets", "labels that are a number")
"""What `fit` learns from the data itself, and compares: it continues, or refuses for that reason."""
DEEP = "[" * 100_000 + "]" * 100_000

IN_MANIFEST: dict[str, tuple[str, Any]] = {
    "no files": ("files", DROPPED),
    "files of another type": ("files", ["weights.safetensors"]),
    "another file": ("files", {"../../../x": {"sha256": "0" * 64, "size": 1}}),
    "a file without a hash": ("files.state.json", {"size": 3}),
    "no step": ("step", DROPPED),
    "a negative step": ("step", -1),
    "a step that is text": ("step", "12"),
    "a step beyond all bounds": ("step", 10**30),
    "another step": ("step", 7),
    "a direction of its own": ("direction", "sideways"),
    "a score that is text": ("score", "good"),
    "a score that is none": ("score", float("nan")),
    "a metric that is a list": ("metric", ["loss"]),
    "a loss that is an object": ("loss", {}),
    "no data": ("dataset", DROPPED),
}
IN_STATE: dict[str, tuple[str, Any]] = {
    "no state": ("state", DROPPED),
    "no record": ("record", DROPPED),
    "a record that is a list": ("record", []),
    "another step in the state": ("state.step", 3),
    "a position that is text": ("state.position", "0"),
    "a history that is a number": ("state.history", 5),
    "a history of texts": ("state.history", ["best"]),
    "scores that are texts": ("record.history", [{"epoch": 1, "loss": "low"}]),
    "no optimizer": ("state.optimizer", DROPPED),
    "no config": ("record.config", DROPPED),
    "a config without a model": ("record.config.model", DROPPED),
    "a model that nobody knows": ("record.config.model", {"name": "nothing"}),
    "a config that is text": ("record.config", "task: x"),
    "other layers": ("record.config.model.hidden", [5]),
    "an option of a wrong type": ("record.config.model.hidden", "wide"),
    "no assets": ("record.assets", {}),
    "assets of another type": ("record.assets", [1, 2]),
    "labels that are a number": ("record.assets.labels", 3),
    "a fingerprint of numbers": ("record.fingerprint", {"iris": 1}),
    "no signature": ("record.signature", DROPPED),
    "a plug-in outside": ("record.plugins", {"../../x.py": "print(1)"}),
    "a plug-in at the root": ("record.plugins", {"/x.py": "print(1)"}),
    "a plug-in in a folder": ("record.plugins", {"plugins/a/b.py": "print(1)"}),
    "a plug-in on a drive": ("record.plugins", {"plugins/C:x.py": "print(1)"}),
    "a plug-in that is a number": ("record.plugins", {"plugins/x.py": 1}),
}
TENSORS: dict[str, tuple[str, Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor] | bytes]]] = {
    "no tensors": (WEIGHTS, lambda tensors: {}),
    "an empty file": (WEIGHTS, lambda tensors: b""),
    "no safetensors": (WEIGHTS, lambda tensors: b"\x80\x02}q\x00."),
    "a header beyond the file": (WEIGHTS, lambda tensors: (1 << 60).to_bytes(8, "little")),
    "another name": (WEIGHTS, lambda tensors: {f"x.{name}": one for name, one in tensors.items()}),
    "another shape": (WEIGHTS, lambda tensors: {name: one[..., None].contiguous() for name, one in tensors.items()}),
    "no moments": (OPTIMIZER, lambda tensors: {}),
    "moments of another shape": (OPTIMIZER, lambda tensors: {name: torch.zeros(3) for name in tensors}),
}


def check(folder: Path, checkpoint: Path, *, fits: bool = True, loads: bool = True) -> None:
    run = checkpoint.parents[1]
    commands: list[tuple[object, ...]] = [("fit", folder / "c.yaml", "-o", run, "--epochs", 3)] if fits else []
    if loads:
        values = "sepal length (cm)=5,sepal width (cm)=3,petal length (cm)=1,petal width (cm)=0.2"
        commands = [
            ("predict", run, values),
            ("eval", run),
            ("export", run, "-o", folder / "x.safetensors"),
            ("predict", checkpoint, values),
            *commands,
        ]
    for command in commands:
        result = call(*command)
        assert isinstance(result.exception, NoCheckpoint), (command, repr(result.exception))


def forge(trained: Path, tmp_path: Path) -> Path:
    shutil.copy(trained / "c.yaml", tmp_path)
    shutil.copytree(trained / "run", tmp_path / "run", symlinks=True)
    return next((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize("name", IN_MANIFEST)
def test_a_forged_manifest(name: str, trained: Path, tmp_path: Path) -> None:
    checkpoint = forge(trained, tmp_path)
    path, value = IN_MANIFEST[name]
    if path == "files.state.json":
        reseal(checkpoint, lambda manifest: {**manifest, "files": {**manifest["files"], "state.json": value}})
    else:
        reseal(checkpoint, lambda manifest: set_in(manifest, path, value))
    check(tmp_path, checkpoint)


@pytest.mark.parametrize("name", IN_STATE)
def test_a_forged_state(name: str, trained: Path, tmp_path: Path) -> None:
    checkpoint = forge(trained, tmp_path)
    path, value = IN_STATE[name]
    plain = set_in(json.loads((checkpoint / STATE).read_text()), path, value)
    (checkpoint / STATE).write_text(json.dumps(plain))
    reseal(checkpoint)
    check(tmp_path, checkpoint, fits=name not in LEARNED_AGAIN)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'"x"', DEEP.encode(), b"\xff\xfe", b'{"state": {}}'])
def test_a_state_that_is_none(content: bytes, trained: Path, tmp_path: Path) -> None:
    checkpoint = forge(trained, tmp_path)
    (checkpoint / STATE).write_bytes(content)
    reseal(checkpoint)
    check(tmp_path, checkpoint)


@pytest.mark.parametrize("name", TENSORS)
def test_forged_tensors(name: str, trained: Path, tmp_path: Path) -> None:
    checkpoint = forge(trained, tmp_path)
    file, change = TENSORS[name]
    changed = change(load((checkpoint / file).read_bytes()))
    (checkpoint / file).write_bytes(changed if isinstance(changed, bytes) else save(changed))
    reseal(checkpoint)
    check(tmp_path, checkpoint, loads=file != OPTIMIZER)


def test_a_copy_under_another_step_and_a_checkpoint_of_another_run_are_refused(trained: Path, tmp_path: Path) -> None:
    checkpoint = forge(trained, tmp_path)
    copy = checkpoint.with_name("step-00000099")
    shutil.copytree(checkpoint, copy)
    resumed = call("fit", tmp_path / "c.yaml", "-o", tmp_path / "run", "--epochs", 3)
    assert resumed.exit_code == 0
    assert f"manifest.json: its step is {int(checkpoint.name[5:])}, the directory's 99" in resumed.stderr
    good("fit", tmp_path / "c.yaml", "-o", tmp_path / "other", "-q", "--set", "seed=4", "--lr", "0.5")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        shutil.rmtree(path)
    for path in (tmp_path / "other" / "checkpoints").iterdir():
        shutil.copytree(path, tmp_path / "run" / "checkpoints" / path.name)
    shutil.copy(tmp_path / "other" / "metrics.jsonl", tmp_path / "run")
    refused = call("fit", tmp_path / "c.yaml", "-o", tmp_path / "run", "--epochs", 4)
    assert isinstance(refused.exception, NoCheckpoint)
    assert "is a checkpoint of another run" in str(refused.exception)
    assert "seed: 0 here, 4 there" in str(refused.exception)
