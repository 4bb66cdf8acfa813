"""Trials: `dltrain` in a forked copy of this process, disturbed, and again undisturbed; and the verdict.

This process loads torch once and runs one thread, so that a trial costs what its training costs.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from torture.worlds import CONFIGS, RUN, hash_outcome, write_world

DOCUMENTED = {0, 2, 3, 4, 5, 6, 7, 8, 75, 129, 130, 143}
"""The exit codes of docs/commands.md but 1, which is an error in dltrain itself."""
SECONDS = 60.0


@dataclass(frozen=True)
class Ending:
    """How a process ended: its exit code, negative for a signal, and what it printed."""

    code: int
    text: str

    @property
    def fault(self) -> str | None:
        """What no disturbance excuses: an internal error, a traceback, or a process that never ends."""
        if "Traceback (most recent call last)" in self.text:
            return f"traceback: {self.text.strip().splitlines()[-1]}"
        if self.code not in DOCUMENTED:
            return f"exit code {self.code}: {self.text.strip()[-300:]}"
        if self.code and not any(sign in self.text for sign in ("error: ", ": error", '"event": "error"')):
            return f"exit code {self.code} without a reason: {self.text.strip()[-300:]}"
        return None


@dataclass(frozen=True)
class Verdict:
    """`outcome` is held, refused or failed; `why` explains the last two."""

    outcome: str
    why: str = ""


def run_forked(
    folder: Path, words: Sequence[str], prepare: Callable[[], None] = lambda: None, kill_after: float | None = None
) -> Ending:
    """Run `dltrain WORDS` in `folder`, in a fork of this process, after `prepare`; SIGKILL after some seconds."""
    printed = folder.parent / f"{folder.name}.printed"
    printed.write_bytes(b"")  # a kill may come before the process itself can make it
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        _become_dltrain(folder, printed, words, prepare)
    deadline = time.monotonic() + (SECONDS if kill_after is None else kill_after)
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            break
        time.sleep(0.002)
    return Ending(os.waitstatus_to_exitcode(status), printed.read_text(errors="replace"))


def _become_dltrain(folder: Path, printed: Path, words: Sequence[str], prepare: Callable[[], None]) -> None:
    code = 99
    try:
        output = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(output, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin = open(0)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w")
        sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
        os.chdir(folder)
        sys.argv = ["dltrain", *words]
        prepare()
        from dltrain.cli.main import main

        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


class Workshop:
    """A folder for trials, with a fresh world for each, and the outcomes of undisturbed runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        write_world(folder / "world")
        self.expected: dict[str, dict[str, str]] = {}
        self.evaluations: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        for name in CONFIGS:
            self._train_in_this_process(name)  # loads what is loaded late, so that no trial has to
            start = time.monotonic()
            whole = self.new_world()
            ending = run_forked(whole, fit(name))
            if ending.code != 0:
                raise SystemExit(f"the undisturbed run of {name} failed: {ending.text}")
            self.seconds[name] = time.monotonic() - start
            self.expected[name] = hash_outcome(whole / RUN)
            self.evaluations[name] = self.evaluate(whole)
            if not isinstance(self.evaluations[name], dict):
                raise SystemExit(f"the evaluation of {name} failed: {self.evaluations[name]}")

    def _train_in_this_process(self, name: str) -> None:
        from dltrain.cli.main import run_command

        world = self.new_world()
        os.chdir(world)
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            run_command(fit(name))
            run_command(["eval", RUN, "--json", "--split", "validation"])
        os.chdir(self.folder)
        self.remove(world)

    def new_world(self) -> Path:
        self._count += 1
        world = self.folder / f"trial-{os.getpid()}-{self._count}"
        shutil.copytree(self.folder / "world", world)
        return world

    def copy(self, world: Path) -> Path:
        self._count += 1
        copied = self.folder / f"trial-{os.getpid()}-{self._count}"
        shutil.copytree(world, copied, symlinks=True)
        return copied

    def remove(self, world: Path) -> None:
        shutil.rmtree(world, ignore_errors=True)
        (world.parent / f"{world.name}.printed").unlink(missing_ok=True)

    def judge(self, name: str, world: Path, endings: Sequence[Ending]) -> Verdict:
        """Fit again, undisturbed, and compare; `endings` are those of the disturbed processes."""
        for ending in endings:
            if ending.code != -signal.SIGKILL and ending.code != 137 and ending.fault:
                return Verdict("failed", f"disturbed: {ending.fault}")
        if endings and endings[-1].code == 0 and (why := self.compare(name, world)):
            return Verdict("failed", f"the disturbed run ended with 0, but {why}")
        again = run_forked(world, fit(name))
        if again.fault:
            return Verdict("failed", f"the next fit: {again.fault}")
        if again.code:
            return Verdict("refused", again.text.strip()[-300:])
        why = self.compare(name, world)
        return Verdict("failed", f"the next fit ended with 0, but {why}") if why else Verdict("held")

    def judge_damage(self, name: str, world: Path, unlike: Sequence[str]) -> Verdict:
        """Fit again, and evaluate: each ends with the same numbers, or refuses. Files named `unlike` may differ."""
        again = run_forked(world, fit(name))
        if again.fault:
            return Verdict("failed", f"the next fit: {again.fault}")
        if not again.code and (why := self.compare(name, world, unlike)):
            return Verdict("failed", f"the next fit ended with 0, but {why}")
        found = self.evaluate(world)
        if isinstance(found, Ending):
            return Verdict("failed" if found.fault else "refused", f"eval: {found.fault or found.text.strip()[-300:]}")
        if again.code:  # not continued; what is there must still be evaluated to something that is right or not at all
            return Verdict("refused", again.text.strip()[-300:])
        expected = self.evaluations[name]
        wrong = sorted(key for key in expected if key in found and found[key] != expected[key])
        return Verdict("failed", f"eval: {', '.join(wrong)} differ") if wrong else Verdict("held")

    def evaluate(self, world: Path) -> dict[str, Any] | Ending:
        """The numbers of `dltrain eval`, or how it ended without them."""
        ending = run_forked(world, ["eval", RUN, "--json", "--split", "validation"])
        if ending.code:
            return ending
        found = json.loads(next(line for line in ending.text.splitlines() if line.startswith("{")))
        return {key: found[key] for key in ("metrics", "baselines", "checkpoint", "split", "seed") if key in found}

    def compare(self, name: str, world: Path, unlike: Sequence[str] = ()) -> str | None:
        try:
            found = hash_outcome(world / RUN)
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        expected = self.expected[name]
        different = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        different = [key for key in different if not any(fnmatch(key, pattern) for pattern in unlike)]
        return f"{', '.join(different)} differ" if different else None


def fit(name: str) -> list[str]:
    return ["fit", f"{name}.yaml", "-o", RUN, "-q"]


def make_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder, in memory where possible: what is tested is the order of calls, not the disk."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(
        prefix="torture-", dir=memory if os.access(memory, os.W_OK) else None, ignore_cleanup_errors=True
    )
