"""Power cuts: the calls of a real `fit` are recorded, and replayed up to any of them on a disk that loses what it may.

Whatever is left, the newest checkpoint that training had reported, by the link `last`, or a newer one must be there,
complete; and the next `fit` must end with the bytes of the undisturbed run.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torture.disk import LOSSES, Disk, LinkNode, choose_losses
from torture.faults import run_until_the_middle
from torture.system import READING, Call, System, Watcher
from torture.trials import Verdict, Workshop, fit, run_forked
from torture.worlds import RUN

DRAWN = 4
"""Losses that are drawn at each call, beside LOSSES."""


class Recorder(Watcher):
    """Writes the calls that succeeded into a file, with what they wrote."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._write = os.write  # before it is replaced

    def after(self, call: Call, result: Any) -> None:
        if call.name.startswith("open"):
            call = replace(call, descriptor=result)
        elif call.name in READING or call.name in ("close", "utime"):
            return
        elif call.name == "write":
            call = replace(call, content=call.content[:result])
        plain = {**asdict(call), "content": base64.b64encode(call.content).decode()}
        self._write(self._descriptor, json.dumps(plain).encode() + b"\n")


def read_calls(path: Path) -> list[Call]:
    plain = map(json.loads, path.read_text().splitlines())
    return [Call(**{**each, "content": base64.b64decode(each["content"])}) for each in plain]


def record_calls(workshop: Workshop, config: str, resumes: bool) -> tuple[Path, list[Call]]:
    """The world that a fit starts from, and its calls. Raises SystemExit where they do not explain its files."""
    start = workshop.new_world()
    if resumes:
        run_until_the_middle(start, config)
    world, listed = workshop.copy(start), workshop.folder / "calls.jsonl"
    ending = run_forked(world, fit(config), lambda: System(world, Recorder(listed)).install())
    if ending.code:
        raise SystemExit(f"recorded, the fit of {config} failed: {ending.text}")
    calls, disk = read_calls(listed), Disk(start)
    for call in calls:
        disk.carry_out(call)
    rebuilt = workshop.folder / "rebuilt"
    disk.write_to(rebuilt)
    if differing := compare_trees(world, rebuilt):
        raise SystemExit(f"the recorded calls do not explain the content of {', '.join(differing)}")
    workshop.remove(rebuilt)
    workshop.remove(world)
    return start, calls


def compare_trees(one: Path, other: Path) -> list[str]:
    """The paths whose content differs, or that only one of two folders has."""
    found = [{path.relative_to(tree): read(path) for path in tree.rglob("*")} for tree in (one, other)]
    return sorted(str(path) for path in found[0].keys() | found[1].keys() if found[0].get(path) != found[1].get(path))


def read(path: Path) -> bytes | str:
    if path.is_symlink():
        return os.readlink(path)
    return "folder" if path.is_dir() else path.read_bytes()


@dataclass(frozen=True)
class PowerTrial:
    """The power is cut after the call `calls[:number][-1]`; `loss` says what of the unsafe changes is lost."""

    config: str
    start: Path
    calls: tuple[Call, ...]
    number: int
    loss: str
    resumes: bool

    def __str__(self) -> str:
        call = self.calls[self.number - 1]
        start = "resumed " if self.resumes else ""
        return f"{start}{self.config}, power cut after call {self.number} ({call.name} {call.path}), lost: {self.loss}"

    def carry_out(self, workshop: Workshop) -> Verdict:
        from dltrain.core.checkpoint import Checkpoints

        disk = Disk(self.start)
        for call in self.calls[: self.number]:
            disk.carry_out(call)
        link = disk.find(f"{RUN}/last")
        reported = os.path.basename(link.target) if isinstance(link, LinkNode) else ""
        world = workshop.folder / f"power-{os.getpid()}"
        disk.crash_into(world, *choose_losses(self.loss, str(self)))
        checkpoint = Checkpoints(world / RUN / "checkpoints").last()
        if reported and (checkpoint is None or rank(checkpoint.name) < rank(reported)):
            verdict = Verdict("failed", f"{reported} was reported, {checkpoint and checkpoint.name} is left")
        else:
            verdict = workshop.judge(self.config, world, [])
        workshop.remove(world)
        return verdict


def rank(name: str) -> tuple[int, bool]:
    return int(name.split("-")[1]), not name.endswith("-mid")


def list_power_trials(workshop: Workshop) -> Iterator[PowerTrial]:
    for config in workshop.expected:
        for resumes in (False, True):
            start, calls = record_calls(workshop, config, resumes)
            disk = Disk(start)
            for number, call in enumerate(calls, 1):
                if disk.carry_out(call):
                    for loss in (*LOSSES, *map(str, range(DRAWN))):
                        yield PowerTrial(config, start, tuple(calls), number, loss, resumes)


def count_syncs(calls: list[Call]) -> dict[str, float]:
    """Checkpoints that were written, and fsyncs for each, of files and of directories."""
    saves = sum(call.name == "rename" and "/step-" in call.other for call in calls)
    syncs = [call.path for call in calls if call.name == "fsync"]
    within = [path for path in syncs if "checkpoints" in path]
    return {"saves": saves, "fsyncs": len(syncs), "of checkpoints, for each save": len(within) / max(saves, 1)}
