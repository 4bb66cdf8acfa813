"""Another `dltrain` process: started, read from, stopped together with this one, and its failure explained."""

from __future__ import annotations

import ctypes
import json
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
LINES_KEPT = 20
"""Of a process's stderr, to explain its failure: the error, which warnings at exit may follow."""
ERROR_EVENT = '{"event": "error"'
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


class ChildFailed(DltrainError):
    """A process ended with `exit_code`, which is not 0; message and advice are its own."""

    def __init__(self, message: str, exit_code: int, *, advice: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.exit_code = exit_code


@dataclass(frozen=True)
class FinishedProcess:
    """A finished process: exit code (128 + N for signal N), stdout, and the failure if there was one."""

    exit_code: int
    output: str
    failure: ChildFailed | None = None


def run_dltrain(
    arguments: Sequence[str],
    interrupts: Interrupts,
    on_line: Callable[[str], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> FinishedProcess:
    """Run `dltrain ARGUMENTS --json` in a process of its own until it ends.

    It gets one SIGTERM when `interrupts` has a reason to stop or `should_stop` is true; a run then saves. SIGUSR1 is
    passed on. `on_line` gets each line of its stderr up to then, the error as one JSON object. It belongs to another
    process group, so that Ctrl-C reaches it only through this process, once.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape") as output:
        previous, interrupts.training = interrupts.training, True  # a signal is noted, and asked for below
        process = subprocess.Popen(
            [sys.executable, "-m", "dltrain", *arguments, "--json"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            start_new_session=True,
            preexec_fn=_prepare_child,
        )
        assert process.stderr is not None
        reader = StderrReader(process.stderr, on_line)
        try:
            while process.poll() is None:
                if not reader.muted and (interrupts.pending() or should_stop()):
                    reader.muted = True
                    process.terminate()
                if interrupts.take_save_request():
                    process.send_signal(signal.SIGUSR1)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            reader.join()
            interrupts.training = previous
        output.seek(0)
        return finish(process.returncode, output.read(), reader.lines)


def _prepare_child() -> None:
    """Ask the kernel for a SIGTERM to this process when its parent dies; also a second one, which ends it at once.

    SIGUSR1, which would end a process without a handler, is ignored until dltrain has installed its own.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class StderrReader:
    """Reads a process's stderr in a thread of its own, so that the process never waits."""

    def __init__(self, stream: IO[str], on_line: Callable[[str], None]) -> None:
        self.muted = False
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._stream, self._on_line = stream, on_line
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self.lines.append(line.rstrip("\n"))
            if not self.muted:
                self._on_line(self.lines[-1])

    def join(self) -> None:
        self._thread.join()
        self._stream.close()


def finish(returncode: int, output: str, lines: Sequence[str]) -> FinishedProcess:
    """The outcome of a process from its return code, stdout and last lines of stderr."""
    if returncode == 0:
        return FinishedProcess(0, output)
    if returncode < 0:
        cause = ", which the system does when memory runs out" if returncode == -signal.SIGKILL else ""
        message, advice = f"killed by {signal.Signals(-returncode).name}{cause}", None
    else:
        error = next(filter(None, map(read_error, reversed(lines))), None)
        message, advice = (error.message, error.advice) if error else ("\n".join([*lines][-3:]), None)
    code = 128 - returncode if returncode < 0 else returncode
    return FinishedProcess(code, output, ChildFailed(message, code, advice=advice))


def read_error(line: str) -> DltrainError | None:
    """The error that a line of stderr holds as JSON; None for any other line."""
    if not line.startswith(ERROR_EVENT):
        return None
    event = json.loads(line)
    return DltrainError(event["message"], advice=event["advice"])
