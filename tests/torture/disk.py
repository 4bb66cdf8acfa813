"""A disk with a volatile cache: what a power cut may leave of a series of recorded calls.

Strict POSIX: a file's bytes are safe after its own fsync, a name after the fsync of its directory, and nothing else is.
Of what is not safe a power cut keeps any part: each block of 512 bytes of a write, each new size, each change of a
directory's names. A rename within a directory is one change, which is made or not.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from torture.system import Call

BLOCK = 512
Keep = Callable[[], bool]


@dataclass(eq=False)
class FileNode:
    """A file: its bytes for those who read it now, those that are safe, and the changes in between."""

    content: bytearray = field(default_factory=bytearray)
    safe: bytes = b""
    changes: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Offset and bytes of a write; size and None of a truncation."""

    def change(self, place: int, written: bytes | None) -> None:
        apply(self.content, place, written)
        if written is None:
            self.changes.append((place, None))
            return
        end = place + len(written)
        edges = sorted({place, end, *range(place - place % BLOCK + BLOCK, end, BLOCK)})
        for first, last in pairwise(edges):
            self.changes.append((first, written[first - place : last - place]))

    def sync(self) -> None:
        self.safe, self.changes = bytes(self.content), []

    def survive(self, keep: Keep) -> bytes:
        left = bytearray(self.safe)
        for place, written in self.changes:
            if keep():
                apply(left, place, written)
        return bytes(left)


def apply(content: bytearray, place: int, written: bytes | None) -> None:
    """Write at a place, or without bytes cut or extend to that size; gaps are zeros."""
    content.extend(bytes(max(0, place - len(content))))
    if written is None:
        del content[place:]
    else:
        content[place : place + len(written)] = written


@dataclass(eq=False)
class LinkNode:
    """A symbolic link."""

    target: str


@dataclass(eq=False)
class DirectoryNode:
    """A directory: its names now, those that are safe, and the changes in between."""

    names: dict[str, Node] = field(default_factory=dict)
    safe: dict[str, Node] = field(default_factory=dict)
    changes: list[dict[str, Node | None]] = field(default_factory=list)

    def change(self, names: dict[str, Node | None]) -> None:
        rename(self.names, names)
        self.changes.append(names)

    def sync(self) -> None:
        self.safe, self.changes = dict(self.names), []

    def survive(self, keep: Keep) -> dict[str, Node]:
        left = dict(self.safe)
        for names in self.changes:
            if keep():
                rename(left, names)
        return left


Node: TypeAlias = "FileNode | LinkNode | DirectoryNode"


def rename(names: dict[str, Node], changed: dict[str, Node | None]) -> None:
    for name, node in changed.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """The files of a folder, all of them safe, and the recorded calls that are carried out on them one by one."""

    def __init__(self, folder: Path) -> None:
        self.root = DirectoryNode()
        self.opened: dict[int, Node] = {}
        self._load(folder, self.root)

    def _load(self, folder: Path, node: DirectoryNode) -> None:
        for path in folder.iterdir():
            found: Node
            if path.is_symlink():
                found = LinkNode(os.readlink(path))
            elif path.is_dir():
                found = DirectoryNode()
                self._load(path, found)
            else:
                content = path.read_bytes()
                found = FileNode(bytearray(content), content)
            node.names[path.name] = found
        node.sync()

    def find(self, path: str) -> Node | None:
        node: Node | None = self.root
        for part in Path(path).parts:
            node = node.names.get(part) if isinstance(node, DirectoryNode) else None
        return node

    def parent(self, path: str) -> DirectoryNode:
        node = self.find(os.path.dirname(path))
        assert isinstance(node, DirectoryNode), path
        return node

    def carry_out(self, call: Call) -> bool:
        """Do what a call did; whether that changed, or made safe, anything."""
        name = os.path.basename(call.path)
        if call.name in ("open", "open to read"):
            return self._open(call)
        if call.name == "mkdir":
            self.parent(call.path).change({name: DirectoryNode()})
        elif call.name in ("rmdir", "unlink"):
            self.parent(call.path).change({name: None})
        elif call.name == "symlink":
            self.parent(call.path).change({name: LinkNode(call.other)})
        elif call.name == "rename":
            self._rename(call)
        elif call.name == "link":
            self.parent(call.other).change({os.path.basename(call.other): self.find(call.path)})
        elif call.name in ("write", "ftruncate"):
            node = self.opened[call.descriptor]
            assert isinstance(node, FileNode)
            node.change(call.offset, call.content if call.name == "write" else None)
        elif call.name in ("fsync", "fdatasync"):
            node = self.opened[call.descriptor]
            assert not isinstance(node, LinkNode)
            node.sync()
        else:
            return False
        return True

    def _open(self, call: Call) -> bool:
        node = self.find(call.path)
        if isinstance(node, LinkNode):
            node = self.find(os.path.normpath(os.path.join(os.path.dirname(call.path), node.target)))
        changed = False
        if node is None:
            node, changed = FileNode(), True
            self.parent(call.path).change({os.path.basename(call.path): node})
        if call.other == "truncate" and isinstance(node, FileNode) and node.content:
            node.change(0, None)
            changed = True
        self.opened[call.descriptor] = node
        return changed

    def _rename(self, call: Call) -> None:
        source, target = self.parent(call.path), self.parent(call.other)
        node = self.find(call.path)
        if source is target:
            source.change({os.path.basename(call.path): None, os.path.basename(call.other): node})
            return
        target.change({os.path.basename(call.other): node})
        source.change({os.path.basename(call.path): None})

    def write_to(self, folder: Path) -> None:
        """Put the files as they are now into an empty folder."""
        write_node(self.root, folder, lambda node: node.names, lambda node: bytes(node.content))

    def crash_into(self, folder: Path, keep_names: Keep, keep_data: Keep) -> None:
        """Put what a power cut leaves into an empty folder."""
        write_node(self.root, folder, lambda node: node.survive(keep_names), lambda node: node.survive(keep_data))


def write_node(
    node: DirectoryNode,
    folder: Path,
    names: Callable[[DirectoryNode], dict[str, Node]],
    content: Callable[[FileNode], bytes],
) -> None:
    folder.mkdir()
    for name, found in names(node).items():
        if isinstance(found, LinkNode):
            (folder / name).symlink_to(found.target)
        elif isinstance(found, DirectoryNode):
            write_node(found, folder / name, names, content)
        else:
            (folder / name).write_bytes(content(found))


def always() -> bool:
    return True


def never() -> bool:
    return False


def some(draw: random.Random) -> Keep:
    """Keep any of the changes, with a probability that is drawn too."""
    share = draw.random()
    return lambda: draw.random() < share


LOSSES: Sequence[str] = ("nothing", "everything", "data", "names")
"""What of the changes that are not safe is lost; besides, numbers stand for parts drawn by them."""


def choose_losses(loss: str, seed: str) -> tuple[Keep, Keep]:
    """Whether to keep each change of names, and of data."""
    if loss in LOSSES:
        return never if loss in ("everything", "names") else always, never if loss in ("everything", "data") else always
    draw = random.Random(seed)
    return some(draw), some(draw)
