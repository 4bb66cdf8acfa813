"""`dltrain reproduce` and `dltrain share`: the same bits again, or what differs first and why."""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dltrain.errors import DataError, RequirementNotMet, Stopped, UsageError
from dltrain.observers.console import Messenger
from dltrain.runs.reproducing import RecordedRun, compare_weights, find_measured_differences, reproduce_run
from dltrain.runs.sharing import CONTENTS, unpack_shared
from support.commands import call, good
from support.examples import write_rows
from support.runs import StopAt

Write = Callable[[Mapping[str, Any]], Path]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A config with dropout and a schedule that spans the run, on a small table."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path)
    data = {"name": "table", "training": "rows.csv", "target": "positive", "features": ["a", "b"], "batch_size": 6}
    return {
        "task": "binary_classification",
        "data": data,
        "model": {"name": "dense", "hidden": [8], "dropout": 0.3},
        "schedule": "cosine",
        "trainer": {"epochs": 3, "device": "cpu", "threads": 1, "log_every_steps": 2},
        "observers": [],
    }


@pytest.fixture
def run(rows: dict[str, Any], write_settings: Write) -> Path:
    good("fit", write_settings(rows), "-o", "run")
    return Path("run")


def reproduce(*words: object) -> dict[str, Any]:
    """What `reproduce --json` prints; its exit code is that of the outcome."""
    result = call("reproduce", *words, "--quiet", "--json")
    assert isinstance(result.exception, (RequirementNotMet, type(None), SystemExit)), result.exception
    plain: dict[str, Any] = json.loads(result.stdout)
    assert plain["identical"] == (result.exception is None or result.exit_code == 0)
    return plain


def test_a_run_is_reproduced_to_the_last_bit_and_leaves_nothing(run: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = good("reproduce", run, "--quiet")
    assert result.stdout.startswith("identical: 3 epochs, ")
    assert "weights of step-" in result.stdout
    assert sorted(tmp_path.rglob("*")) == before
    plain = reproduce(run, "-o", "kept")
    assert (plain["complete"], plain["around"], plain["difference"]) == (True, {}, None)
    assert Path("kept/metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    with pytest.raises(UsageError, match="it is there already"):
        raise call("reproduce", run, "-o", "kept").exception or AssertionError


def test_a_few_epochs_keep_the_schedule_of_the_whole_run(run: Path) -> None:
    plain = reproduce(run, "--epochs", 1, "-o", "first")
    assert (plain["identical"], plain["complete"], plain["epochs"]) == (True, False, 1)
    events = [json.loads(line) for line in Path("first/metrics.jsonl").read_text().splitlines()]
    assert {line["epoch"] for line in events if line["event"] == "epoch"} == {1}
    assert "(of 3)" in good("reproduce", run, "--epochs", 1, "--quiet").stdout
    assert reproduce(run, "--epochs", 9)["complete"]


def test_a_changed_row_is_named(run: Path) -> None:
    table = Path("rows.csv")
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(f"1.5{line[line.index(',') :]}" for line in lines[1:])]) + "\n")
    plain = reproduce(run)
    assert plain["difference"]["step"] == 2
    assert plain["difference"]["what"] == "loss"
    assert [name for name in plain["around"] if not name.startswith("version")] == ["data: rows.csv"]
    text = call("reproduce", run, "--quiet").stdout
    assert text.startswith("first difference: step 2, epoch 1, loss: recorded 0.")
    assert "\nwhat differs around it:\n  data: rows.csv: " in text


def test_a_changed_seed_in_the_config_is_named(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 7"))
    plain = reproduce(run)
    assert plain["around"] == {"seed": {"recorded": 0, "again": 7}}
    assert plain["difference"]["step"] == 2


def test_other_threads_are_named_and_the_recorded_ones_are_used(run: Path) -> None:
    plain = reproduce(run, "--set", "trainer.threads=2")
    assert plain["around"] == {"threads": {"recorded": 1, "again": 2}}
    assert reproduce(run, "--set", "trainer.threads=null")["around"] == {}


def test_an_edited_metric_is_named_with_its_step(run: Path) -> None:
    metrics = run / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    chosen = [number for number, line in enumerate(lines) if line["event"] == "epoch"][1]
    lines[chosen]["validation_accuracy"] = 0.99
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plain = reproduce(run)
    found = plain["difference"]
    assert (found["epoch"], found["what"], found["recorded"]) == (2, "validation_accuracy", 0.99)
    assert plain["around"]["recorded metrics"]["again"] == "metrics.jsonl was edited after training"
    metrics.unlink()
    assert reproduce(run)["identical"]  # the history has every epoch's metrics


def test_other_weights_with_the_same_metrics_are_found(run: Path, rows: dict[str, Any], write_settings: Write) -> None:
    good("fit", write_settings({**rows, "seed": 1}), "-o", "other")
    first, second = (RecordedRun(Path(name), Path(name)).checkpoints for name in ("run", "other"))
    found, equal = compare_weights(first, second, 10**9)
    assert found is not None
    assert equal == []
    assert found.what.startswith(f"weights of {next(name for name in first if name in second)}: ")
    assert compare_weights(first, first, 10**9) == (None, list(first))


def test_an_unfinished_run_is_compared_as_far_as_it_went(rows: dict[str, Any], write_settings: Write) -> None:
    good("fit", write_settings(rows), "-o", "r")
    recorded = RecordedRun(Path("r"), Path("r"))
    with pytest.raises(Stopped, match="run the same command again"):
        reproduce_run(
            recorded,
            recorded.load([], plugins=False),
            Path("again"),
            epochs=None,
            interrupts=StopAt(9),
            messenger=Messenger(quiet=True),
        )
    plain = reproduce("again")
    assert (plain["identical"], plain["complete"], plain["epochs"]) == (True, False, 1)


PLUGIN = """
from torch import nn
from dltrain.registry import models

open("executed", "w").close()

@models.register("tiny")
class Tiny(nn.Linear):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)

    def forward(self, inputs):
        return super().forward(inputs)
"""


def test_a_shared_run_has_no_data_and_is_reproduced(run: Path, tmp_path: Path) -> None:
    good("share", run)
    good("share", run, "-o", "again.zip")
    shared = Path("run.dltrain.zip")
    assert shared.read_bytes() == Path("again.zip").read_bytes()
    with zipfile.ZipFile(shared) as archive:
        content = b"".join(map(archive.read, archive.namelist()))
    assert b"rows.csv" in content
    assert str(tmp_path).encode() not in content
    assert Path("rows.csv").read_bytes() not in content
    plain = reproduce(shared)
    assert (plain["identical"], plain["complete"], plain["around"]) == (True, True, {})
    Path("elsewhere").mkdir()
    Path("rows.csv").rename("elsewhere/rows.csv")
    error = call("reproduce", shared).exception
    assert isinstance(error, DataError)
    assert "--root DIR or --set data.OPTION=PATH" in str(error)
    assert reproduce(shared, "--root", "elsewhere")["identical"]
    with zipfile.ZipFile(shared) as archive:
        archive.extractall("unpacked")
    assert good("eval", "unpacked", "--root", "elsewhere").exit_code == 0


def test_plug_ins_of_a_shared_run_are_executed_only_when_asked(rows: dict[str, Any], write_settings: Write) -> None:
    Path("tiny.py").write_text(PLUGIN)
    config = {**rows, "plugins": ["tiny.py"], "model": "tiny", "task": "regression", "schedule": "constant"}
    config["data"] = {**rows["data"], "target": "difference"}
    good("fit", write_settings(config), "-o", "run")
    good("share", "run", "-o", "shared.zip")
    Path("executed").unlink()
    error = call("reproduce", "shared.zip").exception
    assert isinstance(error, UsageError)
    assert "executes its plug-ins: plugins/tiny.py" in str(error)
    assert not Path("executed").exists()
    assert reproduce("shared.zip", "--plugins")["identical"]
    assert Path("executed").exists()
    assert reproduce("run")["identical"]


def write_zip(path: Path, files: Mapping[str, bytes], listed: Mapping[str, bytes] | None = None) -> None:
    facts = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in (files if listed is None else listed).items()
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(CONTENTS, json.dumps({"format": 1, "name": "x", "files": facts}))


@pytest.mark.parametrize(
    "name",
    [
        "../config.yaml", "/etc/passwd", "plugins/../../x.py", "plugins/.hidden.py",
        "checkpoints/step-1/weights.safetensors",
        "config.yaml/x", "C:\\config.yaml", "plugins\\x.py", "other.txt", "config.yaml\n", "plugins/",
    ],
)  # fmt: skip
def test_a_stranger_s_file_cannot_write_elsewhere(name: str, tmp_path: Path) -> None:
    path, folder = tmp_path / "bad.zip", tmp_path / "in" / "folder"
    folder.mkdir(parents=True)
    write_zip(path, {"config.yaml": b"seed: 0\n", name: b"harm"})
    with pytest.raises(DataError, match="no file that `dltrain share` wrote"):
        unpack_shared(path, folder)
    assert sorted(tmp_path.rglob("*")) == sorted([path, folder, folder.parent])


def test_damaged_and_lying_files_are_refused(tmp_path: Path) -> None:
    folder, path = tmp_path / "folder", tmp_path / "bad.zip"
    good_file = {"config.yaml": b"seed: 0\n"}
    cases: list[Callable[[], Any]] = [
        lambda: path.write_bytes(b"no archive"),
        lambda: path.write_bytes(b""),
        lambda: write_zip(path, good_file, {"config.yaml": b"seed: 1\n"}),
        lambda: write_zip(path, good_file, {"config.yaml": b"seed: 10\n"}),
        lambda: write_zip(path, good_file, {}),
        lambda: write_zip(path, {}, good_file),
        lambda: write_zip(path, {"metrics.jsonl": bytes((256 << 20) + 1)}),
        lambda: zipfile.ZipFile(path, "w").close(),
    ]
    for number, make in enumerate(cases):
        make()
        target = folder / str(number)
        target.mkdir(parents=True)
        with pytest.raises(DataError, match="no file that `dltrain share` wrote"):
            unpack_shared(path, target)
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("config.yaml")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        facts = {"sha256": hashlib.sha256(b"/etc/passwd").hexdigest(), "size": 11}
        archive.writestr(CONTENTS, json.dumps({"format": 1, "name": "x", "files": {"config.yaml": facts}}))
    (folder / "link").mkdir()
    unpack_shared(path, folder / "link")
    assert not (folder / "link" / "config.yaml").is_symlink()


def test_a_variable_of_the_environment_is_not_read_for_a_stranger(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "rows.csv")
    good("share", run, "-o", "shared.zip")
    with zipfile.ZipFile("shared.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name != CONTENTS}
    (state,) = [name for name in files if name.endswith("state.json")][-1:]
    manifest = state.replace("state.json", "manifest.json")
    plain = json.loads(files[state])
    plain["record"]["config"]["data"]["training"] = "${env:SECRET}"
    files[state] = json.dumps(plain).encode()
    sealed = json.loads(files[manifest])
    sealed.pop("sha256")
    sealed["files"]["state.json"] = {"sha256": hashlib.sha256(files[state]).hexdigest(), "size": len(files[state])}
    digest = hashlib.sha256(json.dumps(sealed).encode()).hexdigest()
    files[manifest] = (json.dumps({**sealed, "sha256": digest}, indent=1) + "\n").encode()
    write_zip(Path("changed.zip"), files)
    for words in ([], ["--set", "trainer.threads=1"]):
        error = call("reproduce", "changed.zip", *words).exception
        assert isinstance(error, DataError)
        assert "${env:SECRET}" in str(error)


def test_what_is_no_run_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["reproduce", "nowhere"], ["share", "nowhere"]):
        result = call(*words)
        assert getattr(result.exception, "exit_code", None) == 7
    assert not list(tmp_path.iterdir())


def test_one_checkpoint_is_answered_with_its_run(run: Path) -> None:
    error = call("reproduce", run / "best").exception
    assert isinstance(error, UsageError)
    assert f"name the run directory, {run.resolve()}" in str(error)


def test_a_norm_that_an_earlier_version_did_not_record_is_no_difference() -> None:
    recorded, again = {"step": 4, "loss": 0.5}, {"step": 4, "loss": 0.5, "gradient_norm": 1.0}
    assert list(find_measured_differences(recorded, again)) == []
    changed = find_measured_differences({**recorded, "gradient_norm": 2.0}, again)
    assert [one["what"] for one in changed] == ["gradient_norm"]
