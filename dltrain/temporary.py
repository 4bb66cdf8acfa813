"""Names of temporary files that say which process writes them, so that the next one can remove those of dead ones."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

_NAME = re.compile(r"\..+\.([0-9a-f]{8})-([0-9a-f]{8})-(\d+)-(\d+)\.tmp")
_FORMER_NAME = re.compile(r"\..+\.(\d+)\.tmp")
"""Of earlier versions: the process alone, on any host."""
SURELY_ABANDONED_SECONDS = 86400.0
"""The age of what was left before the last start of this machine, or by an earlier version."""


def name_temporary(path: Path) -> Path:
    """The place beside `path` where this process writes its new content: hidden, until it is renamed."""
    return path.with_name(f".{path.name}.{_describe_machine()}-{os.getpid()}-{_find_start(os.getpid())}.tmp")


def remove_abandoned(directory: Path) -> None:
    """Remove the temporary files and folders in `directory` of processes of this machine that are dead.

    What another machine has written stays, and what may be in use.
    """
    with suppress(OSError):
        for path in list(directory.glob(".*.tmp")):
            if _is_abandoned(path):
                with suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _is_abandoned(path: Path) -> bool:
    if match := _NAME.fullmatch(path.name):
        host, start_of_machine = _describe_machine().split("-")
        process = int(match[3])
        if match[1] != host:
            return False
        if match[2] != start_of_machine:
            return _is_old(path)
        return _find_start(process) != match[4]
    match = _FORMER_NAME.fullmatch(path.name)
    return match is not None and _find_start(int(match[1])) == "" and _is_old(path)


def _is_old(path: Path) -> bool:
    with suppress(OSError):
        return time.time() - path.lstat().st_mtime > SURELY_ABANDONED_SECONDS
    return False


@cache
def _describe_machine() -> str:
    """This host and its space of process numbers, which containers have their own of; and its last start."""
    host = [socket.gethostname(), _read("/etc/machine-id")]
    with suppress(OSError):
        host.append(str(Path("/proc/self/ns/pid").readlink()))
    return f"{_shorten(' '.join(host))}-{_shorten(_read('/proc/sys/kernel/random/boot_id'))}"


def _shorten(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8").strip()
    return ""


def _find_start(process: int) -> str:
    """When a process started, in ticks of the clock since the machine did; 0 where that is unknown, "" for none."""
    if fields := _read(f"/proc/{process}/stat"):
        return fields.rpartition(")")[2].split()[19]
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return ""
    except PermissionError:
        pass
    return "0"
