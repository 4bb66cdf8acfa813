"""Messages to the user on stderr."""

from __future__ import annotations

import json
import sys


class Messenger:
    """Writes messages to stderr, as text or as JSON lines. A closed stderr never stops training."""

    def __init__(self, quiet: bool = False, json_lines: bool = False) -> None:
        self.quiet = quiet
        self.json_lines = json_lines

    def inform(self, line: str) -> None:
        """Write a note; with `quiet` and without `json_lines` it is left out."""
        if self.json_lines or not self.quiet:
            self._write("note", line, line)

    def warn(self, line: str) -> None:
        self._write("warning", line, f"warning: {line}")

    def _write(self, kind: str, text: str, line: str) -> None:
        try:
            print(json.dumps({"event": kind, "text": text}) if self.json_lines else line, file=sys.stderr, flush=True)  # noqa: T201
        except OSError:
            self.quiet = True
