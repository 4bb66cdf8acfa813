"""What a run was made with: versions, machine, code and command line."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dltrain import __version__

PACKAGES = ("torch", "numpy", "safetensors", "pydantic", "scikit-learn", "torchvision", "torchaudio")


def _git(*words: str) -> str | None:
    """What git says of the working directory; None where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def list_versions() -> dict[str, str]:
    found = {"dltrain": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_process() -> dict[str, Any]:
    """The record of this process, as plain JSON."""
    commit = _git("rev-parse", "HEAD")
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(sys.argv),
        "directory": str(Path.cwd()),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "process": os.getpid(),
        "versions": list_versions(),
        "git": None if commit is None else {"commit": commit, "changed": bool(_git("status", "--porcelain", "-uno"))},
    }
