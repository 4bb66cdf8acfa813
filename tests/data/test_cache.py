"""The cache: entries are whole or absent, made once, and removed only when nobody uses them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dltrain.data import cache as cache_module
from dltrain.data.cache import Cache, CacheEntry, cache_directory
from dltrain.errors import DataError

MEGABYTE = 1e6


def writing(content: bytes = b"x" * 1000, made: list[bytes] | None = None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "file").write_bytes(content)
        if made is not None:
            made.append(content)

    return make


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_an_entry_is_made_once_for_each_key(tmp_path: Path) -> None:
    made: list[bytes] = []
    cache = Cache(tmp_path / "deep" / "cache", MEGABYTE)
    first = cache.entry("kind", {"a": 1}, writing(b"one", made))
    assert (first.path / "file").read_bytes() == b"one"
    assert cache.entry("kind", {"a": 1}, writing(b"no", made)).path == first.path
    assert cache.entry("kind", {"a": 2}, writing(b"two", made)).path != first.path
    assert cache.entry("other", {"a": 1}, writing(b"three", made)).path.name.startswith("other-")
    assert made == [b"one", b"two", b"three"]
    assert not [name for name in names(cache.directory) if name.startswith(".")]


@pytest.mark.parametrize("block_bytes", [4, 15, 1 << 20])
@pytest.mark.parametrize("damage", ["cut", "gone", "flipped", "manifest gone", "manifest cut", "manifest other"])
def test_a_damaged_entry_is_noticed_and_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, damage: str, block_bytes: int
) -> None:
    monkeypatch.setattr(cache_module, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(cache_module.hash_blocks, "__defaults__", (block_bytes,))
    cache = Cache(tmp_path, MEGABYTE)
    path = cache.entry("kind", {}, writing(b"right and whole")).path
    if damage == "cut":
        os.truncate(path / "file", 5)
    elif damage == "flipped":
        (path / "file").write_bytes(b"wrong and whole")
    elif damage == "manifest cut":
        os.truncate(path / "manifest.json", 20)
    elif damage == "manifest other":
        (path / "manifest.json").write_text("[]")
    else:
        (path / ("file" if damage == "gone" else "manifest.json")).unlink()
    found = cache.entry("kind", {}, writing(b"right and whole")).path
    assert found == path
    assert (path / "file").read_bytes() == b"right and whole"
    assert capsys.readouterr().err == f"warning: {path}: damaged, and made again\n"
    assert cache.find("kind", {}) is not None
    assert capsys.readouterr().err == ""
    assert names(tmp_path) == [path.name]


def test_a_maker_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "file").write_bytes(b"half")
        raise DataError("the data is at fault")

    with pytest.raises(DataError, match="the data is at fault"):
        Cache(tmp_path, MEGABYTE).entry("kind", {}, make)
    assert names(tmp_path) == []


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 3500)
    paths = []
    for number in range(3):
        paths.append(cache.entry("kind", {"n": number}, writing()).path)
        os.utime(paths[-1] / "manifest.json", (number, number))
    cache.entry("kind", {"n": 0}, writing())  # used again, so it is the newest
    new = cache.entry("kind", {"n": 3}, writing()).path
    assert set(names(tmp_path)) == {paths[0].name, paths[2].name, new.name}


def test_what_is_in_use_or_just_written_stays(tmp_path: Path) -> None:
    used = Cache(tmp_path, MEGABYTE).entry("kind", {"n": 0}, writing())
    small = Cache(tmp_path, 10)
    new = small.entry("kind", {"n": 1}, writing())
    assert set(names(tmp_path)) == {used.path.name, new.path.name}
    gone = used.path
    del used
    third = small.entry("kind", {"n": 2}, writing())
    assert set(names(tmp_path)) == {new.path.name, third.path.name}
    assert not gone.exists()


def test_another_process_that_uses_an_entry_keeps_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dltrain.data.cache import Cache\n"
        "make = lambda folder: (folder / 'file').write_bytes(b'x' * 99)\n"
        "entry = Cache(Path(sys.argv[1]), 1e6).entry('kind', {}, make)\n"
        "print(entry.path.name, flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        name = other.stdout.readline().strip()
        Cache(tmp_path, 10).entry("kind", {"n": 1}, writing())
        assert name in names(tmp_path)
        other.communicate()
    Cache(tmp_path, 10).entry("kind", {"n": 2}, writing())
    assert name not in names(tmp_path)


def test_those_who_want_the_same_wait_for_the_one_who_makes_it(tmp_path: Path) -> None:
    made: list[bytes] = []
    makes, may_end = threading.Event(), threading.Event()

    def slowly(folder: Path) -> None:
        makes.set()
        may_end.wait()
        writing(b"once", made)(folder)

    found: list[CacheEntry] = []

    def want() -> None:
        found.append(Cache(tmp_path, MEGABYTE).entry("kind", {}, slowly))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    makes.wait()
    may_end.set()
    for thread in threads:
        thread.join()
    assert made == [b"once"]
    assert len({entry.path for entry in found}) == 1
    assert names(tmp_path) == [found[0].path.name]


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    for name in (".kind-dead.tmp", ".kind-alive.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_bytes(b"x")
    with cache_module._hold_lock(tmp_path / ".kind-alive.lock"):
        entry = Cache(tmp_path, MEGABYTE).entry("kind", {}, writing())
        assert names(tmp_path) == [".kind-alive.lock", ".kind-alive.tmp", entry.path.name]


def test_a_cache_that_can_not_be_written_is_named_with_the_ways_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError) as caught:
        Cache(tmp_path / "file", MEGABYTE).entry("kind", {}, writing())
    assert f"{tmp_path / 'file'}: the cache cannot be written to: File exists" in str(caught.value)
    assert "data.cache or $DLTRAIN_CACHE" in str(caught.value)


def test_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("DLTRAIN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_directory(None) == Path("/home/me/.cache/dltrain")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_directory(None) == Path("/x/dltrain")
    monkeypatch.setenv("DLTRAIN_CACHE", "/mine")
    assert cache_directory(None) == Path("/mine")
    assert cache_directory("~/own") == Path("/home/me/own")


def test_locks_and_removals_of_killed_processes_are_cleared_away(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1e9)
    (tmp_path / ".tokens-0123.lock").touch()
    (tmp_path / ".tokens-0123.abc.old").mkdir()
    (tmp_path / ".tokens-0123.abc.old" / "tokens").touch()
    with (tmp_path / ".used.lock").open("w") as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        cache.entry("digests", {"number": 1}, writing())
        assert {path.name for path in tmp_path.glob(".*")} == {".used.lock"}


def test_a_close_that_fails_at_the_end_of_a_process_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    entry, close = CacheEntry(tmp_path, descriptor), os.close

    def fail(number: int) -> None:
        close(number)
        if number == descriptor:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "close", fail)
    del entry  # an error here would be unraisable, which pytest reports
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_blocks_are_those_of_the_file(tmp_path: Path) -> None:
    content = random.Random(0).randbytes(1000)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "empty").write_bytes(b"")
    for size in (7, 500, 999, 1000, 5000):
        expected = [hashlib.sha256(content[start : start + size]).hexdigest() for start in range(0, 1000, size)]
        assert cache_module.hash_blocks(tmp_path / "file", size) == expected
    assert cache_module.hash_blocks(tmp_path / "empty", 10) == [hashlib.sha256(b"").hexdigest()]


def test_entries_of_an_earlier_version_are_compared_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path, MEGABYTE)
    path = cache.entry("kind", {}, writing(b"right and whole")).path
    digest = hashlib.sha256(b"right and whole").hexdigest()
    (path / "manifest.json").write_text(json.dumps({"key": {}, "files": {"file": {"bytes": 15, "sha256": digest}}}))
    assert cache.find("kind", {}) is not None
    (path / "file").write_bytes(b"wrong and whole")
    assert cache.find("kind", {}) is None
