"""The facts of one run directory, read from its small files: what `dltrain.runs.listing` makes a list of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dltrain.config.document import ListNode, MappingNode, Node, read_document
from dltrain.config.faults import Fault
from dltrain.core.checkpoint import WEIGHTS, Checkpoint, Checkpoints, rank_checkpoints
from dltrain.core.record import History, Record
from dltrain.goal import Goal, find_direction, get_current_name, rename_metrics
from dltrain.runs.directory import CONFIG, ENVIRONMENT
from dltrain.runs.lock import is_locked

READING_TRIES = 3
STOPPED = (75, 130, 143)
"""Exit codes of a process that stopped because it was asked to, with a checkpoint."""
NOT_PLAIN = {"adaptation", "threshold", "changed_data", "views"}
"""What an evaluation has that measured something else than the run's own model on its own data."""
GREEDY = {"method": "greedy"}
"""The decoder of a recogniser that an evaluation names where none was chosen."""
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Tensors of batch normalisation that are saved with the weights, and are no parameters."""


def is_special(evaluation: Mapping[str, Any]) -> bool:
    """Whether an evaluation measured something else than the run's own model on its own data."""
    return bool(NOT_PLAIN & evaluation.keys()) or evaluation.get("decoder", GREEDY) != GREEDY


def read_json(path: Path, default: Any) -> Any:
    """The content of a JSON file; `default` where there is none or it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return default


def read_json_lines(path: Path, start: bytes = b"{") -> list[dict[str, Any]]:
    """The lines of a JSON lines file that start with `start`, without one that a killed process left unfinished."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines:
        if line.startswith(start):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def read_config(path: Path) -> dict[str, Any]:
    """A run's own config as plain values. Raises ValueError for a file that is no complete config."""
    faults: list[Fault] = []
    node = read_document(path, str(path), 0, faults)
    if node is None or faults:
        raise ValueError(f"{path.name}: {faults[0].message}")
    return {name: _to_plain(pair.node) for name, pair in node.entries.items()}


def _to_plain(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return {name: _to_plain(pair.node) for name, pair in node.entries.items()}
    return [_to_plain(item) for item in node.items] if isinstance(node, ListNode) else node.value


def read_facts(directory: Path, *, ours: bool = False) -> dict[str, Any]:
    """Fields of a `ListedRun`. Raises what reading a damaged run raises; `NoCheckpoint` for another version's run.

    With `ours` the lock is this process's own, which has ended its training: the run is not running.
    """
    for _ in range(READING_TRIES):
        try:
            return _read_facts(directory, ours)
        except FileNotFoundError:  # training continues here and has just deleted a checkpoint: look again
            continue
    return _read_facts(directory, ours)


def _read_facts(directory: Path, ours: bool) -> dict[str, Any]:
    checkpoints = list(Checkpoints(directory / "checkpoints"))
    faults = {one.name: one.visible_fault for one in checkpoints}
    sound = [one for one in checkpoints if faults[one.name] is None]
    processes = [one for one in read_json(directory / ENVIRONMENT, []) if isinstance(one, dict)]
    last = sound[-1] if sound else None
    record = None if last is None else last.read_record()
    config = read_config(directory / CONFIG) if record is None else record.config
    facts = {
        "task": config["task"]["name"],
        "model": config["model"]["name"],
        "seed": config["seed"],
        "epochs_planned": config["trainer"]["epochs"],
        "config": config,
        **_read_scores(directory, sound, record),
        **_read_times(directory, processes),
        **_find_state(not ours and is_locked(directory), last, record, processes),
    }
    if faults and not sound:
        name, fault = next(iter(faults.items()))
        facts |= {"state": "damaged", "reason": f"checkpoints/{name}: {fault}"}
    began = processes[-1] if processes else {}
    signature = record.signature if record is not None else began.get("signature", {})
    facts["device"] = signature.get("device")
    dataset = began.get("dataset", {})
    facts["data"] = dataset.get("name") if record is None else record.dataset
    facts["data_sha256"] = dataset.get("sha256", {}) if record is None else record.fingerprint
    known = began.get("parameters")
    facts["parameters"] = count_parameters(last) if known is None and last is not None else known
    return facts


def _read_scores(directory: Path, sound: list[Checkpoint], record: Record | None) -> dict[str, Any]:
    """The history, the best epoch, and the evaluation of its weights on the test split."""
    history = History() if record is None else record.history
    measured = [] if record and record.finished else read_json_lines(directory / "metrics.jsonl", b'{"event": "epoch"')
    if len(measured) > len(history):  # epochs after the last checkpoint
        history = History(_to_history(event) for event in measured)
    goal = sound[-1].goal if sound else _guess_goal(directory, history)
    facts: dict[str, Any] = {"epochs": history.epochs, "history": tuple(history)}
    if goal is None:
        return facts
    facts |= {"metric": goal.metric, "direction": goal.direction}
    best = history.best(goal)
    if best is not None:
        facts["best_epoch"] = history[best]["epoch"]
        facts["best"] = history[best][goal.metric]
        facts["validation"] = history.metrics(best)
    evaluation = _find_test(directory, sound)
    if evaluation is not None:
        evaluation["metrics"] = rename_metrics(evaluation["metrics"])
        facts["test"] = evaluation["metrics"].get(goal.metric)
        facts["test_metrics"] = evaluation["metrics"]
        facts["test_sha256"] = evaluation.get("data_sha256", {})
    return facts


def _to_history(event: Mapping[str, Any]) -> dict[str, Any]:
    """An epoch of metrics.jsonl as a checkpoint's history has it."""
    progress = {name: event[name] for name in ("epoch", "step", "training_loss", "learning_rate")}
    scores = {name.removeprefix("validation_"): value for name, value in event.items() if name[:11] == "validation_"}
    return progress | scores


def _guess_goal(directory: Path, history: History) -> Goal | None:
    """The goal of a run without a checkpoint; None for a metric whose direction only its plug-in knows."""
    header = next(iter(read_json_lines(directory / "metrics.jsonl", b'{"event": "run"')), {})
    metric = get_current_name(header.get("metric", ""), history.metrics())
    direction = find_direction(metric)
    return None if direction is None else Goal(metric, direction)


def _find_test(directory: Path, sound: list[Checkpoint]) -> dict[str, Any] | None:
    """The last plain evaluation of the best weights on the test split."""
    evaluations = read_json_lines(directory / "evaluations.jsonl")
    if not evaluations or not sound:
        return None
    best = next(iter(rank_checkpoints(sound)), sound[-1])
    weights = best.manifest["files"][WEIGHTS]["sha256"]
    plain = [one for one in evaluations if one.get("split") == "test" and not is_special(one)]
    return next((one for one in reversed(plain) if one.get("weights_sha256") == weights), None)


def _read_times(directory: Path, processes: list[dict[str, Any]]) -> dict[str, Any]:
    """When the first process started and the last one ended, and the seconds of all epochs.

    Without the observer `times` those of the processes that were not killed.
    """
    epochs, ended = read_json_lines(directory / "times.jsonl"), [one["ended"] for one in processes if "ended" in one]
    ends = [epochs[-1]["time"]] if epochs else []
    ends += [one["ended"]["time"] for one in processes[-1:] if "ended" in one]
    return {
        "started": processes[0].get("time") if processes else None,
        "ended": max(ends, default=None),
        "seconds": round(math.fsum(one["seconds"] for one in epochs or ended), 4) if epochs or ended else None,
    }


def _find_state(
    locked: bool, last: Checkpoint | None, record: Record | None, processes: list[dict[str, Any]]
) -> dict[str, Any]:
    """State and reason. A finished run that was continued for more epochs is as its last process left it."""
    if locked:
        return {"state": "running"}
    latest = processes[-1] if processes else {}
    continued = last is not None and latest.get("begins_at_step", -1) >= last.step
    if record is not None and record.finished is not None and not continued:
        return {"state": "finished", "reason": record.finished}
    ended = latest.get("ended")
    if not ended or not ended["exit_code"]:
        return {"state": "unfinished"}
    message = str(ended["message"]).partition("\n")[0]
    return {"state": "stopped" if ended["exit_code"] in STOPPED else "failed", "reason": message}


def count_parameters(checkpoint: Checkpoint) -> int:
    """The size of all weights, from the header of their file (8 bytes of length, then JSON).

    Only for runs of versions that did not record it; raises what reading a damaged header raises.
    """
    with (checkpoint.path / WEIGHTS).open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    shapes = [
        tensor["shape"] for name, tensor in header.items() if name != "__metadata__" and not name.endswith(BUFFERS)
    ]
    return sum(map(math.prod, shapes))
