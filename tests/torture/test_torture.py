"""The trials of `make torture` find what they are for, and a sample of them holds."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from dltrain.files import make_directory, write_atomically
from torture.disk import BLOCK, Disk, always, choose_losses, never
from torture.power import Recorder, compare_trees, read_calls
from torture.system import Call, Partial, System, Watcher

TESTS = Path(__file__).parents[1]


def watch(folder: Path, watcher: Watcher, act: Callable[[], object]) -> int:
    """Call a function in a fork of this process with a watcher of the folder's files; its exit code."""
    process = os.fork()
    if process == 0:
        try:
            os.chdir(folder)
            System(folder, watcher).install()
            act()
            os._exit(0)
        except BaseException as error:
            traceback.print_exc()
            os._exit(getattr(error, "errno", None) or 99)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def record(folder: Path, act: Callable[[], object]) -> tuple[Disk, list[Call]]:
    disk, listed = Disk(folder), folder.parent / "calls.jsonl"
    assert watch(folder, Recorder(listed), act) == 0
    return disk, read_calls(listed)


def crash(disk: Disk, folder: Path, loss: str, seed: str = "") -> Path:
    disk.crash_into(folder, *choose_losses(loss, seed))
    return folder


def write_in_many_ways() -> None:
    Path("old").write_text("one")
    os.rename("old", "new")
    with open("new", "r+b", buffering=0) as file:
        file.seek(2)
        file.write(b"x" * 1000)
        file.truncate(700)
    descriptor = os.open("new", os.O_RDWR)
    os.write(descriptor, b"y")
    os.close(descriptor)
    os.mkdir("folder")
    os.symlink("../new", "folder/link")
    with Path("folder/link").open("a") as text:
        text.write("end")
    Path("gone").touch()
    Path("gone").unlink()
    shutil.rmtree("old folder")


def test_every_call_is_seen(tmp_path: Path) -> None:
    """The files that are rebuilt from the calls are those that the calls have made."""
    (tmp_path / "work" / "old folder" / "inner").mkdir(parents=True)
    (tmp_path / "work" / "old folder" / "inner" / "file").touch()
    disk, calls = record(tmp_path / "work", write_in_many_ways)
    assert {call.name for call in calls} >= {"open", "write", "rename", "ftruncate", "mkdir", "symlink", "unlink"}
    for call in calls:
        disk.carry_out(call)
    disk.write_to(tmp_path / "rebuilt")
    assert compare_trees(tmp_path / "work", tmp_path / "rebuilt") == []
    assert (tmp_path / "rebuilt" / "new").read_bytes() == b"yn" + b"x" * 698 + b"end"


@pytest.mark.parametrize("loss", ["nothing", "everything", "data", "names", *map(str, range(20))])
def test_a_file_that_is_written_atomically_is_the_old_or_the_new_one(tmp_path: Path, loss: str) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "file").write_bytes(b"old" * 1000)
    disk, calls = record(tmp_path / "work", lambda: write_atomically(Path("file"), b"new" * 2000))
    for number, call in enumerate([Call("close", ""), *calls]):
        disk.carry_out(call)
        left = crash(disk, tmp_path / str(number), loss, f"{loss} {number}") / "file"
        assert left.read_bytes() in (b"old" * 1000, b"new" * 2000)
    assert left.read_bytes() == b"new" * 2000


def test_a_missing_fsync_of_file_or_directory_is_found(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    disk, calls = record(tmp_path / "work", lambda: write_atomically(Path("file"), b"new"))
    first, last = [call for call in calls if call.name == "fsync"]
    assert first.path.endswith(".tmp")
    for call in calls:
        if call != first:
            disk.carry_out(call)
    assert (crash(disk, tmp_path / "no data", "data") / "file").read_bytes() == b""
    disk = Disk(tmp_path / "work")
    disk.root.names.clear()
    disk.root.sync()
    for call in calls:
        if call != last:
            disk.carry_out(call)
    assert list(crash(disk, tmp_path / "no name", "names").iterdir()) == []


def test_a_new_directory_survives_with_those_that_it_is_in(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    disk, calls = record(tmp_path / "work", lambda: [make_directory(Path("a/b/c")), make_directory(Path("a/b/c"))])
    for call in calls:
        disk.carry_out(call)
    assert (crash(disk, tmp_path / "left", "everything") / "a" / "b" / "c").is_dir()
    assert len(calls) == 3 * 3  # make, open and flush, each once


def test_blocks_are_torn(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    disk, calls = record(tmp_path / "work", lambda: Path("file").write_bytes(b"x" * 4 * BLOCK))
    for call in calls:
        disk.carry_out(call)
    draw, found = random.Random(0), set()
    for number in range(100):
        disk.crash_into(tmp_path / str(number), always, lambda: draw.random() < 0.5)
        content = (tmp_path / str(number) / "file").read_bytes()
        assert len(content) % BLOCK == 0
        found.add(tuple(content[start : start + 1] for start in range(0, len(content), BLOCK)))
    assert len(found) == 2**4
    assert never() is False


class FailingWrite(Watcher):
    """Lets the first write be cut short."""

    def __init__(self, partial: Partial) -> None:
        self._partial: Partial | None = partial

    def before(self, call: Call) -> Partial | None:
        partial, self._partial = (self._partial, None) if call.name == "write" else (None, self._partial)
        return partial


def test_writes_are_cut_short(tmp_path: Path) -> None:
    def act() -> None:
        Path("file").write_text("one two")

    assert watch(tmp_path, FailingWrite(Partial(3)), act) == 0
    assert (tmp_path / "file").read_text() == "one two", "the rest is written by a second call"
    assert watch(tmp_path, FailingWrite(Partial(3, error=28)), act) == 28
    assert watch(tmp_path, FailingWrite(Partial(3, ends=True)), act) == 137
    assert (tmp_path / "file").read_text() == "one"


@pytest.mark.slow
def test_a_sample_of_the_trials_holds() -> None:
    words = [sys.executable, "-m", "torture", "faults", "kills", "damage", "power", "--count", "6", "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(words, cwd=TESTS.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["trials", "tried"], *([k, "6"] for k in words[3:7])]
