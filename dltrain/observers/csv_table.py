"""The rows of metrics.jsonl as a CSV file, for spreadsheets."""

from __future__ import annotations

import csv
import io
from itertools import chain

from dltrain.events import Evaluated, Event, Finished, Logged, WatchedRun
from dltrain.files import write_atomically
from dltrain.observers.tracking import METRICS, Row, RowReader
from dltrain.registry import observers

FIXED = ("event", "step", "epoch")


@observers.register("csv")
class CsvTable:
    """A CSV file in the run directory with a line for each line of the log and each evaluation.

    What a line lacks is an empty cell. A resumed run writes the file again from metrics.jsonl.

    Options:
        file: the name of the file.
    """

    def __init__(self, run: WatchedRun, *, file: str = "metrics.csv") -> None:
        self._path = run.directory / file
        self._reader = RowReader(run.directory / METRICS)
        self._columns: tuple[str, ...] = FIXED
        self._path.unlink(missing_ok=True)
        self._update()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Logged | Evaluated | Finished):
            self._update()

    def _update(self) -> None:
        """Append the rows that are new; a new column makes the whole file new."""
        while rows := self._reader.read():
            columns = tuple(dict.fromkeys(chain(self._columns, *(row.values for row in rows))))
            if columns != self._columns or not self._path.exists():
                self._columns = columns
                earlier = RowReader(self._reader.path)
                content = self._format([], header=True)
                while earlier.count < self._reader.count:
                    content += self._format(earlier.read())
                write_atomically(self._path, content.encode())
            else:
                with self._path.open("a", encoding="utf-8", newline="") as file:
                    file.write(self._format(rows))

    def _format(self, rows: list[Row], *, header: bool = False) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if header:
            writer.writerow(self._columns)
        for row in rows:
            values = [row.values.get(name, "") for name in self._columns[len(FIXED) :]]
            writer.writerow([row.kind, row.step, row.epoch, *values])
        return text.getvalue()
