"""Several runs under one parent: seeds, what they reached, and what becomes of those that fail or are stopped."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dltrain.cli.fit import format_seeds
from dltrain.cli.shared.tables import format_members, format_table, print_summary
from dltrain.config.experiment import load_experiment
from dltrain.errors import RunBusy, Stopped, UsageError
from dltrain.observers.console import Messenger
from dltrain.runs.directory import open_run
from dltrain.runs.lock import Lock
from dltrain.runtime.interrupts import Interrupts
from dltrain.sweeps import child, members
from dltrain.sweeps.child import ChildFailed, FinishedProcess
from dltrain.sweeps.members import (
    RunOptions,
    describe_spread,
    prepare_parent,
    raise_failed,
    refuse_override,
    summarize_members,
)
from dltrain.sweeps.repeats import parse_seeds, train_seeds
from support.runs import outcome as bytes_of
from support.runs import run_once

Write = Callable[[Mapping[str, Any]], Path]

FRAGILE = '''
import os
import torch
from torch import nn
from dltrain.registry import models

@models.register("fragile")
class Fragile(nn.Module):
    """One linear layer that refuses a seed.

    Options:
        bias: learn one.
    """

    def __init__(self, image_channels: int, height: int, width: int, classes: int, *, bias: bool = True) -> None:
        super().__init__()
        if os.environ.get("REFUSED_SEED") == str(torch.initial_seed()):
            raise ValueError("this seed is refused")
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(image_channels * height * width, classes, bias))

    def forward(self, images):
        return self.layers(images)
'''


def options(quiet: bool = True, json_lines: bool = False, interrupts: Interrupts | None = None) -> RunOptions:
    return RunOptions(interrupts or Interrupts(), Messenger(quiet, json_lines))


def fit_seeds(
    config: Path, overrides: list[str], seeds: str, output: Path | None, options: RunOptions, *, as_json: bool = False
) -> None:
    """Do what `dltrain fit --seeds` does, in this process."""
    parent, summary = train_seeds(config, overrides, seeds, replace(options, output=output))
    print_summary(parent, summary, format_seeds(summary), as_json=as_json, quiet=options.messenger.quiet)


@pytest.fixture
def fragile(settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> Path:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    settings |= {"model": {"name": "fragile"}, "plugins": ["fragile.py"]}
    return write_settings(settings)


@pytest.mark.parametrize(
    ("text", "numbers"), [("0", [0]), ("0,1,2", [0, 1, 2]), ("0-4", [0, 1, 2, 3, 4]), ("7, 1 - 2", [7, 1, 2])]
)
def test_seeds_are_numbers_and_ranges(text: str, numbers: list[int]) -> None:
    assert parse_seeds(text) == numbers


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "--seeds: found ''; allowed are numbers and ranges of them, such as 0,1,2 or 0-4"),
        ("1,,2", "--seeds: found '1,,2'; allowed are numbers"),
        ("-1", "--seeds: found '-1'; allowed are numbers"),
        ("1e3", "--seeds: found '1e3'; allowed are numbers"),
        ("9" * 30, "allowed are numbers"),
        ("4-0", "--seeds: found '4-0'; allowed are ranges upwards, of at most 1000 seeds"),
        ("0-9999999", "allowed are ranges upwards, of at most 1000 seeds"),
        ("0-3,2", "--seeds: seed 2 is given twice in '0-3,2'"),
    ],
)
def test_other_seeds_are_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_seeds(text)
    assert told in str(caught.value)


def test_what_members_have_of_their_own_is_not_set() -> None:
    refuse_override(["model.seed=1", "data.folded=2"], "seed", "--seeds")
    with pytest.raises(UsageError, match=r"--set seed=1: --seeds gives each run its own seed\nnext: leave out one"):
        refuse_override(["trainer.epochs=2", "seed=1"], "seed", "--seeds")
    with pytest.raises(UsageError, match=r"--set data.fold.of=3: cv gives each run its own data.fold"):
        refuse_override(["data.fold.of=3"], "data.fold", "cv")


def test_spread_is_the_sample_standard_deviation_of_what_there_is() -> None:
    values = [0.9, 0.8, 0.95]
    found = describe_spread([*values, None])
    assert found["standard_deviation"] == pytest.approx(statistics.stdev(values), rel=1e-12)
    assert found["mean"] == pytest.approx(2.65 / 3, rel=1e-12)
    assert (found["count"], found["minimum"], found["maximum"]) == (3, 0.8, 0.95)
    assert describe_spread([0.5])["standard_deviation"] is None
    assert describe_spread([])["mean"] is None


def test_a_table_ends_short_rows_with_text() -> None:
    rows = [["seed", "a"], ["0", "0.5"], ["1 failed: exit code 4"]]
    assert format_table(rows) == "seed    a\n   0  0.5\n1 failed: exit code 4"
    assert format_table([["a", "b", "c"], ["xx", 1, "yy"]], left=[0, 2]) == "a   b  c\nxx  1  yy"


def test_a_parent_holds_nothing_else(tmp_path: Path) -> None:
    parent = prepare_parent(tmp_path / "deep" / "seeds", "dltrain fit --seeds", fresh=False)
    assert json.loads((parent / "summary.json").read_text()) == {"kind": "dltrain fit --seeds"}
    assert prepare_parent(parent, "dltrain fit --seeds", fresh=True).name == "seeds-2"
    with pytest.raises(UsageError, match="seeds: holds the runs of `dltrain fit --seeds`, not of `dltrain cv`"):
        prepare_parent(parent, "dltrain cv", fresh=False)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(UsageError, match="is a run itself, and several runs need a parent"):
        prepare_parent(tmp_path, "dltrain cv", fresh=False)
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "to_mother.txt").write_text("dear")
    with pytest.raises(UsageError, match=r"letters: holds to_mother.txt, but no summary.json of dltrain's"):
        prepare_parent(letters, "dltrain cv", fresh=False)
    with pytest.raises(UsageError, match=r"to_mother.txt: cannot be made: File exists"):
        prepare_parent(letters / "to_mother.txt", "dltrain cv", fresh=False)


@pytest.mark.slow
def test_seeds_do_what_fit_does_and_only_what_is_missing(
    fragile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In processes of their own."""
    parent = tmp_path / "seeds"
    monkeypatch.setenv("REFUSED_SEED", "5")
    with pytest.raises(ChildFailed) as caught:
        fit_seeds(fragile, [], "3,5", parent, options(quiet=False))
    assert caught.value.exit_code == 2
    assert f"{parent}: 1 of 2 runs failed, the others count\n" in str(caught.value)
    assert "seed-5: exit code 2: model 'fragile': this seed is refused (" in str(caught.value)
    assert "fragile.py:18)\n  next: change its options" in str(caught.value)
    out, err = capsys.readouterr()
    assert "validation split of mnist, the best epoch of each run by accuracy" in out
    assert "   5  failed: exit code 2" in out
    assert "seed-3: run 1 of 2\n" in err
    assert "seed-3: epoch 2/2  loss" in err
    assert "seed-5: error: model 'fragile'" in err
    metrics = (parent / "seed-3" / "metrics.jsonl").stat().st_mtime_ns

    monkeypatch.delenv("REFUSED_SEED")
    fit_seeds(fragile, [], "3,5", parent, options(quiet=False), as_json=True)
    out, err = capsys.readouterr()
    assert "seed-3: run 1 of 2 (finished before)\nseed-5: run 2 of 2\n" in err
    assert (parent / "seed-3" / "metrics.jsonl").stat().st_mtime_ns == metrics
    summary = json.loads(out)
    assert summary == json.loads((parent / "summary.json").read_text())

    accuracies = []
    for seed, member in zip((3, 5), summary["members"], strict=True):
        by_hand = tmp_path / f"by-hand-{seed}"
        history = run_once(with_seed(fragile, seed), by_hand, Interrupts()).state.history
        assert bytes_of(by_hand) == bytes_of(parent / f"seed-{seed}")
        best = max(history, key=lambda record: (record["accuracy"], -record["loss"]))
        assert member["metrics"]["accuracy"] == member["score"] == best["accuracy"]
        assert (member["seed"], member["epoch"], member["state"]) == (seed, best["epoch"], "finished")
        accuracies.append(best["accuracy"])
    assert summary["statistics"]["accuracy"]["mean"] == pytest.approx(statistics.mean(accuracies))


def with_seed(config: Path, seed: int) -> Path:
    path = config.with_name(f"seed-{seed}.yaml")
    path.write_text(f"extends: {config.name}\nseed: {seed}\n")
    return path


def test_other_settings_are_refused_before_anything_is_started(
    fragile: Path, tmp_path: Path, here: list[list[str]]
) -> None:
    fit_seeds(fragile, [], "1", tmp_path / "seeds", options())
    assert len(here) == 1
    with pytest.raises(
        UsageError, match=r"seed-1: this run was started with other settings\n  model.bias: True -> False"
    ):
        fit_seeds(fragile, ["model.bias=false"], "0-1", tmp_path / "seeds", options())
    assert len(here) == 1
    fit_seeds(fragile, ["trainer.epochs=3"], "1", tmp_path / "seeds", options())
    assert json.loads((tmp_path / "seeds" / "summary.json").read_text())["members"][0]["epochs"] == 3


def test_a_run_directory_can_be_given_and_its_name_is_kept(
    fragile: Path, tmp_path: Path, here: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_once(fragile, tmp_path / "first", Interrupts())
    fit_seeds(tmp_path / "first", ["trainer.epochs=1"], "4", None, options())
    assert (tmp_path / "runs" / "first-seeds" / "seed-4" / "best").exists()


def test_a_second_process_on_the_parent_is_kept_out(fragile: Path, tmp_path: Path, here: list[list[str]]) -> None:
    prepare_parent(tmp_path / "seeds", "dltrain fit --seeds", fresh=False)
    lock = Lock(tmp_path / "seeds")
    with pytest.raises(RunBusy, match="another process trains here"):
        fit_seeds(fragile, [], "1", tmp_path / "seeds", options())
    lock.release()
    assert not here


def test_a_busy_member_fails_alone(fragile: Path, tmp_path: Path, here: list[list[str]]) -> None:
    experiment = load_experiment(fragile, ["seed=0"]).experiment
    run = open_run(tmp_path / "seeds-elsewhere", experiment)
    run.release()
    prepare_parent(tmp_path / "seeds", "dltrain fit --seeds", fresh=False)
    busy = open_run(tmp_path / "seeds" / "seed-0", experiment)
    with pytest.raises(ChildFailed, match=r"seed-0: exit code 8: .*another process trains here") as caught:
        fit_seeds(fragile, [], "0,1", tmp_path / "seeds", options())
    busy.release()
    assert caught.value.exit_code == 8
    assert (tmp_path / "seeds" / "seed-1" / "report.html").exists()


def test_max_time_covers_the_whole(fragile: Path, tmp_path: Path, here: list[list[str]]) -> None:
    interrupts = Interrupts()
    interrupts.limit(0)
    with pytest.raises(Stopped) as caught:
        fit_seeds(fragile, [], "0-3", tmp_path / "seeds", options(interrupts=interrupts))
    assert caught.value.exit_code == 75
    assert str(caught.value).endswith("seeds: 0 of 4 runs are done\nnext: rerun the same command to resume")
    assert not here


def test_several_exit_codes_become_one(tmp_path: Path) -> None:
    failed = {"state": "failed", "name": "seed-0", "exit_code": 4, "message": "not finite"}
    with pytest.raises(ChildFailed) as caught:
        raise_failed(tmp_path, [failed, {**failed, "exit_code": 3}])
    assert caught.value.exit_code == 1
    with pytest.raises(ChildFailed) as caught:
        raise_failed(tmp_path, [failed, {"state": "finished"}])
    assert caught.value.exit_code == 4


@pytest.mark.slow
def test_a_stopped_member_saves_and_says_no_more(fragile: Path, tmp_path: Path) -> None:
    """In a process of its own."""
    metrics, heard = tmp_path / "run" / "metrics.jsonl", []
    words = ["fit", str(fragile), "--set", "trainer.epochs=100000", "-o", str(tmp_path / "run")]
    ended = child.run_dltrain(
        words, Interrupts(), heard.append, lambda: metrics.exists() and b'"step"' in metrics.read_bytes()
    )
    assert ended.exit_code == 143
    assert ended.failure is not None
    assert ended.failure.message == "stopped by SIGTERM"
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert any("new run" in line for line in heard)
    assert not any("error: stopped" in line for line in heard)


@pytest.mark.slow
def test_a_request_for_a_checkpoint_is_passed_on_also_to_a_process_that_has_just_started(
    fragile: Path, tmp_path: Path
) -> None:
    class Asking(Interrupts):
        def take_save_request(self) -> bool:
            return True  # every 0.1 seconds, from the start of the process on

    heard: list[str] = []
    words = ["fit", str(fragile), "--set", "trainer.epochs=100000", "-o", str(tmp_path / "run")]
    ended = child.run_dltrain(words, Asking(), heard.append, lambda: any("SIGUSR1: saved" in line for line in heard))
    assert ended.exit_code == 143
    assert ended.failure is not None
    assert ended.failure.message == "stopped by SIGTERM"


def test_a_process_fails_with_the_error_that_it_reported() -> None:
    event = '{"event": "error", "message": "no memory left: 3 GB", "advice": "lower data.batch_size", "exit_code": 5}'
    assert child.finish(0, "{}", ["warning: slow"]) == FinishedProcess(0, "{}")
    failure = child.finish(5, "", ["epoch 1", event, "a warning at exit"]).failure
    assert isinstance(failure, ChildFailed)
    assert (failure.message, failure.advice, failure.exit_code) == ("no memory left: 3 GB", "lower data.batch_size", 5)
    assert str(child.finish(1, "", ["a", "b", "c", "d"]).failure) == "b\nc\nd"
    killed = child.finish(-signal.SIGKILL, "", [event])
    assert str(killed.failure) == "killed by SIGKILL, which the system does when memory runs out"
    assert str(child.finish(-signal.SIGSEGV, "", []).failure) == "killed by SIGSEGV"
    assert child.finish(-signal.SIGSEGV, "", []).exit_code == 139


def test_a_signal_to_this_process_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The member fails because it was stopped: that is no failure of its own."""

    class Told(Interrupts):
        asked = 0

        def pending(self) -> Stopped | None:
            self.asked += 1
            return Stopped("stopped by SIGINT", 130) if self.asked > 1 else None

    process = FinishedProcess(143, "", ChildFailed("stopped by SIGTERM", 143))
    monkeypatch.setattr(child, "run_dltrain", lambda *_: process)
    experiment: Any = None
    with pytest.raises(Stopped, match="stopped by SIGINT") as caught:
        members.run_member(["fit"], members.Member("seed-0", {}, experiment), options(interrupts=Told()))
    assert caught.value.exit_code == 130
    with pytest.raises(ChildFailed, match="stopped by SIGTERM") as failed:
        members.run_member(["fit"], members.Member("seed-0", {}, experiment), options())
    assert failed.value.exit_code == 143


def test_members_are_heard_by_name(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    options().pass_on("seed-0", "epoch 1")
    options(json_lines=True).pass_on("seed-1", '{"event": "Logged"}')
    assert capsys.readouterr().err == 'seed-0: epoch 1\n{"member": "seed-1", "event": "Logged"}\n'
    assert options(json_lines=True).arguments() == ["--quiet", "--json-logs"]

    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    options().pass_on("seed-0", "epoch 2")


def test_parents_of_runs_need_no_command_line() -> None:
    modules = [f"dltrain.sweeps.{name}" for name in ("members", "repeats", "search")]
    program = f"import sys, {', '.join(modules)}; assert not {{'typer', 'torch'}} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_means_over_some_of_the_runs_are_reported_and_never_compared_with_those_of_others() -> None:
    def finished(fold: int, mase: float | None, baseline: float | None) -> dict[str, Any]:
        baselines = {"last value": {"rmse": 2.0 + fold, "mase": baseline}, **({"season": {}} if fold else {})}
        return {
            "state": "finished", "fold": fold, "epoch": 1, "metrics": {"rmse": 1.0, "mase": mase},
            "baselines": baselines,
        }  # fmt: skip

    ragged = summarize_members("cv", [finished(0, 1.0, None), finished(1, 0.5, 0.8), finished(2, None, 0.9)], 3)
    assert ragged["statistics"]["mase"]["count"] == 2
    assert ragged["baselines"] == {"last value": {"rmse": 3.0, "mase": None}}
    assert "mase is undefined in 1 of 3 runs; its mean is over the other 2" in format_members(ragged, "fold")
    alike = summarize_members("cv", [finished(0, None, None), finished(1, 0.5, 0.8), finished(2, 0.3, 1.0)], 3)
    assert alike["baselines"]["last value"]["mase"] == pytest.approx(0.9)
    whole = summarize_members("cv", [finished(0, 1.0, 1.0)], 1)
    assert "undefined" not in format_members(whole, "fold")
