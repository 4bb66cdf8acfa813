"""Where a command may write: looked at before any work, which would be lost."""

from __future__ import annotations

import os
from pathlib import Path

from dltrain.errors import UsageError


def check_output(output: Path) -> None:
    """Raises UsageError for what no file can be written over, or in."""
    if not output.parent.is_dir():
        raise UsageError(
            f"--output {output}: there is no folder {output.parent}", advice="make it, or name another place"
        )
    if output.is_dir():
        raise UsageError(f"--output {output}: this is a folder", advice="name a file in it")
    if output.exists() and not output.is_file():
        raise UsageError(f"--output {output}: this is not a file that can be replaced", advice="name a file")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"--output {output}: the folder {output.parent} cannot be written to",
            advice="change its permissions, or name another place",
        )
