"""What trackers cost a training: `python -m bench tracking`, or `python -m bench.tracking TRACKER...`.

One epoch of `configs/mnist_cnn.yaml` on one thread per tracker and log rate: the default (a line every 100 updates),
for which the goal counts, and ten times as many lines. A tracker's cost is the CPU time of its observer and, once it is
open, of its thread; it is related to the CPU time that the rest of the process takes meanwhile. Both are CPU times, so
other programs on the machine do not make the share look smaller. Opening (imports, the first connection) is printed
apart: it happens once. Programs and threads that a tracker's package starts for itself are not counted.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dltrain.config.experiment import load_experiment
from dltrain.observers.console import Messenger
from dltrain.observers.csv_table import CsvTable
from dltrain.observers.mlflow_tracker import MlflowRun
from dltrain.observers.tensorboard_tracker import EventFiles
from dltrain.observers.tracking import BackgroundTracking
from dltrain.observers.wandb_tracker import WandbRun
from dltrain.runs.fitting import fit_experiment
from dltrain.runtime.interrupts import Interrupts

DATA = Path(os.environ.get("DLTRAIN_DATA", "data")).resolve()
HERE = Path(__file__).parents[1]
CONFIG = HERE / "configs" / "mnist_cnn.yaml"
TRACKERS: dict[str, tuple[type, type | None]] = {
    "csv": (CsvTable, None),
    "tensorboard": (BackgroundTracking, EventFiles),
    "mlflow": (BackgroundTracking, MlflowRun),
    "wandb": (BackgroundTracking, WandbRun),
}
GOAL = 0.01


def measure_calls(kind: type, method: str, seconds: list[float]) -> Callable[[], None]:
    """Append the seconds of each call of a method; what is returned undoes it."""
    original: Any = getattr(kind, method)

    def timed(self: Any, *arguments: Any) -> Any:
        start = time.thread_time()
        try:
            return original(self, *arguments)
        finally:
            seconds.append(time.thread_time() - start)

    setattr(kind, method, timed)
    return lambda: setattr(kind, method, original)


def measure_tracker(name: str, every: int) -> float:
    observer, tracker = TRACKERS[name]
    called: list[float] = []
    written: list[float] = []
    opened: list[float] = []
    undo = [measure_calls(observer, "__call__", called)]
    if tracker is not None:
        undo += [measure_calls(tracker, "write", written)]
        undo += [measure_calls(tracker, "open", opened)]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where MLflow keeps artifacts
        run, config = Path(folder) / "run", Path(folder) / "config.yaml"
        chosen = {"name": "mlflow", "uri": f"sqlite:///{folder}/mlflow.db"} if name == "mlflow" else name
        about = {"extends": str(CONFIG), "data": {"root": str(DATA), "when_missing": "error"}}
        plan = {"epochs": 1, "device": "cpu", "log_every_steps": every, "threads": 1}
        config.write_text(json.dumps({**about, "trainer": plan, "observers": ["times", chosen]}))  # JSON is YAML
        experiment = load_experiment(config).experiment
        start = time.process_time()
        fit_experiment(experiment, run, interrupts=Interrupts(), messenger=Messenger(quiet=True))
        total = time.process_time() - start
        rows = len((run / "metrics.jsonl").read_text().splitlines()) - 1
        os.chdir(HERE)
    for each in undo:
        each()
    cost = sum(called) + sum(written)
    share = cost / (total - cost - sum(opened))
    print(
        f"{name:<12} every {every:>3}: {1000 * cost:6.1f} ms for {rows} rows, {share:.2%} of the rest's "
        f"{total - cost - sum(opened):.1f} s; opening {sum(opened):.2f} s (CPU times)",
        flush=True,
    )
    return share


def main() -> int:
    names = sys.argv[1:] or [name for name in TRACKERS if name == "csv" or find_spec(name)]
    met = [measure_tracker(name, 100) <= GOAL for name in names]
    for name in names:
        measure_tracker(name, 10)
    print(f"goal: at most {GOAL:.0%} at the default log rate: {'met' if all(met) else 'MISSED'}")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
