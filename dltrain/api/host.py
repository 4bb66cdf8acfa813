"""dltrain inside another program: what it reports, and torch's settings, which belong to that program."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dltrain.errors import DataError, DltrainWarning
from dltrain.events import Evaluated, Event
from dltrain.observers.console import Messenger

LOGGER = logging.getLogger("dltrain")
LOGGER.addHandler(logging.NullHandler())
_training = threading.RLock()
"""Held while torch's random numbers are drawn: there is one generator for the whole process."""


class PythonMessenger(Messenger):
    """Passes notes to the logger `dltrain`, at the level INFO, and warnings to Python's `warnings`; prints nothing."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def inform(self, line: str) -> None:
        LOGGER.info(line)

    def warn(self, line: str) -> None:
        issue_warning(line)

    def describe(self, kind: str, values: Mapping[str, Any], lines: Sequence[str]) -> None:
        LOGGER.info("\n".join(lines))


def issue_warning(line: str) -> None:
    """Warn the caller of the public function: the first frame that is not dltrain's."""

    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).split(".")[0] in ("dltrain", "contextlib"):
        frame, level = frame.f_back, level + 1
    warnings.warn(line, DltrainWarning, stacklevel=level)


def log_epoch(event: Event) -> None:
    """An observer that logs each epoch."""
    if isinstance(event, Evaluated):
        scores = "".join(f", {name} {value:.4f}" for name, value in event.report.items())
        LOGGER.info(f"epoch {event.epoch} of {event.epochs}: training loss {event.training_loss:.4f}{scores}")


@contextmanager
def borrow_torch() -> Iterator[None]:
    """Let dltrain use torch's generators, threads and determinism, and restore them; other threads wait meanwhile."""
    import torch

    with _training:
        threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        warn_only, cudnn = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark
        with torch.random.fork_rng():
            try:
                yield
            finally:
                torch.set_num_threads(threads)
                torch.backends.cudnn.benchmark = cudnn
                if torch.are_deterministic_algorithms_enabled() != deterministic:
                    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@contextmanager
def name_faults() -> Iterator[None]:
    """An error of the operating system as a DataError that names the file."""
    try:
        yield
    except OSError as error:
        path = f"{error.filename}: " if error.filename else ""
        raise DataError(
            f"{path}{error.strerror or error}", advice="check the path, and the space on the disk"
        ) from error
