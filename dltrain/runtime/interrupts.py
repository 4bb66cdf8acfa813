"""Signals and time limits, turned into one question that is asked between two steps."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType, TracebackType

from typing_extensions import Self

from dltrain.errors import Stopped

EXIT_OUT_OF_TIME = 75  # EX_TEMPFAIL, sysexits.h
SECONDS_TO_PREPARE = 2.0
"""What a preparation of data gets at least: a short one never keeps training from its first step."""


class OutOfTime(Stopped):
    """The time is spent while data is prepared; raised where a preparation has asked, never within one of its parts."""


_preparing: ContextVar[tuple[Interrupts, float] | None] = ContextVar("preparing", default=None)


class Interrupts:
    """While active, SIGINT, SIGTERM and SIGHUP ask training to stop, and SIGUSR1 asks it for a checkpoint.

    A second SIGINT or SIGTERM ends the process at once. SIGHUP never does: for a closed terminal the kernel and the
    shell send one each, and systemd sends one after SIGTERM. Ignored before, as under nohup, it stays ignored.
    Unless `training` is set there is nothing to save, and the first signal raises Stopped where it arrives.
    """

    training = False
    _deadline: float | None = None
    _signal: signal.Signals | None = None
    _urgent = False
    _save = False

    def __init__(self) -> None:
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._receive)
        self._previous[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._receive_save)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def limit(self, seconds: float | None) -> None:
        """Stop training once this many seconds, counted from now, are over; None for no limit."""
        self._deadline = None if seconds is None else time.monotonic() + seconds

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """While data is prepared, `stop_if_out_of_time` goes by this limit."""
        token = _preparing.set((self, time.monotonic()))
        try:
            yield
        finally:
            _preparing.reset(token)

    def is_out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            if self._urgent:
                if sys.stderr is not None and sys.stderr.isatty():
                    os.write(2, b"\x1b[?25h")  # the cursor, which a progress bar hides
                os._exit(128 + number)  # a checkpoint being written stays under its temporary name
            self._urgent = True
        if self._signal is None:
            self._signal = signal.Signals(number)
            if not self.training:
                raise Stopped(f"stopped by {self._signal.name}", 128 + number)

    def _receive_save(self, number: int, frame: FrameType | None) -> None:
        self._save = True

    def take_save_request(self) -> bool:
        """Whether SIGUSR1 has asked for a checkpoint since the last call."""
        asked, self._save = self._save, False
        return asked

    def pending(self) -> Stopped | None:
        """Why training should stop now, or None."""
        if self._signal is not None:
            return Stopped(f"stopped by {self._signal.name}", 128 + self._signal)
        if self.is_out_of_time():
            return Stopped("stopped: the time given by --max-time is spent", EXIT_OUT_OF_TIME)
        return None


def stop_if_out_of_time() -> None:
    """Raise OutOfTime where data is prepared and the time is spent. Long preparations ask between two parts."""
    found = _preparing.get()
    if found is not None and found[0].is_out_of_time() and time.monotonic() - found[1] >= SECONDS_TO_PREPARE:
        raise OutOfTime(
            "stopped: the time given by --max-time was spent while the data was prepared; what is prepared is kept",
            EXIT_OUT_OF_TIME,
            advice="rerun the same command to continue",
        )


class HostedInterrupts(Interrupts):
    """Interrupts of training inside another program, such as a notebook, which keeps its own signal handlers.

    Only a SIGINT that would raise KeyboardInterrupt asks training to stop, and only in the main thread: elsewhere
    Python allows no handlers. A second one raises KeyboardInterrupt at once.
    """

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous[signal.SIGINT] = signal.signal(signal.SIGINT, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None or not self.training:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number)
