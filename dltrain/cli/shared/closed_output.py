"""Output whose reader may go away, as `head` does: the command continues, and its exit code says what it found."""

from __future__ import annotations

import io
import os
import sys


class ClosableOutput(io.TextIOWrapper):
    """A text stream that drops what is written after its reader has closed the pipe."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        """Let the null device take the pipe's place, also for what is still in the buffer."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def survive_closed_output() -> None:
    """Make stdout and stderr streams of this kind, which take any file name: these need not be UTF-8."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            settings = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
            encoding = stream.encoding
            stream.flush()
            closable = ClosableOutput(stream.detach(), encoding, "surrogateescape", "\n", **settings)
            setattr(sys, name, closable)
            setattr(sys, f"__{name}__", closable)
