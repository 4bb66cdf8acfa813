"""Runs and an export that an earlier version wrote, used by this one.

`format_1/` was written by make_fixtures.py with the version before the package was restructured. Where this machine
computes other bits than the one that recorded it (another torch or CPU), the tests continue with --inexact and compare
to a tolerance.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from dltrain.cli.main import application
from dltrain.config.trust import trust_everything
from dltrain.errors import DltrainError
from dltrain.runtime.interrupts import Interrupts

RECORDED = Path(__file__).parent / "format_1"
EXPECTED: dict[str, dict[str, Any]] = json.loads((RECORDED / "expected.json").read_text())
RUNS = [name for name in EXPECTED if name != "exported"]


@pytest.fixture(autouse=True)
def trusted() -> Iterator[None]:
    """The runs were trained elsewhere, and one of them with a plug-in."""
    with trust_everything(True):
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the recorded files, as the working directory: the text is named by a relative path."""
    copy = tmp_path / "recorded"
    shutil.copytree(RECORDED, copy)
    monkeypatch.chdir(copy)
    return copy


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(application(arguments[:1]), list(arguments), obj=Interrupts())
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def same_bits(run: Path) -> bool:
    """Whether this machine computes exactly what the recording one did."""
    state = next(run.glob("checkpoints/*/state.json"))
    signature = json.loads(state.read_text())["record"]["signature"]
    return bool(
        signature["torch"] == torch.__version__
        and signature["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
        and signature["cuda_devices"] == torch.cuda.device_count()
    )


def test_the_fixtures_are_small() -> None:
    assert sum(path.stat().st_size for path in RECORDED.rglob("*") if path.is_file()) < 100_000


@pytest.mark.parametrize("name", [*RUNS, "exported"])
def test_an_earlier_run_or_export_is_evaluated(name: str, folder: Path) -> None:
    source = "iris.safetensors" if name == "exported" else f"runs/{name}"
    metrics = json.loads(call("eval", source, "--json").stdout)["metrics"]
    recorded = EXPECTED[name]["metrics"]
    assert {metric: metrics[metric] for metric in recorded} == pytest.approx(recorded, abs=1e-5)


@pytest.mark.parametrize("name", [*RUNS, "exported"])
def test_an_earlier_run_or_export_gives_the_same_answers(name: str, folder: Path) -> None:
    for recorded in EXPECTED[name]["answers"]:
        answers = [json.loads(line) for line in call(*recorded["arguments"]).stdout.splitlines()]
        assert answers == [rounded(answer) for answer in recorded["answers"]]


def rounded(value: Any) -> Any:
    """The same value in which numbers need to agree to 1e-6 only."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return pytest.approx(value, abs=1e-6) if isinstance(value, float) else value


@pytest.mark.parametrize("name", RUNS)
def test_an_earlier_run_is_continued_to_the_same_weights(name: str, folder: Path) -> None:
    exact, epochs = same_bits(folder / "runs" / name), EXPECTED[name]["epochs"]
    inexact = [] if exact else ["--inexact"]
    printed = call("fit", f"{name}.yaml", "-o", f"runs/{name}", "--set", f"trainer.epochs={epochs}", *inexact)
    assert f"resuming runs/{name}" in printed.stderr
    last = sorted((folder / "runs" / name / "checkpoints").glob("step-*[0-9]"))[-1]
    weights, expected = load_file(last / "weights.safetensors"), load_file(f"continued/{name}.safetensors")
    assert weights.keys() == expected.keys()
    for key, tensor in weights.items():
        if exact:
            assert torch.equal(tensor, expected[key]), key
        else:
            torch.testing.assert_close(tensor, expected[key], rtol=1e-3, atol=1e-3)


def test_an_earlier_run_is_exported(folder: Path) -> None:
    call("export", "runs/iris", "-o", "again.safetensors")
    before, after = load_file("iris.safetensors"), load_file("again.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_an_earlier_run_and_export_serve_as_initial_weights(folder: Path) -> None:
    for number, source in enumerate(["runs/iris", "iris.safetensors"]):
        arguments = ["--set", f"weights.init_from={source}", "--set", "trainer.epochs=1"]
        call("fit", "iris.yaml", "-o", f"runs/new-{number}", *arguments)
    files = [next(folder.glob(f"runs/new-{number}/checkpoints/*/weights.safetensors")) for number in (0, 1)]
    first, second = map(load_file, files)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_checkpoint_of_a_later_format_is_refused_in_one_sentence(folder: Path) -> None:
    path = next(folder.glob("runs/iris/checkpoints/*/manifest.json"))
    manifest = {**json.loads(path.read_text()), "format": 2}
    del manifest["sha256"]
    digest = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    path.write_text(json.dumps({**manifest, "sha256": digest}, indent=1) + "\n")
    for arguments in (["eval", "runs/iris"], ["fit", "iris.yaml", "-o", "runs/iris", "--set", "trainer.epochs=6"]):
        with pytest.raises(DltrainError, match="written in format 2, and this dltrain reads format 1") as refused:
            call(*arguments)
        assert refused.value.exit_code == 7
        assert refused.value.advice == "use the version that wrote it"
    assert path.exists(), "a checkpoint of a later format is not damaged, and stays where it is"


def test_an_export_of_a_later_format_is_refused_in_one_sentence(folder: Path) -> None:
    path = folder / "iris.safetensors.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "description": 2}))
    with pytest.raises(DltrainError, match="written in format 2, and this dltrain reads format 1") as refused:
        call("eval", "iris.safetensors")
    assert refused.value.exit_code == 7
