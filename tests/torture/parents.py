"""SIGKILL at random moments of `fit --seeds`, `cv` and `sweep`, which train in processes of their own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torture.trials import Ending, Verdict, Workshop
from torture.worlds import hash_outcome

COMMANDS = {
    "fit --seeds": ["fit", "parents.yaml", "--seeds", "0-1", "-o", "parent", "-q"],
    "cv": ["cv", "parents.yaml", "--folds", "2", "-o", "parent", "-q"],
    "sweep": ["sweep", "search.yaml", "-o", "parent", "-q"],
}


def start(world: Path, command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dltrain", *COMMANDS[command]],
        cwd=world,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def list_children(process: int) -> list[int]:
    """A process and all its descendants, the oldest first."""
    found = [process]
    for each in found:
        for listed in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, listed.read_text().split())
    return found


def kill(process: subprocess.Popen[str], everything: bool) -> None:
    """SIGKILL for the parent, whose training process the kernel then asks to stop, or for all of them at once."""
    chosen = list_children(process.pid) if everything else [process.pid]
    for each in chosen:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    process.communicate()


def hash_members(world: Path) -> dict[str, str]:
    """What every member must leave, and the summary."""
    members = {path.parent for path in (world / "parent").glob("*/config.yaml")}
    found = {f"{path.name}/{name}": value for path in members for name, value in hash_outcome(path).items()}
    summary = (world / "parent" / "summary.json").read_text()
    found["summary.json"] = json.dumps(json.loads(summary), sort_keys=True)
    return found


@dataclass(frozen=True)
class ParentTrial:
    """A parent of two runs that is killed once or twice, alone or with its training process."""

    command: str
    seed: int
    seconds: float
    expected: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"kills of {self.command} (seed {self.seed})"

    def carry_out(self, workshop: Workshop) -> Verdict:
        draw, world = random.Random(self.seed), workshop.new_world()
        for _ in range(draw.randint(1, 2)):
            process = start(world, self.command)
            try:
                errors = process.communicate(timeout=draw.uniform(0.2, self.seconds))[1]
            except subprocess.TimeoutExpired:
                kill(process, everything=draw.random() < 0.5)
            else:
                if fault := Ending(process.returncode, errors).fault:
                    return Verdict("failed", f"disturbed: {fault}")
        verdict = self._finish(world)
        workshop.remove(world)
        return verdict

    def _finish(self, world: Path) -> Verdict:
        for _ in range(20):  # a training process whose parent was killed may still be saving
            process = start(world, self.command)
            errors = process.communicate()[1]
            if process.returncode != 8:
                break
            time.sleep(0.5)
        ending = Ending(process.returncode, errors)
        if ending.fault:
            return Verdict("failed", f"the next one: {ending.fault}")
        if ending.code:
            return Verdict("refused", errors.strip()[-300:])
        found, expected = hash_members(world), dict(self.expected)
        different = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        return Verdict("failed", f"{', '.join(different)} differ") if different else Verdict("held")


def list_parent_trials(workshop: Workshop, seed: int, count: int) -> Iterator[ParentTrial]:
    whole: dict[str, tuple[float, tuple[tuple[str, str], ...]]] = {}
    for number in range(count):
        command = list(COMMANDS)[number % len(COMMANDS)]
        if command not in whole:
            world, began = workshop.new_world(), time.monotonic()
            process = start(world, command)
            errors = process.communicate()[1]
            if process.returncode:
                raise SystemExit(f"the undisturbed {command} failed: {errors}")
            whole[command] = time.monotonic() - began, tuple(sorted(hash_members(world).items()))
            workshop.remove(world)
        yield ParentTrial(command, seed * 100_000 + number, *whole[command])
