"""Another `dltrain` process: started, heard, stopped when this one is, and explained when it fails."""

from __future__ import annotations

import ctypes
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from dltrain.errors import DltrainError
from dltrain.runtime.interrupts import Interrupts

POLL_SECONDS = 0.1
LINES_KEPT = 60
"""Of what a process says, for the message of its failure: a report of faults may be long."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


class ChildFailed(DltrainError):
    """A process ended with another exit code than 0, which is `exit_code`; the message is what it said."""

    def __init__(self, message: str, exit_code: int, *, advice: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.exit_code = exit_code


class ChildrenFailed(ChildFailed):
    """Some of several processes failed. The exit code is theirs where they have one and the same, else 1."""

    def __init__(self, message: str, exit_codes: Sequence[int], *, advice: str | None = None) -> None:
        super().__init__(message, exit_codes[0] if len(set(exit_codes)) == 1 else 1, advice=advice)


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (128 + N for signal N), what it wrote to stdout, and what it died of."""

    exit_code: int
    output: str
    message: str


def run(
    words: Sequence[str],
    interrupts: Interrupts,
    hear: Callable[[str], None],
    enough: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run `dltrain WORDS` in a process of its own, until it ends.

    It is sent one SIGTERM when `interrupts` has a reason to stop, or `enough` says so; a run then saves. `hear` is
    given each line of its stderr, but none after that. It belongs to another process group, so that Ctrl-C reaches it
    only through this process, once.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape") as output:
        previous, interrupts.training = interrupts.training, True  # a signal is noted, and asked for below
        process = subprocess.Popen(
            [sys.executable, "-m", "dltrain", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        assert process.stderr is not None
        ears = _Ears(process.stderr, hear)
        try:
            stopped = False
            while process.poll() is None:
                if not stopped and (interrupts.pending() or enough()):
                    ears.shut = stopped = True
                    process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            ears.join()
            interrupts.training = previous
        output.seek(0)
        return Ended(_exit_code(process.returncode), output.read(), _explained(process.returncode, ears.lines))


def _die_with_parent() -> None:
    """Ask the kernel for a SIGTERM to this process when its parent dies; also a second one, which ends it at once."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class _Ears:
    """Reads a stream in a thread of its own, so that its writer never waits."""

    def __init__(self, stream: IO[str], hear: Callable[[str], None]) -> None:
        self.shut = False
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._stream, self._hear = stream, hear
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for line in self._stream:
            self.lines.append(line.rstrip("\n"))
            if not self.shut:
                self._hear(self.lines[-1])

    def join(self) -> None:
        self._thread.join()
        self._stream.close()


def _exit_code(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode


def _explained(returncode: int, lines: Sequence[str]) -> str:
    """Why it failed, in its own last words; empty where it did not."""
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return f"killed by {name}" + ", as a system out of memory does" * (-returncode == signal.SIGKILL)
    if returncode == 0:
        return ""
    if lines and lines[-1].startswith('{"event": "error"'):
        facts = json.loads(lines[-1])
        return str(DltrainError(facts["message"], advice=facts["advice"]))
    starts = [number for number, line in enumerate(lines) if line.startswith("error: ")][-1:]
    starts += [number for number, line in enumerate(lines) if re.match(r"\S.*: error: ", line)]
    told = list(lines)[starts[0] if starts else -3 :]
    return "\n".join(told).removeprefix("error: ")
