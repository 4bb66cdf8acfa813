"""What a command says on stderr while it works."""

from __future__ import annotations

import json
import sys


class Messenger:
    """Speaks on stderr, as loudly as asked. Whether anybody listens makes no difference to training."""

    def __init__(self, quiet: bool, json_lines: bool) -> None:
        self.quiet = quiet
        self.json_lines = json_lines

    def tell(self, line: str) -> None:
        """Say something that a quiet or a machine-read log does without, unless it is a warning."""
        warning = line.startswith("warning: ")
        if self.json_lines:
            line = json.dumps({"event": "warning" if warning else "note", "text": line.removeprefix("warning: ")})
        elif self.quiet and not warning:
            return
        try:
            print(line, file=sys.stderr, flush=True)  # noqa: T201
        except OSError:
            self.quiet = True
