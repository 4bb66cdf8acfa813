"""Every error that a user can cause, and the exit code that each one means.

    DltrainError
    ├── UsageError          2   a config or a command line that cannot be run
    │   └── ConfigError     2   faults in a YAML file or in --set, each with its position
    ├── DataError           3   data missing, damaged or unreadable
    ├── Diverged            4   a loss or a gradient is not finite
    ├── OutOfMemory         5   the device or the machine has no memory left
    ├── RequirementNotMet   6   `eval --require` measured something else
    ├── NoCheckpoint        7   no checkpoint that can be used
    ├── RunBusy             8   another process holds the run directory
    ├── Stopped    75/129/130/143   stopped at a step border; the same command continues
    └── ChildFailed               a run of several failed (`dltrain.sweeps.child`); the exit code is its own

An error's `message` says where, what was found and what is allowed; its `advice`, if there is any, what to do next.
The command line prints both without a traceback (``--debug`` shows one) and exits with ``exit_code``.
"""

from __future__ import annotations

import linecache
import traceback
from typing import NamedTuple


class DltrainError(Exception):
    """A `message` for the person who runs the command, and one line of `advice` on what to do next, or None."""

    exit_code = 1

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return self.message if self.advice is None else f"{self.message}\nnext: {self.advice}"


class DltrainWarning(UserWarning):
    """What a caller from Python should know, and the command line prints as a warning or a note."""


class UsageError(DltrainError):
    exit_code = 2


class ConfigError(UsageError):
    """One report of all faults found; its text is ready to print."""


FIND_DATA = "correct the name, or give the folder that has it: --set data.root=DIR, or --root DIR of a trained model"
"""What to do where a file of the data is missing."""


class DataError(DltrainError):
    exit_code = 3


class Diverged(DltrainError):
    exit_code = 4


class OutOfMemory(DltrainError):
    exit_code = 5


class RequirementNotMet(DltrainError):
    exit_code = 6


class NoCheckpoint(DltrainError):
    exit_code = 7


class RunBusy(DltrainError):
    exit_code = 8


class Stopped(DltrainError):
    """Training stopped at a step border with a checkpoint written.

    ``exit_code`` is 75 (EX_TEMPFAIL of sysexits.h) for a spent ``--max-time``, and 128 + the signal's
    number for SIGHUP (129), SIGINT (130) and SIGTERM (143).
    """

    def __init__(self, message: str, exit_code: int, *, advice: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.exit_code = exit_code


class SourceLine(NamedTuple):
    """A line of a file, by its number from 1, and its text where that can be read."""

    file: str
    number: int
    text: str


def find_plugin_line(error: BaseException) -> SourceLine | None:
    """The plug-in's line that was being executed last when an error was raised; None if no plug-in was."""
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__")).startswith("dltrain_plugins."):
            file = frame.f_code.co_filename
            return SourceLine(file, number, linecache.getline(file, number).strip())
    return None
