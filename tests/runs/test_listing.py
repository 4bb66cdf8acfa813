"""Lists of runs: what each one is and scored, from its files alone; nothing hides a run, and nothing is made up."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dltrain.core.checkpoint import Checkpoints
from dltrain.errors import DataError, Diverged, NoCheckpoint
from dltrain.runs.listing import ListedRun, flatten_runs, list_runs, read_run
from dltrain.runs.lock import Lock, is_locked
from dltrain.runs.run_facts import count_parameters, is_special
from dltrain.runtime.interrupts import Interrupts
from support.runs import Killed, StopAt, run_once

Write = Callable[[Mapping[str, Any]], Path]
FORMER = Path(__file__).parents[1] / "compatibility" / "format_1" / "runs"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, images_root: Path) -> Path:
    """A finished run of two epochs, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    settings = {
        "task": "image_classification",
        "data": {"name": "mnist", "root": str(images_root), "batch_size": 9, "download": False},
        "model": {"name": "mlp", "hidden": [8]},
        "optimizer": {"name": "adam", "learning_rate": 1e-2},
        "trainer": {"epochs": 2, "device": "cpu", "threads": 1},
        "observers": ["times"],
    }
    (folder / "small.yaml").write_text(json.dumps(settings))
    run_once(folder / "small.yaml", folder / "run", Interrupts())
    return folder / "run"


def copy(finished: Path, target: Path) -> Path:
    shutil.copytree(finished, target, symlinks=True)
    return target


def evaluate(run: Path, accuracy: float, **facts: Any) -> None:
    best = Checkpoints(run / "checkpoints").best()
    assert best is not None
    line = {
        "split": "test",
        "metrics": {"accuracy": accuracy, "loss": 0.5},
        "weights_sha256": best.manifest["files"]["weights.safetensors"]["sha256"],
        "data_sha256": {"test": "ab"},
        **facts,
    }
    with (run / "evaluations.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def test_a_finished_run_is_described_as_its_checkpoint_does(finished: Path, tmp_path: Path) -> None:
    run = copy(finished, tmp_path / "runs" / "digits")
    (found,) = list_runs(tmp_path / "runs")
    last = Checkpoints(run / "checkpoints").last()
    assert last is not None
    accuracies = [epoch["accuracy"] for epoch in last.record.history]
    assert (found.name, found.kind, found.state, found.reason) == ("digits", "run", "finished", "all 2 epochs done")
    assert (found.task, found.model, found.seed, found.device) == ("image_classification", "mlp", 0, "cpu")
    assert (found.metric, found.direction) == ("accuracy", "max")
    assert found.best == max(accuracies)
    assert found.best_epoch is not None
    assert accuracies[found.best_epoch - 1] == found.best
    assert found.validation["loss"] == last.record.history[found.best_epoch - 1]["loss"]
    assert (found.epochs, found.epochs_planned, len(found.history)) == (2, 2, 2)
    assert found.parameters == 784 * 8 + 8 + 8 * 10 + 10  # counted by hand
    assert found.parameters == count_parameters(last)
    assert found.seconds is not None
    assert 0 < found.seconds < 60
    assert found.started is not None
    assert found.ended is not None
    assert found.started <= found.ended
    assert (found.test, found.test_metrics) == (None, {})
    assert json.loads(json.dumps(found.to_plain("history")))["best"] == found.best


def test_only_a_plain_evaluation_of_the_best_weights_on_the_test_split_counts(finished: Path, tmp_path: Path) -> None:
    run = copy(finished, tmp_path / "a")
    evaluate(run, 0.1, split="validation")
    evaluate(run, 0.2, weights_sha256="another")
    evaluate(run, 0.3, decoder="beam=4")
    evaluate(run, 0.35, threshold=0.9)
    evaluate(run, 0.4, changed_data={"digits": 1})
    assert read_run(run).test is None
    evaluate(run, 0.5)
    evaluate(run, 0.6, adaptation="cache=5")
    with (run / "evaluations.jsonl").open("a") as file:
        file.write('{"split": "test", "met')  # killed while it was written
    found = read_run(run)
    assert (found.test, found.test_metrics["loss"], found.test_sha256) == (0.5, 0.5, {"test": "ab"})


def test_how_a_process_ended_is_the_state(settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> None:
    config = write_settings(settings)
    for name, stop in (("stopped", StopAt(30)), ("killed", StopAt(30, kill=True)), ("early", StopAt(3, kill=True))):
        with pytest.raises((Killed, Exception)):
            run_once(config, tmp_path / "runs" / name, stop)
    settings["optimizer"]["learning_rate"] = 1e30
    with pytest.raises(Diverged):
        run_once(write_settings(settings), tmp_path / "runs" / "failed", Interrupts())
    found = {run.name: run for run in list_runs(tmp_path / "runs")}
    states = {name: run.state for name, run in found.items()}
    assert states == {"stopped": "stopped", "killed": "unfinished", "early": "unfinished", "failed": "failed"}
    assert (found["stopped"].reason, found["stopped"].epochs) == ("stopped by the test", 1)
    assert found["failed"].reason is not None
    assert "not finite" in found["failed"].reason
    assert (found["early"].model, found["early"].best, found["early"].epochs) == ("cnn", None, 0)
    assert found["early"].config["trainer"]["epochs"] == 2  # from config.yaml: there is no checkpoint
    lock = Lock(tmp_path / "runs" / "early")
    assert read_run(tmp_path / "runs" / "early").state == "running"
    lock.release()

    settings["optimizer"]["learning_rate"] = 1e-2
    run_once(write_settings(settings), tmp_path / "runs" / "stopped", Interrupts())
    assert read_run(tmp_path / "runs" / "stopped").state == "finished"


def test_a_finished_run_that_is_continued_is_unfinished_again(finished: Path, tmp_path: Path) -> None:
    run = copy(finished, tmp_path / "a")
    records = json.loads((run / "environment.json").read_text())
    assert records[0]["ended"]["exit_code"] == 0
    last = Checkpoints(run / "checkpoints").last()
    assert last is not None
    (run / "environment.json").write_text(json.dumps([*records, {"begins_at_step": last.step}]))
    assert read_run(run).state == "unfinished"
    (run / "environment.json").write_text("[{")
    found = read_run(run)  # an older or a damaged record of processes takes nothing else away
    assert (found.state, found.started, found.device) == ("finished", None, "cpu")
    assert found.parameters == 784 * 8 + 8 + 8 * 10 + 10


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: (run / "config.yaml").unlink(), "config.yaml: missing"),
        (lambda run: shorten(*run.glob("checkpoints/*/weights.safetensors")), "weights.safetensors: "),
        (lambda run: shorten(*run.glob("checkpoints/*/state.json")), "state.json: "),
        (lambda run: [path.write_text("{}") for path in run.glob("checkpoints/*/manifest.json")], "manifest.json: not"),
        (lambda run: empty(run), "config.yaml: the file holds 'x'"),
    ],
)
def test_a_damaged_run_is_listed_with_the_reason(
    damage: Callable[[Path], object], reason: str, finished: Path, tmp_path: Path
) -> None:
    copy(finished, tmp_path / "sound")
    damage(copy(finished, tmp_path / "a"))
    found = {run.name: run for run in list_runs(tmp_path)}
    assert found["a"].state == "damaged"
    assert reason in str(found["a"].reason)
    assert found["sound"].state == "finished"


def shorten(*paths: Path) -> None:
    for path in paths:
        path.write_bytes(path.read_bytes()[:-1])


def empty(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "config.yaml").write_text("x")


def test_with_one_of_two_checkpoints_damaged_the_other_one_counts(finished: Path, tmp_path: Path) -> None:
    run = copy(finished, tmp_path / "a")
    first, last = list(Checkpoints(run / "checkpoints"))
    shorten(last.path / "state.json")
    found = read_run(run)
    assert found.state == "unfinished"
    assert (found.epochs, found.best) == (2, max(epoch["accuracy"] for epoch in found.history))
    assert first.fault is None


def test_members_are_in_their_parent_and_averaged(finished: Path, tmp_path: Path) -> None:
    parent = tmp_path / "iris-seeds"
    for number, accuracy in ((0, 0.5), (2, 0.7), (10, 0.9)):
        evaluate(copy(finished, parent / f"seed-{number}"), accuracy)
    (parent / "summary.json").write_text('{"kind": "dltrain fit --seeds", "members": []}')
    (parent / "configs").mkdir()
    (found,) = list_runs(tmp_path)
    assert (found.name, found.kind, found.state) == ("iris-seeds", "seeds", "finished")
    names = [f"iris-seeds/seed-{number}" for number in (0, 2, 10)]
    assert [member.name for member in found.members] == names
    assert {member.parent for member in found.members} == {"iris-seeds"}
    assert [run.name for run in flatten_runs([found])] == ["iris-seeds", *names]
    assert found.test == pytest.approx(statistics.fmean([0.5, 0.7, 0.9]))
    assert found.test_deviation == pytest.approx(statistics.stdev([0.5, 0.7, 0.9]))
    assert (found.best, found.best_deviation) == (found.members[0].best, 0)
    shutil.rmtree(parent / "seed-10")
    (parent / "summary.json").write_text(
        json.dumps(
            {
                "kind": "dltrain fit --seeds",
                "members_asked_for": 4,
                "members": [{"name": "seed-11", "state": "failed", "message": "no memory\nmore"}],
            }
        )
    )
    (found,) = list_runs(tmp_path)
    assert [member.state for member in found.members] == ["finished", "finished", "failed"]
    assert found.members[2].reason == "no memory"
    assert (found.state, found.reason) == ("unfinished", "1 of 3 runs failed or are damaged")  # one is missing


def test_a_sweep_scores_as_its_best_finished_trial(finished: Path, tmp_path: Path) -> None:
    for number in range(3):
        copy(finished, tmp_path / "s" / f"trial-{number:04d}")
    evaluate(tmp_path / "s" / "trial-0000", 0.8)
    trials = [{"name": f"trial-{number:04d}", "state": "pruned" if number else "finished"} for number in range(3)]
    summary = {"kind": "dltrain sweep", "trials_asked_for": 3, "trials": trials}
    (tmp_path / "s" / "summary.json").write_text(json.dumps(summary))
    (found,) = list_runs(tmp_path / "s")
    assert [member.state for member in found.members] == ["finished", "pruned", "pruned"]
    assert (found.chosen, found.test, found.best_deviation) == ("s/trial-0000", 0.8, None)


def test_what_is_no_run_is_not_listed(finished: Path, tmp_path: Path) -> None:
    copy(finished, tmp_path / "deep" / "down" / "a")
    copy(finished, tmp_path / ".hidden" / "a")
    (tmp_path / "link").symlink_to(tmp_path / "deep")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("a: 1")
    (tmp_path / "other" / "summary.json").write_text("[]")
    assert [run.name for run in list_runs(tmp_path)] == ["deep/down/a"]
    assert [run.name for run in list_runs(tmp_path / "link")] == ["down/a"]
    with pytest.raises(NoCheckpoint, match=r"other: no run directory\nruns nearby: none"):
        read_run(tmp_path / "other")
    with pytest.raises(NoCheckpoint, match=r"downs: no run directory\nruns nearby:\n.*deep/down/a"):
        read_run(tmp_path / "deep" / "downs")
    with pytest.raises(DataError, match="there is no such folder"):
        list_runs(tmp_path / "none")
    with pytest.raises(DataError, match="is a file"):
        list_runs(tmp_path / "other" / "config.yaml")


def test_runs_of_the_previous_version_are_listed() -> None:
    found = {run.name: run for run in list_runs(FORMER)}
    assert {name: run.state for name, run in found.items()} == {
        "digits": "unfinished",
        "iris": "finished",
        "plugin": "finished",
        "text": "finished",
    }
    assert found["iris"].parameters == 67  # 4 * 8 + 8 and 8 * 3 + 3
    assert found["text"].direction == "min"


def test_looking_at_a_run_never_makes_it_busy(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    Lock(tmp_path).release()
    reader = subprocess.Popen(
        [sys.executable, "-c", LOOK.format(tmp_path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert reader.stdout is not None
    assert reader.stdin is not None
    reader.stdout.readline()
    for _ in range(300):
        lock = Lock(tmp_path)
        assert is_locked(tmp_path)
        lock.release()
    reader.stdin.close()
    assert reader.wait() == 0
    reader.stdout.close()


LOOK = """
import sys, threading
from pathlib import Path
from dltrain.runs.lock import is_locked
print("ready", flush=True)
threading.Thread(target=lambda: [is_locked(Path({str!r})) for _ in iter(int, 1)], daemon=True).start()
sys.stdin.read()
""".replace("{str!r}", "{0!r}.__str__()")


def test_hundreds_of_runs_without_torch(finished: Path, tmp_path: Path) -> None:
    for number in range(200):
        copy(finished, tmp_path / f"run-{number}")
    started = time.perf_counter()
    assert len(list_runs(tmp_path)) == 200
    assert time.perf_counter() - started < 5  # 0.2 s on an idle core
    code = "import sys; from dltrain.runs.listing import list_runs; from pathlib import Path; "
    code += "assert list_runs(Path(sys.argv[1])); assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(finished)], check=True)


def test_a_listed_run_has_defaults_for_all_that_is_unknown() -> None:
    assert ListedRun(name="a", path=Path("a")).to_plain()["test"] is None


@pytest.mark.parametrize(
    ("evaluation", "special"),
    [
        ({"metrics": {}}, False),
        ({"decoder": {"method": "greedy"}}, False),
        ({"decoder": {"method": "beam_search", "width": 8}}, True),
        ({"adaptation": {"method": "cache"}}, True),
        ({"changed_data": {}}, True),
        ({"threshold": 0.3}, True),
    ],
)
def test_a_greedy_decoder_is_the_run_s_own_model(evaluation: dict[str, Any], special: bool) -> None:
    assert is_special(evaluation) == special
