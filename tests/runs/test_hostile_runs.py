"""Runs and exports that somebody else made: their code is not executed unless it is trusted."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import dltrain
from dltrain.cli.main import run_command
from dltrain.config import trust
from dltrain.core.checkpoint import _seal
from dltrain.errors import NoCheckpoint, UsageError
from support.commands import call, good
from support.examples import write_config

VALUES = "sepal length (cm)=5,sepal width (cm)=3,petal length (cm)=1,petal width (cm)=0.2"
PLUGIN = '''
from pathlib import Path
from torch import nn
from dltrain.registry import models

Path({marker!r}).write_text("executed")


@models.register("theirs")
class Theirs(nn.Module):
    """One layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, inputs):
        return self.layer(inputs)
'''


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@pytest.fixture
def theirs(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was trained with a plug-in by somebody else, and what `export` and `share` made of it."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "theirs.py").write_text(PLUGIN.format(marker=str(marker)))
    config = {
        "plugins": ["theirs.py"],
        "task": "tabular_classification",
        "data": {"name": "bundled_table", "table": "iris"},
        "model": "theirs",
        "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
        "observers": [],
    }
    path = write_config(tmp_path / "source" / "c.yaml", config)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "their state"))
    good("fit", path, "-q", "-o", tmp_path / "run")
    good("export", tmp_path / "run", "-o", tmp_path / "model.safetensors")
    good("share", tmp_path / "run", "-o", tmp_path / "run.zip")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "my state"))
    monkeypatch.setattr(trust, "_own", set())
    monkeypatch.chdir(tmp_path)
    marker.unlink()
    return tmp_path / "run"


def trusting(*words: object) -> Result:
    with trust.trust_everything(True):
        return call(*words)


COMMANDS: dict[str, tuple[str, ...]] = {
    "eval": ("eval", "run"),
    "predict": ("predict", "run", VALUES),
    "predict of an export": ("predict", "model.safetensors", VALUES),
    "predict of a checkpoint": ("predict", "run/checkpoints/step-00000003", VALUES),
    "summary": ("summary", "run"),
    "export": ("export", "run", "-o", "out.safetensors"),
    "explain": ("explain", "run", "x.png"),
    "transcribe": ("transcribe", "run", "x.wav"),
    "generate": ("generate", "run"),
    "serve": ("serve", "run", "--port", "0"),
    "reproduce": ("reproduce", "run"),
    "reproduce of a shared file": ("reproduce", "run.zip"),
    "fit of its config": ("fit", "run/config.yaml", "-o", "again"),
    "fit of the run": ("fit", "run", "--epochs", "2"),
    "config check": ("config", "check", "run/config.yaml"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_executes_what_a_run_carries(name: str, theirs: Path, marker: Path) -> None:
    result = call(*COMMANDS[name])
    assert not marker.exists()
    assert isinstance(result.exception, UsageError), repr(result.exception)
    assert "theirs.py" in str(result.exception)
    if "shared" not in name:
        digest = hashlib.sha256((theirs / "plugins" / "theirs.py").read_bytes()).hexdigest()
        assert digest in str(result.exception)
        assert "--trust-plugins" in str(result.exception)


def test_listing_and_sharing_execute_nothing(theirs: Path, marker: Path) -> None:
    for words in (
        ("runs", "."),
        ("compare", "run"),
        ("share", "run", "-o", "again.zip"),
        ("config", "show", "run/config.yaml"),
    ):
        call(*words)
        assert not marker.exists(), words


def test_the_flag_a_training_and_the_folder_of_plug_ins_trust_it(
    theirs: Path, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(["predict", "run", VALUES, "--trust-plugins"]) == 0
    assert marker.exists()
    with pytest.raises(UsageError, match=r"theirs\.py"):
        dltrain.load("run")
    assert dltrain.load("run", trust_plugins=True).predict(VALUES)
    assert isinstance(call("predict", "run", VALUES).exception, UsageError), "the flag is not remembered"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "dltrain" / "plugins").mkdir(parents=True)
    shutil.copy(tmp_path / "source" / "theirs.py", tmp_path / "config" / "dltrain" / "plugins" / "any.py")
    good("predict", "run", VALUES)
    shutil.rmtree(tmp_path / "config")
    assert isinstance(call("predict", "run", VALUES).exception, UsageError)
    good("fit", "source/c.yaml", "-q", "-o", "mine")
    monkeypatch.setattr(trust, "_own", set())  # as in another process
    good("predict", "run", VALUES)
    assert [line.split() for line in trust.get_record_path().read_text().splitlines()] == [
        [hashlib.sha256((tmp_path / "source" / "theirs.py").read_bytes()).hexdigest(), "theirs.py"]
    ]


def test_a_home_that_cannot_be_written_does_not_stop_training(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    good("fit", "source/c.yaml", "-q", "-o", "mine")
    good("eval", "mine")


@pytest.mark.parametrize("name", ["../../escaped.py", "plugins/../../escaped.py", "/tmp/escaped.py", "plugins/a/b.py"])
def test_no_plug_in_is_written_outside_its_folder(name: str, theirs: Path, tmp_path: Path) -> None:
    checkpoint = next((theirs / "checkpoints").iterdir())
    plain: dict[str, Any] = json.loads((checkpoint / "state.json").read_text())
    plain["record"]["plugins"][name] = "raise SystemExit"
    content = json.dumps(plain).encode()
    (checkpoint / "state.json").write_bytes(content)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    del manifest["sha256"]
    manifest["files"]["state.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (checkpoint / "manifest.json").write_bytes(_seal(manifest))
    before = set(tmp_path.rglob("*"))
    for words in (("predict", "run", VALUES), ("eval", "run"), ("export", "run", "-o", "x.safetensors")):
        assert isinstance(trusting(*words).exception, NoCheckpoint)
    assert not list(tmp_path.parent.rglob("escaped.py"))
    assert not Path("/tmp/escaped.py").exists()
    assert set(tmp_path.rglob("*")) == before
    described = json.loads(Path("model.safetensors.json").read_text())
    described["record"]["plugins"] = {name: "raise SystemExit"}
    Path("model.safetensors.json").write_text(json.dumps(described))
    assert isinstance(trusting("predict", "model.safetensors", VALUES).exception, NoCheckpoint)
