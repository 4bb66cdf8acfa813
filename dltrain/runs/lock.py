"""The lock of a run directory, or of a parent of runs: one process trains there."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from dltrain.errors import RunBusy, UsageError

LOCK = "lock"
LOCK_TRIES, LOCK_SECONDS = 4, 0.02
"""How often, and how long apart, a process tries for a lock."""
CHECK_SECONDS = 0.5
"""How long a lock that was found in place is taken to be there."""
_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""What flock gives on a file system without locks."""


class Lock:
    """The right to train in a directory, held through an open file that the kernel closes with the process.

    With `locking` false nothing keeps another process out; the file says who trains there all the same.
    """

    def __init__(self, directory: Path, *, locking: bool = True) -> None:
        """Raises RunBusy, naming the holder, where another process has it; UsageError where there are no locks."""
        self._path = directory / LOCK
        self._locking, self._checked = locking, time.monotonic()
        for attempt in reversed(range(LOCK_TRIES)):
            existed = self._path.exists()
            self._file: IO[str] = self._path.open("a+")
            try:
                if locking:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_in_place():
                    break
            except BlockingIOError:
                time.sleep(LOCK_SECONDS if attempt else 0.0)
            except OSError as error:
                self._refuse(error, existed)
            if attempt:  # `is_locked` may be looking, or the holder has removed what it had made
                self._file.close()
                continue
            self._file.seek(0)
            holder = self._file.read().strip() or "a process that has just started"
            self._file.close()
            raise RunBusy(
                f"{directory}: another process trains here: {holder}",
                advice="wait for it or stop it, or train elsewhere with -o DIRECTORY or --fresh",
            )
        self._file.truncate(0)
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}, since {started}\n")
        self._file.flush()

    def _refuse(self, error: OSError, existed: bool) -> None:
        """Raise UsageError for a file system without locks, any other error as it is; a new file is removed again."""
        self._file.close()
        if not existed:
            self._path.unlink(missing_ok=True)
        if error.errno not in _WITHOUT_LOCKS:
            raise error
        raise UsageError(
            f"{self._path.parent}: its file system has no locks, which keep two processes from training in one "
            f"directory (flock: {error.strerror})",
            advice="name a directory on another file system with -o; or, if no other process trains there, give fit "
            "or cv --no-lock",
        ) from None

    def _is_in_place(self) -> bool:
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        return False

    def is_held(self) -> bool:
        """Whether it still keeps others out: its file may have been removed, and with a new one another may train."""
        return not self._locking or self._is_in_place()

    def check(self, *, now: bool = True) -> None:
        """Raise RunBusy where it is not held any more; unless `now`, a look of half a second ago is enough."""
        moment = time.monotonic()
        if now or moment - self._checked >= CHECK_SECONDS:
            if not self.is_held():
                raise RunBusy(
                    f"{self._path.parent}: its file '{LOCK}' was removed while this process trained, so another one "
                    "may train there now; nothing more was written",
                    advice="leave this file alone; run the same command again when no other process trains there",
                )
            self._checked = moment

    def release(self) -> None:
        self._file.close()


def is_locked(directory: Path) -> bool:
    """Whether a process trains in `directory`. Looks only: several may look at once, and nothing is written."""
    try:
        with (directory / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock file, one that may not be read, or a file system without locks
        return False
    return False
