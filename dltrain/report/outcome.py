"""The outcome of a finished run: its facts in short, its curves as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dltrain.core.checkpoint import Checkpoint
from dltrain.observers.run_pictures import CURVES, draw_curves


def draw_outcome(directory: Path, last: Checkpoint) -> None:
    """The curves of a run, from its last checkpoint."""
    record = last.record
    title = f"{record.config['model']['name']} on {record.dataset}, seed {record.config['seed']}"
    draw_curves(record.history, last.goal.metric, title, directory / CURVES)


def summarize_outcome(last: Checkpoint) -> dict[str, Any]:
    """What was trained on what, the best epoch and its score, and the device, from the last checkpoint of a run."""
    record, goal = last.record, last.goal
    history, config = record.history, record.config
    facts: dict[str, Any] = {"data": record.dataset, "model": config["model"]["name"], "seed": config["seed"]}
    if record.solved is not None:
        facts["solved at once"] = record.solved
    best = history.best(goal)
    if best is None and history.metrics():
        facts["best epoch"] = f"none has a validation {goal.metric}; the last one counts"
    elif best is not None:
        facts["best epoch"] = f"{best + 1} of {len(history)}"
        facts[f"validation {goal.metric}"] = round(history[best][goal.metric], 6)
    facts |= {name.replace("_", " "): value for name, value in record.facts.items()}
    facts["device"] = f"{record.signature['device']}, torch {record.signature['torch']}"
    return facts
