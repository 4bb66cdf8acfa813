"""Every call on files that a `fit` makes fails once, or from then on, is cut short, or is the last one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torture.system import READING, Call, Partial, System, Watcher
from torture.trials import Verdict, Workshop, fit, run_forked
from torture.worlds import RUN

FREEING = {*READING, "unlink", "rmdir", "close", "utime"}
"""Calls that a full disk does not refuse."""
KINDS = {
    "EIO once": errno.EIO,
    "EIO from then on": errno.EIO,
    "ENOSPC once": errno.ENOSPC,
    "ENOSPC from then on": errno.ENOSPC,
    "exit before the call": 0,
    "short write": 0,
    "torn write, then ENOSPC": errno.ENOSPC,
    "torn write, then exit": 0,
}


class Counter(Watcher):
    """Writes the name of each call into a file, which outlives the process."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._write = os.write  # before it is replaced

    def before(self, call: Call) -> None:
        self._write(self._descriptor, f"{call.name}\t{call.path}\n".encode())


class Fault(Watcher):
    """Lets one call fail, by its number, in one of the ways of KINDS."""

    def __init__(self, number: int, kind: str) -> None:
        self._left, self._kind, self._error = number, kind, KINDS[kind]

    def before(self, call: Call) -> Partial | None:
        self._left -= 1
        if self._left > 0 or (self._left < 0 and "from then on" not in self._kind):
            return None
        if self._kind == "exit before the call":
            os._exit(137)
        if "write" in self._kind:
            half = len(call.content) // 2
            return Partial(half, self._error or None, ends="exit" in self._kind) if half else None
        if self._error == errno.ENOSPC and call.name in FREEING:
            return None
        raise OSError(self._error, os.strerror(self._error), call.path)


@dataclass(frozen=True)
class FaultTrial:
    """One fault in the fit of one config; `call` is what it hits."""

    config: str
    number: int
    call: str
    kind: str
    resumes: bool = False
    """Whether the disturbed process continues a run that was killed in its middle."""

    def __str__(self) -> str:
        start = "resumed " if self.resumes else ""
        return f"{start}{self.config}, call {self.number} ({self.call}): {self.kind}"

    def carry_out(self, workshop: Workshop) -> Verdict:
        world = workshop.new_world()
        if self.resumes:
            run_until_the_middle(world, self.config)
        ending = run_forked(world, fit(self.config), lambda: System(world, Fault(self.number, self.kind)).install())
        verdict = workshop.judge(self.config, world, [ending])
        workshop.remove(world)
        return verdict


class EndInTheMiddle(Watcher):
    """Ends the process when the eighth line of metrics is written, about halfway."""

    def __init__(self) -> None:
        self._lines = 8

    def before(self, call: Call) -> None:
        if call.name == "write" and call.path.endswith("metrics.jsonl"):
            self._lines -= 1
            if self._lines == 0:
                os._exit(137)


def run_until_the_middle(world: Path, config: str) -> None:
    ending = run_forked(world, fit(config), lambda: System(world, EndInTheMiddle()).install())
    if ending.code != 137 or not list(world.glob(f"{RUN}/checkpoints/step-*")):
        raise SystemExit(f"{config}: not ended in the middle: {ending}")


def list_calls(workshop: Workshop, config: str, resumes: bool) -> list[str]:
    """The calls of a fit, as name and path, in order."""
    world = workshop.new_world()
    if resumes:
        run_until_the_middle(world, config)
    listed = workshop.folder / "calls.tsv"
    ending = run_forked(world, fit(config), lambda: System(world, Counter(listed)).install())
    if ending.code:
        raise SystemExit(f"watched, the fit of {config} failed: {ending.text}")
    workshop.remove(world)
    return [" ".join(line.split("\t")) for line in listed.read_text().splitlines()]


def list_fault_trials(workshop: Workshop) -> Iterator[FaultTrial]:
    for config in workshop.expected:
        for resumes in (False, True):
            for number, call in enumerate(list_calls(workshop, config, resumes), 1):
                name = next(each for each in (*READING, call.split()[0]) if call.startswith(each))
                for kind in KINDS:
                    if can_happen(name, kind):
                        yield FaultTrial(config, number, call, kind, resumes)


def can_happen(call: str, kind: str) -> bool:
    """Whether a kind of fault makes a difference at a kind of call."""
    if "ENOSPC" in kind and call in FREEING:
        return False
    if "write" in kind:
        return call == "write"
    return kind != "exit before the call" or call not in {*READING, "close"}
