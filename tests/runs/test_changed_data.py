"""A run knows its data: what changed since training is refused by name, or used and reported."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from dltrain.data.reading import ReadFiles
from dltrain.errors import UsageError
from dltrain.runs import changed_data
from support.commands import call, good
from support.examples import DATASETS, TRAINER, Examples, write_config
from support.files import lines

TASKS = {
    "ag_news": "text_classification",
    "audio": "speech_recognition",
    "common_voice": "speech_recognition",
    "imdb": "text_classification",
    "labelled_text": "text_classification",
    "librispeech": "speech_recognition",
    "ptb": "language_modelling",
    "series": "sequence_regression",
    "speech_commands": "speech_recognition",
    "table": "regression",
    "text": "language_modelling",
}
FILES = sorted(name for name, example in DATASETS.items() if example.write is not None)


def edit_in_place(path: Path) -> None:
    """Change a file's content, but neither its size nor its modification time."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    digits = [index for index, byte in enumerate(content) if chr(byte).isdigit()]
    content[digits[-1] if path.suffix in (".csv", ".tsv", ".txt") else -2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def train(folder: Path, name: str) -> tuple[Path, Path]:
    """The config and the directory of a finished run on the example of a dataset, whose files are in `folder`."""
    examples = Examples(folder)
    task = TASKS.get(name, "image_classification")
    config = {**examples.model_for_task(task), "data": examples.data(name, {})}
    path = write_config(folder / "config.yaml", {**config, "trainer": {**TRAINER, "epochs": 1}})
    good("fit", path, "-q", "-o", folder / "run")
    return path, folder / "run"


@pytest.fixture
def noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config of 200 rows of random numbers with random labels."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    rows = [f"{draw.random():.4f},{draw.random():.4f},{draw.choice('AB')}" for _ in range(200)]
    (tmp_path / "noise.csv").write_text("\n".join(["a,b,label", *rows]) + "\n")
    config = {
        "task": "tabular_classification",
        "data": {"name": "table", "training": "noise.csv", "target": "label"},
        "model": {"name": "dense", "hidden": [8]},
        "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
        "observers": ["report"],
    }
    return write_config(tmp_path / "noise.yaml", config)


def append_row(folder: Path) -> None:
    with (folder / "noise.csv").open("a") as file:
        file.write("0.5,0.5,A\n")


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_a_training_reads_is_known_and_an_edit_in_place_is_seen(name: str, tmp_path: Path) -> None:
    config, run = train(tmp_path, name)
    read = ReadFiles.from_plain(json.loads((run / changed_data.READ_FILES).read_text()))
    assert read.are_unchanged()
    assert read.files or read.folders
    assert "nothing to do" in good("fit", config, "-o", run).stderr
    folder = tmp_path / DATASETS[name].write.__name__
    used = {Path(path) for path in read.files}
    inside = {path for path in folder.rglob("*") if str(path.parent) in read.folders and path.is_file()}
    changed = sorted(used | {path for path in inside if path.suffix in (".png", ".wav")})
    edit_in_place(changed[-1])
    assert not read.are_unchanged()
    finished = call("fit", config, "-o", run)
    assert isinstance(finished.exception, UsageError)
    assert "this run is finished, but its data has changed since then: " in str(finished.exception)
    assert "--fresh" in str(finished.exception)


@pytest.mark.parametrize("name", ["table", "labelled_text", "text", "series", "image_folder"])
def test_an_evaluation_on_changed_files_is_refused_by_name_and_with_the_flag_reported_everywhere(
    name: str, tmp_path: Path
) -> None:
    _, run = train(tmp_path, name)
    good("eval", run)
    folder = tmp_path / DATASETS[name].write.__name__
    chosen = {"image_folder": "red/9.png", "text": "ptb.train.txt", "series": "series.csv", "table": "rows.csv"}
    path = folder / chosen.get(name, "texts.csv")
    edit_in_place(path)
    named = "training pictures" if name == "image_folder" else path.name
    for split in ("test", "validation"):
        refused = call("eval", run, "--split", split)
        assert isinstance(refused.exception, UsageError)
        assert "the data has changed since this run was trained" in str(refused.exception)
        assert f"\n  {named}: " in str(refused.exception)
    result = good("eval", run, "--changed-data")
    assert f"changed data, not those of the run's training: {named}" in result.stdout
    assert json.loads(good("eval", run, "--changed-data", "--json").stdout)["changed_data"]["files"] == [named]
    assert lines(run / "evaluations.jsonl")[-1]["changed_data"]["files"] == [named]
    assert "changed_data" not in lines(run / "evaluations.jsonl")[0]
    exported = call("export", run, "-o", tmp_path / "m.safetensors")
    assert "the data has changed" in str(exported.exception)
    described = good("export", run, "-o", tmp_path / "m.safetensors", "--changed-data")
    assert f"(changed data, not those of the run's training: {named}" in described.stdout


def test_an_exported_file_knows_its_data_too(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "run")
    good("export", "run", "-o", "m.safetensors")
    good("eval", "m.safetensors")
    append_row(noise.parent)
    assert "noise.csv" in str(call("eval", "m.safetensors").exception)


def test_a_test_file_is_known_from_its_first_evaluation_on(noise: Path) -> None:
    shutil.copy("noise.csv", "test.csv")
    good("fit", noise, "-q", "-o", "run", "--set", "data.test=test.csv")
    Path("test.csv").write_text("".join(Path("test.csv").read_text().splitlines(True)[:50]))
    good("eval", "run")
    edit_in_place(Path("test.csv"))
    refused = call("eval", "run")
    assert "the data has changed since this run was first evaluated (SHA-256):\n  test.csv: " in str(refused.exception)
    alone = call("eval", sorted(Path("run/checkpoints").iterdir())[0])
    assert "test.csv" in str(alone.exception), "a checkpoint belongs to its run"
    good("eval", "run", "--changed-data")
    assert call("eval", "run").exit_code != 0, "an evaluation on changed data does not make them the run's own"


def test_moved_data_of_the_same_content_are_the_same_data(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "run")
    Path("moved").mkdir()
    Path("noise.csv").rename("moved/noise.csv")
    good("eval", "run", "--root", "moved")
    append_row(Path("moved"))
    assert "noise.csv" in str(call("eval", "run", "--root", "moved").exception)


def test_a_finished_run_whose_data_are_gone_says_that_they_were_not_compared(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "run")
    Path("noise.csv").unlink()
    result = good("fit", noise, "-o", "run")
    assert "warning: run: the data cannot be compared with what this run was trained on: noise.csv" in result.stderr
    assert "nothing to do" in result.stderr


def test_a_finished_run_whose_data_changed_and_cannot_be_read_any_more_is_refused(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "run")
    Path("noise.csv").write_text("a,b\n1,2\n")
    refused = call("fit", noise, "-o", "run")
    assert "run: this run is finished, but its data has changed since then: noise.csv" in str(refused.exception)
    assert "label" in str(refused.exception)


def test_a_finished_run_whose_files_were_only_touched_is_finished(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "run")
    states = Path("run", changed_data.READ_FILES)
    before = states.read_text()
    Path("noise.csv").touch()
    assert "nothing to do" in good("fit", noise, "-o", "run").stderr
    assert states.read_text() != before, "the new states are kept: the next time the files need not be read"
    states.unlink()  # a run of an earlier version has none
    assert "nothing to do" in good("fit", noise, "-o", "run").stderr
    append_row(noise.parent)
    states.unlink()
    assert "has changed since then: noise.csv" in str(call("fit", noise, "-o", "run").exception)


def test_a_finished_run_on_a_sample_does_not_hide_that_the_data_have_come(tmp_path: Path) -> None:
    config = {
        "task": "text_classification",
        "data": {"name": "labelled_text", "training": ["texts.csv"], "root": str(tmp_path), "when_missing": "sample"},
        "model": {"name": "embedding_bag", "embedding": 2},
        "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
        "observers": [],
    }
    path = write_config(tmp_path / "config.yaml", config)
    good("fit", path, "-q", "-o", tmp_path / "run")
    assert "nothing to do" in good("fit", path, "-o", tmp_path / "run").stderr
    DATASETS["labelled_text"].write(tmp_path)  # type: ignore[misc]
    assert "texts.csv" in str(call("fit", path, "-o", tmp_path / "run").exception)


@pytest.mark.parametrize("command", [["fit", "--seeds", "0-2"], ["cv", "--folds", "3"]])
def test_members_on_different_files_are_not_averaged(command: list[str], noise: Path, here: list[list[str]]) -> None:
    words = [command[0], noise, *command[1:], "-o", "parent"]
    good(*words)
    original = Path("noise.csv").read_text()
    append_row(noise.parent)
    first = "seed-0" if command[0] == "fit" else "fold-0"
    last = Path("parent", first.replace("0", "2"))
    for _ in range(2):  # with all of them finished, and with one missing
        refused = call(*words)
        assert isinstance(refused.exception, UsageError)
        assert f"parent: the data has changed since {first} was trained: noise.csv" in str(refused.exception)
        shutil.rmtree(last, ignore_errors=True)
    Path("noise.csv").write_text(original)
    good(*words)
    append_row(noise.parent)
    shutil.rmtree(last)
    good("fit", f"parent/configs/{last.name}.yaml", "-o", last, "-q")
    Path("noise.csv").write_text(original)
    refused = call(*words)
    assert f"parent: {last.name} was trained on other data than {first}: noise.csv" in str(refused.exception)


def test_trials_on_different_files_are_not_compared(noise: Path, here: list[list[str]]) -> None:
    search = {"trials": 2, "space": {"optimizer.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}}}
    with noise.open("a") as file:
        file.write(f"search: {json.dumps(search)}\n")
    good("sweep", noise, "-o", "sweep")
    append_row(noise.parent)
    refused = call("sweep", noise, "-o", "sweep", "--set", "search.trials=3")
    assert isinstance(refused.exception, UsageError)
    assert "sweep: the data has changed since trial-0000 was trained: noise.csv" in str(refused.exception)


def test_a_resumed_run_with_a_changed_validation_file_is_refused(noise: Path) -> None:
    shutil.copy("noise.csv", "validation.csv")
    words: list[Any] = ["fit", noise, "-q", "-o", "run", "--set", "data.validation=validation.csv"]
    good(*words)
    edit_in_place(Path("validation.csv"))
    refused = call(*words, "--set", "trainer.epochs=2")
    assert "the data has changed: validation.csv" in str(refused.exception)


def test_a_language_model_is_not_made_from_changed_transcripts(tmp_path: Path) -> None:
    _, run = train(tmp_path, "audio")
    words = ["data", "lm", "--like", run, "-o", tmp_path / "words.arpa", "--order", 1]
    good(*words)
    manifest = tmp_path / "write_speech" / "train.tsv"
    content = manifest.read_text()
    manifest.write_text("".join(content.splitlines(keepends=True)[:-1]))
    refused = call(*words)
    assert isinstance(refused.exception, UsageError)
    assert "the data has changed since this run was trained" in str(refused.exception)
