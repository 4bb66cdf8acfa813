"""Run directories: one process at a time, one set of settings, nothing overwritten."""

from __future__ import annotations

import copy
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from dltrain.config.experiment import Experiment, load_tree
from dltrain.core.checkpoint import Checkpoint, Checkpoints
from dltrain.errors import RunBusy, UsageError
from dltrain.files import find_free_directory
from dltrain.runs.directory import (
    CONFIG,
    append_environment,
    copy_plugins,
    find_differences,
    iterate_leaves,
    link_checkpoint,
    open_run,
    write_config,
)
from dltrain.runs.lock import Lock, is_locked

SETTINGS: dict[str, Any] = {
    "task": "image_classification",
    "seed": 0,
    "data": "mnist",
    "model": {"name": "cnn", "channels": [4]},
    "trainer": {"epochs": 2},
}


def experiment(**changed: Any) -> Experiment:
    return load_tree({**SETTINGS, **changed}, "a test")


def begun(directory: Path, **changed: Any) -> None:
    run = open_run(directory, experiment(**changed))
    write_config(directory, copy_plugins(directory, experiment(**changed)))
    run.release()


def test_differences_are_told_by_their_dotted_paths() -> None:
    assert dict(iterate_leaves({"a": {"b": 1, "c": {}}, "d": [1]})) == {"a.b": 1, "a.c": {}, "d": [1]}
    changed = find_differences({"a": {"b": 1, "gone": 2}}, {"a": {"b": 3, "new": None}, "e": 4})
    assert changed == {"a.b": (1, 3), "a.gone": (2, None), "e": (None, 4)}


def test_a_new_run_then_one_that_was_begun(tmp_path: Path) -> None:
    run = open_run(tmp_path / "deep" / "run", experiment())
    assert (run.begins, run.headline) == ("new", f"new run: {tmp_path}/deep/run")
    write_config(run.directory, experiment())
    run.release()
    run = open_run(tmp_path / "deep" / "run", experiment())
    assert run.headline == f"new run: {tmp_path}/deep/run (started before, no checkpoint yet)"
    run.release()


def test_a_second_process_is_kept_out_and_told_who_is_in(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", experiment())
    with pytest.raises(RunBusy) as caught:
        open_run(tmp_path / "run", experiment())
    assert f"run: another process trains here: process {os.getpid()} on " in str(caught.value)
    assert "next: wait for it or stop it, or train elsewhere with -o DIRECTORY or --fresh" in str(caught.value)
    assert caught.value.exit_code == 8
    run.release()
    open_run(tmp_path / "run", experiment()).release()


def test_the_kernel_releases_a_dead_process_lock(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        Lock(tmp_path)
        os._exit(0)
    os.waitpid(child, 0)
    Lock(tmp_path).release()


def test_a_lock_whose_file_its_holder_removed_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Lock(tmp_path)

    def end(_: float) -> None:
        (tmp_path / "lock").unlink()
        first.release()

    with monkeypatch.context() as patch:
        patch.setattr("time.sleep", end)
        second = Lock(tmp_path)
    assert is_locked(tmp_path)
    with pytest.raises(RunBusy):
        Lock(tmp_path)
    second.release()


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("seed", 1, "  seed: 0 -> 1\n"),
        ("model.channels", [8], "  model.channels: [4] -> [8]\n"),
        ("trainer.epochs", 1, "  trainer.epochs: 2 -> 1\n"),
    ],
)
def test_other_settings_are_refused_with_the_differences(path: str, value: object, told: str, tmp_path: Path) -> None:
    begun(tmp_path / "run")
    changed: dict[str, Any] = copy.deepcopy(SETTINGS)
    *sections, name = path.split(".")
    (changed[sections[0]] if sections else changed)[name] = value
    with pytest.raises(UsageError) as caught:
        open_run(tmp_path / "run", experiment(**changed))
    assert "this run was started with other settings\n" + told in str(caught.value)
    assert "allowed to change: observers, and trainer.epochs and max_steps to larger numbers" in str(caught.value)
    Lock(tmp_path / "run").release()  # a refusal holds no lock


def test_more_epochs_are_allowed(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    run = open_run(tmp_path / "run", experiment(trainer={"epochs": 9}))
    assert run.begins == "resumed"
    run.release()


def test_a_changed_plugin_is_refused(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("one = 1")
    begun(tmp_path / "run", plugins=[str(plugin)])
    open_run(tmp_path / "run", experiment(plugins=[str(plugin)])).release()
    plugin.write_text("one = 2")
    with pytest.raises(UsageError, match=r"plugins/mine.py: 'its copy in the run directory' -> 'a changed file'"):
        open_run(tmp_path / "run", experiment(plugins=[str(plugin)]))


def test_fresh_takes_the_next_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path / "run")
    assert find_free_directory(tmp_path / "run") == tmp_path / "run-2"
    begun(tmp_path / "run-2")
    assert find_free_directory(tmp_path / "run") == tmp_path / "run-3"
    assert find_free_directory(tmp_path / "other") == tmp_path / "other"
    monkeypatch.chdir(tmp_path / "run")
    assert find_free_directory(Path()) == Path("../run-3")


def test_directories_that_hold_something_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to_mother.txt").write_text("dear")
    with pytest.raises(UsageError, match=r"letters: contains to_mother.txt, but no run of dltrain \(no config.yaml\)"):
        open_run(tmp_path / "letters", experiment())
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["to_mother.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file: is a file, and a run needs a directory"):
        open_run(tmp_path / "file", experiment())
    with pytest.raises(UsageError, match=r"file/run: cannot be made: Not a directory"):
        open_run(tmp_path / "file" / "run", experiment())


def test_environment_keeps_a_record_of_each_process(tmp_path: Path) -> None:
    append_environment(tmp_path, {"process": 1})
    append_environment(tmp_path, {"process": 2})
    assert (tmp_path / "environment.json").read_text().count("process") == 2


def test_what_an_early_end_left_behind_is_no_stranger(tmp_path: Path) -> None:
    for name in ("metrics.jsonl", "times.jsonl", "environment.json"):
        (tmp_path / name).write_text("")
    (tmp_path / "plugins").mkdir()
    run = open_run(tmp_path, experiment())
    assert run.begins == "new"
    with pytest.raises(RunBusy):  # and while one process starts here, another is told so
        open_run(tmp_path, experiment())
    run.release()


def test_an_unreadable_environment_is_moved_aside(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("[{")
    append_environment(tmp_path, {"process": 1})
    assert (tmp_path / "environment.unreadable").read_text() == "[{"
    assert "process" in (tmp_path / "environment.json").read_text()


def test_links_are_for_people_and_may_be_missing(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoints" / "step-00000001", 1, True)
    link_checkpoint(tmp_path, "best", checkpoint)
    link_checkpoint(tmp_path, "best", checkpoint)
    assert (tmp_path / "best").readlink() == Path("checkpoints/step-00000001")
    (tmp_path / "last").mkdir()
    link_checkpoint(tmp_path, "last", checkpoint)  # cannot be replaced by a link: left as it is
    assert (tmp_path / "last").is_dir()
    assert not (tmp_path / CONFIG).exists()
    assert Checkpoints(tmp_path / "checkpoints").last() is None


def test_a_link_that_cannot_be_replaced_is_an_error_not_another_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Checkpoint(tmp_path / "checkpoints" / f"step-0000000{step}", step, True) for step in (1, 2))
    link_checkpoint(tmp_path, "last", first)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "symlink", refuse)
    link_checkpoint(tmp_path, "best", first)  # as on a file system without links
    assert not (tmp_path / "best").is_symlink()
    link_checkpoint(tmp_path, "last", first)  # leads there already: nothing is written
    with pytest.raises(OSError, match="No space left"):
        link_checkpoint(tmp_path, "last", second)
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
