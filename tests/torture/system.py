"""Stands between dltrain and the file system: a watcher sees each call on a folder's files before it is made.

Python's own functions are replaced, in a process that is used for nothing else: those of `os`, and `open`, whose files
get a raw layer of our own, so that each write that reaches the kernel is one call here. What a C library writes by
itself would be missed; `power` compares the files that it rebuilds from the recorded calls with the real ones.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READING = {"read", "listdir", "scandir", "open to read"}
PATHS = ("mkdir", "rmdir", "unlink", "remove", "truncate", "utime", "listdir", "scandir")
PAIRS = ("rename", "replace", "link")
DESCRIPTORS = ("fsync", "fdatasync", "ftruncate", "close")


@dataclass(frozen=True)
class Call:
    """One call: its name, the path that it is about, the other path of a rename or link, what is written and where."""

    name: str
    path: str
    other: str = ""
    content: bytes = b""
    offset: int = 0
    descriptor: int = -1


@dataclass(frozen=True)
class Partial:
    """Of a write only the first `count` bytes are made; then it fails with `error`, or the process ends, or goes on."""

    count: int
    error: int | None = None
    ends: bool = False


class Watcher:
    """Sees every call. `before` may raise OSError or end the process."""

    def before(self, call: Call) -> Partial | None:
        return None

    def after(self, call: Call, result: Any) -> None: ...


class System:
    """The functions of `os` and `open`, with a watcher of those calls that are about files in `folder`."""

    def __init__(self, folder: Path, watcher: Watcher) -> None:
        self.folder, self.watcher = f"{os.path.realpath(folder)}/", watcher
        self.paths: dict[int, str] = {}
        self.original = {name: getattr(os, name) for name in (*PATHS, *PAIRS, *DESCRIPTORS, "open", "write", "symlink")}

    def install(self) -> None:
        for name in PATHS:
            setattr(os, name, self._watch_path(name))
        for name in PAIRS:
            setattr(os, name, self._watch_pair(name))
        for name in DESCRIPTORS:
            setattr(os, name, self._watch_descriptor(name))
        os.symlink, os.open, os.write = self._symlink, self._open, self._write  # type: ignore[assignment]
        io.open = builtins.open = self._open_file  # type: ignore[assignment]

    def locate(self, path: Any, directory: int | None = None) -> str | None:
        """The path relative to the folder; None outside, and for an unknown descriptor."""
        if isinstance(path, int):
            return self.paths.get(path)
        text = os.fsdecode(path)
        if directory is not None:
            if directory not in self.paths:
                return None
            text = f"{self.folder}{self.paths[directory]}/{text}"
        parent, name = os.path.split(os.path.abspath(text))
        full = os.path.join(os.path.realpath(parent), name)  # the last part may be a link that is itself meant
        return f"{full}/"[len(self.folder) : -1] if f"{full}/".startswith(self.folder) else None

    def make(self, call: Call, act: Callable[[], Any]) -> Any:
        self.watcher.before(call)
        result = act()
        self.watcher.after(call, result)
        return result

    def _watch_path(self, name: str) -> Callable[..., Any]:
        original, reported = self.original[name], "unlink" if name == "remove" else name

        def watched(path: Any = ".", *rest: Any, **named: Any) -> Any:
            place = self.locate(path, named.get("dir_fd"))
            if place is None:
                return original(path, *rest, **named)
            return self.make(Call(reported, place), lambda: original(path, *rest, **named))

        return watched

    def _watch_pair(self, name: str) -> Callable[..., Any]:
        original = self.original[name]

        def watched(source: Any, target: Any, **named: Any) -> Any:
            places = self.locate(source, named.get("src_dir_fd")), self.locate(target, named.get("dst_dir_fd"))
            if places[0] is None or places[1] is None:
                return original(source, target, **named)
            call = Call("link" if name == "link" else "rename", places[0], places[1])
            return self.make(call, lambda: original(source, target, **named))

        return watched

    def _watch_descriptor(self, name: str) -> Callable[..., Any]:
        original = self.original[name]

        def watched(descriptor: Any, *rest: Any) -> Any:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            place = self.paths.get(number)
            if place is None:
                return original(descriptor, *rest)
            call = Call(name, place, offset=rest[0] if rest else 0, descriptor=number)
            if name == "close":
                return self.close(call, lambda: original(descriptor))
            return self.make(call, lambda: original(descriptor, *rest))

        return watched

    def close(self, call: Call, act: Callable[[], Any]) -> None:
        """A close that fails has closed all the same, as on Linux."""
        self.paths.pop(call.descriptor, None)
        try:
            self.watcher.before(call)
        finally:
            act()
        self.watcher.after(call, None)

    def _symlink(self, target: Any, path: Any, *rest: Any, **named: Any) -> None:
        place = self.locate(path, named.get("dir_fd"))
        if place is None:
            self.original["symlink"](target, path, *rest, **named)
            return
        call = Call("symlink", place, os.fsdecode(target))
        self.make(call, lambda: self.original["symlink"](target, path, *rest, **named))

    def _open(self, path: Any, flags: int, *rest: Any, **named: Any) -> int:
        place = self.locate(path, named.get("dir_fd"))
        if place is None:
            return int(self.original["open"](path, flags, *rest, **named))
        return self.open_descriptor(place, flags, lambda: self.original["open"](path, flags, *rest, **named))

    def open_descriptor(self, place: str, flags: int, act: Callable[[], int]) -> int:
        name = "open" if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) else "open to read"
        call = Call(name, place, "truncate" if flags & os.O_TRUNC else "")
        self.watcher.before(call)
        descriptor = act()
        self.paths[descriptor] = place
        self.watcher.after(call, descriptor)
        return descriptor

    def _write(self, descriptor: int, content: bytes) -> int:
        if descriptor not in self.paths:
            return int(self.original["write"](descriptor, content))
        return self.write(descriptor, bytes(content), os.lseek(descriptor, 0, os.SEEK_CUR))

    def write(self, descriptor: int, content: bytes, offset: int) -> int:
        call = Call("write", self.paths[descriptor], content=content, offset=offset, descriptor=descriptor)
        partial = self.watcher.before(call)
        if partial is not None:
            written = int(self.original["write"](descriptor, content[: partial.count]))
            if partial.ends:
                os._exit(137)
            if partial.error is not None:
                raise OSError(partial.error, os.strerror(partial.error))
        else:
            written = int(self.original["write"](descriptor, content))
        self.watcher.after(call, written)
        return written

    def _open_file(self, file: Any, mode: str = "r", buffering: int = -1, *text: Any, **named: Any) -> Any:
        opener, closes = named.pop("opener", None), named.pop("closefd", True)
        place = self.locate(file)
        if place is None or (not isinstance(file, int) and os.path.isdir(file)):
            return io._io.open(file, mode, buffering, *text, opener=opener, closefd=closes, **named)  # type: ignore[attr-defined]
        raw = WatchedFile(self, place, file, "".join(letter for letter in mode if letter not in "bt"), opener)
        if "b" in mode and buffering == 0:
            return raw
        if "+" in mode:
            buffered: Any = io.BufferedRandom(raw)
        else:
            buffered = io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *text, line_buffering=buffering == 1, **named)


class WatchedFile(io.FileIO):
    """A raw file whose opening, reads, writes, truncations and closing are seen by the watcher."""

    def __init__(self, system: System, place: str, file: Any, mode: str, opener: Any) -> None:
        self._system, self._number = system, -1
        if isinstance(file, int):
            super().__init__(file, mode)
            self._number = file
            return
        flags = os.O_RDONLY if mode == "r" else os.O_WRONLY | os.O_CREAT
        if "w" in mode:
            flags |= os.O_TRUNC

        def act() -> int:
            super(WatchedFile, self).__init__(file, mode, opener=opener)
            return self.fileno()

        self._number = system.open_descriptor(place, flags, act)

    def write(self, content: Any) -> int:
        offset = os.fstat(self._number).st_size if "a" in self.mode else self.tell()
        return self._system.write(self._number, bytes(content), offset)

    def readinto(self, buffer: Any) -> int:
        if self._number in self._system.paths:
            self._system.watcher.before(Call("read", self._system.paths[self._number]))
        return int(super().readinto(buffer) or 0)

    def readall(self) -> bytes:
        if self._number in self._system.paths:
            self._system.watcher.before(Call("read", self._system.paths[self._number]))
        return super().readall() or b""

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        call = Call("ftruncate", self._system.paths[self._number], offset=size, descriptor=self._number)
        return int(self._system.make(call, lambda: super(WatchedFile, self).truncate(size)))

    def close(self) -> None:
        if self.closed or self._number not in self._system.paths:
            super().close()
            return
        call = Call("close", self._system.paths[self._number], descriptor=self._number)
        self._system.close(call, super().close)
