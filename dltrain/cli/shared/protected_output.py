"""Output whose reader may go away, as `head` does: the command continues, and its exit code says what it found.

All text of the command line passes through here, so here is where a terminal is protected from names and labels.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import Any

from dltrain.escaping import show_controls


class ClosableOutput(io.TextIOWrapper):
    """A text stream that drops what is written after its reader has closed the pipe, or the terminal is gone."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._drop_if_closed(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._drop_if_closed(error)

    def _drop_if_closed(self, error: OSError) -> None:
        """A terminal that is gone gives EIO, as a bad disk does for a file, where it must be reported."""
        gone = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(self.fileno()).st_mode)
        if not (gone or isinstance(error, BrokenPipeError)):
            raise error
        self._drop()

    def _drop(self) -> None:
        """Let the null device take the pipe's place, also for what is still in the buffer."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


class TerminalOutput(ClosableOutput):
    """Such a stream to a terminal, which shows control characters: they are in names and labels, not in our texts."""

    def write(self, text: str) -> int:
        super().write(show_controls(text))
        return len(text)

    @property
    def obeyed(self) -> ObeyedOutput:
        """The terminal as a progress bar needs it."""
        return ObeyedOutput(self)


class ObeyedOutput:
    """A terminal whose control sequences are carried out, for text that has no names in it."""

    def __init__(self, terminal: TerminalOutput) -> None:
        self._terminal = terminal

    def write(self, text: str) -> int:
        return ClosableOutput.write(self._terminal, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terminal, name)


def protect_output() -> None:
    """Make stdout and stderr streams of these kinds, which take any file name: these need not be UTF-8."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            settings = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
            encoding = stream.encoding
            stream.flush()
            kind = TerminalOutput if stream.isatty() else ClosableOutput
            closable = kind(stream.detach(), encoding, "surrogateescape", "\n", **settings)
            setattr(sys, name, closable)
            setattr(sys, f"__{name}__", closable)
