"""TensorBoard: event files in the run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dltrain.events import Observer, WatchedRun
from dltrain.observers.tracking import BackgroundTracking, Row, TrainingEnd, list_pictures
from dltrain.options import PositiveFloat
from dltrain.registry import observers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FILES = "events.out.tfevents.*"


@observers.register("tensorboard", needs="tensorboard")
def follow_with_tensorboard(
    run: WatchedRun, *, folder: str = "tensorboard", patience: PositiveFloat = 10.0
) -> Observer:
    """Scalars, settings, pictures and state as event files for TensorBoard, in the run directory.

    `tensorboard --logdir runs` shows all runs. A resumed run writes its event files again from metrics.jsonl, each
    scalar with its first time.

    Options:
        folder: the folder within the run directory.
        patience: seconds that the end of training waits for what has not been written.
    """
    return BackgroundTracking("tensorboard", EventFiles(run, run.directory / folder), run, patience=patience)


class EventFiles:
    """The tracker that writes event files."""

    interval = 1.0

    def __init__(self, run: WatchedRun, folder: Path) -> None:
        self._run, self._folder = run, folder
        self._writer: SummaryWriter | None = None
        self._times: dict[tuple[str, int], float] = {}
        self._step = 0

    def open(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is not None:
            self._writer.close()
        earlier = sorted(self._folder.glob(FILES))
        self._times |= read_times(earlier)
        for path in earlier:
            path.unlink()
        self._writer = SummaryWriter(str(self._folder), flush_secs=3600)
        self._add_text("config", f"```yaml\n{yaml.safe_dump(dict(self._run.config), sort_keys=False)}```", 0)
        self._add_text("state", "training", 0)

    def write(self, rows: list[Row]) -> None:
        for row in rows:
            for name, value in row.values.items():
                self._add_scalar(name, value, row.step)
            if row.kind == "epoch":
                self._add_scalar("epoch", row.epoch, row.step)
            self._step = row.step
        self._call("flush")

    def close(self, ending: TrainingEnd) -> None:
        import numpy
        from PIL import Image

        for path in list_pictures(self._run.directory):
            with Image.open(path) as picture:
                pixels = numpy.asarray(picture.convert("RGB"))
            self._call("add_image", f"plots/{path.stem}", pixels, global_step=self._step, dataformats="HWC")
        self._add_text("state", f"{ending.state}: {ending.why}", self._step)
        self._call("close")

    def _add_text(self, name: str, text: str, step: int) -> None:
        self._call("add_text", name, text, global_step=step)

    def _add_scalar(self, name: str, value: float, step: int) -> None:
        self._call("add_scalar", name, value, global_step=step, walltime=self._times.get((name, step)))

    def _call(self, what: str, *arguments: Any, **named: Any) -> None:
        """Call a method of the writer, whose methods have no types."""
        assert self._writer is not None, "opened"
        getattr(self._writer, what)(*arguments, **named)


def read_times(files: list[Path]) -> dict[tuple[str, int], float]:
    """When each scalar was first written, by name and step; an unreadable rest of a file counts as absent."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    times: dict[tuple[str, int], float] = {}
    for path in files:
        try:
            for event in LegacyEventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    times.setdefault((value.tag, event.step), event.wall_time)
        except Exception:  # a damaged file: its scalars get new times
            continue
    return times
