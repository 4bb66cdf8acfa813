"""Locks that are missing, removed, or cannot be written, and what killed processes leave."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dltrain import temporary
from dltrain.config.experiment import load_experiment
from dltrain.errors import RunBusy, Stopped
from dltrain.events import Event, Logged
from dltrain.files import write_atomically
from dltrain.observers.console import Messenger
from dltrain.runs.directory import open_run
from dltrain.runs.fitting import fit_experiment
from dltrain.runs.lock import Lock
from dltrain.runtime.interrupts import Interrupts
from dltrain.temporary import name_temporary, remove_abandoned
from support.runs import outcome, run_once

Write = Callable[[Mapping[str, Any]], Path]


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("dltrain.runs.lock.fcntl.flock", refuse)


@pytest.mark.usefixtures("without_locks")
@pytest.mark.parametrize("words", [["fit"], ["fit", "--seeds", "0,1"], ["cv", "--folds", "2"]], ids=" ".join)
def test_a_file_system_without_locks_is_explained_and_nothing_stays(
    words: list[str], settings: dict[str, Any], write_settings: Write, tmp_path: Path, dltrain: Callable[..., Any]
) -> None:
    command, *rest = words
    failed = dltrain(command, write_settings(settings), *rest, "-o", "deep/run")
    assert failed.returncode == 2
    assert "deep/run: its file system has no locks, which keep two processes from training in one" in failed.stderr
    assert "(flock: No locks available)\nnext: name a directory on another file system with -o; or" in failed.stderr
    assert "--no-lock" in failed.stderr
    assert not (tmp_path / "deep").exists()
    (tmp_path / "empty").mkdir()
    dltrain(command, tmp_path / "small.yaml", *rest, "-o", "empty")
    assert list((tmp_path / "empty").iterdir()) == []


def test_no_lock_trains_there(
    settings: dict[str, Any], write_settings: Write, tmp_path: Path, dltrain: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = write_settings(settings)
    assert dltrain("fit", config, "-o", "whole").returncode == 0
    taken: list[int] = []

    def flock(file: Any, operation: int) -> None:
        if not isinstance(file, int) and operation & fcntl.LOCK_EX:  # the cache locks descriptors
            taken.append(operation)

    monkeypatch.setattr("dltrain.runs.lock.fcntl.flock", flock)
    assert dltrain("fit", config, "-o", "run", "--no-lock").returncode == 0
    assert not taken
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    assert f"process {os.getpid()} on " in (tmp_path / "run" / "lock").read_text()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_finished_run_that_cannot_be_written_to_is_reported_as_finished(
    number: int, settings: dict[str, Any], write_settings: Write, dltrain: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = write_settings(settings)
    run_once(config, tmp_path / "run", Interrupts())
    with pytest.raises(Stopped):
        run_once(config, tmp_path / "stopped", stop_at_once())
    opened = Path.open

    def refuse(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if set(mode) & set("wax+") and tmp_path in path.absolute().parents:
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, mode, *rest, **options)

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    monkeypatch.setattr(Path, "open", refuse)
    done = dltrain("fit", config, "-o", "run")
    assert (done.returncode, done.stdout) == (0, "")
    assert "finished: run (all 2 epochs done); nothing to do" in done.stderr
    assert dltrain("fit", config, "-o", "run", "--json").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    failed = dltrain("fit", config, "-o", "stopped")
    assert failed.returncode == 3
    assert "error: stopped: cannot be written to, and this run is not finished" in failed.stderr


def stop_at_once() -> Interrupts:
    interrupts = Interrupts()
    interrupts.limit(0)
    return interrupts


def test_a_removed_lock_stops_the_first_process_once_there_may_be_a_second(
    settings: dict[str, Any], write_settings: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one trains to its end inside the first one's step: what the first had written is only continued."""
    monkeypatch.setattr("dltrain.runs.lock.CHECK_SECONDS", 0.0)
    settings["trainer"].update(epochs=3)
    config, run = write_settings(settings), tmp_path / "run"
    run_once(config, tmp_path / "whole", Interrupts())
    experiment = load_experiment(config).experiment
    quiet = Messenger(quiet=True)

    def remove(event: Event) -> None:
        if isinstance(event, Logged) and event.step == 30:
            (run / "lock").unlink()
            fit_experiment(experiment, run, interrupts=Interrupts(), messenger=quiet)

    with pytest.raises(RunBusy, match="its file 'lock' was removed while this process trained"):
        fit_experiment(experiment, run, interrupts=Interrupts(), messenger=quiet, watching=[remove])
    assert outcome(run) == outcome(tmp_path / "whole")
    open_run(run, experiment).release()


def test_a_lock_is_looked_at_twice_a_second_and_before_each_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lock = Lock(tmp_path)
    (tmp_path / "lock").unlink()
    lock.check(now=False)
    with pytest.raises(RunBusy):
        lock.check()
    now[0] += 0.5
    with pytest.raises(RunBusy):
        lock.check(now=False)
    lock.release()


def leave_temporary(path: Path) -> str:
    """The name of a temporary file of a process that is dead by now."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        written = name_temporary(path)
        written.write_bytes(b"half")
        os.write(writing, written.name.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as names:
        return names.read()


def test_temporary_files_of_dead_processes_of_this_host_are_removed(
    settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    config, run = write_settings(settings), tmp_path / "run"
    with pytest.raises(Stopped):
        run_once(config, run, stop_at_once())
    dead = [leave_temporary(run / name) for name in ("config.yaml", "report.html", "best")]
    host, boot, process, start = dead[0].split(".")[-2].split("-")
    own = name_temporary(run / "config.yaml").name
    kept = [
        own,  # of a living process
        f".config.yaml.{'0' * 8}-{boot}-{process}-{start}.tmp",  # of another host
        f".config.yaml.{host}-{'0' * 8}-{process}-{start}.tmp",  # before this host was started, but new
        f".config.yaml.{process}.tmp",  # of an earlier version, but new
        "config.yaml.tmp",
    ]
    gone = [
        *dead,
        f".config.yaml.{host}-{boot}-{os.getpid()}-{int(start) - 1}.tmp",  # the number has another process now
        f".old.{host}-{'0' * 8}-{os.getpid()}-{start}.tmp",
        f".old.{process}.tmp",
    ]
    day_ago = time.time() - temporary.SURELY_ABANDONED_SECONDS - 1
    for name in (*kept, *gone):
        (run / name).touch()
        if name.startswith(".old"):
            os.utime(run / name, (day_ago, day_ago))
    open_run(run, load_experiment(config).experiment).release()
    assert [name for name in kept if (run / name).exists()] == kept
    assert not any((run / name).exists() for name in gone)


def test_a_temporary_name_is_not_left_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write_atomically(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []
    remove_abandoned(tmp_path / "none")
