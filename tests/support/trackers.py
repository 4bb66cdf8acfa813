"""Runs with trackers, killed and resumed, and what they measured, read without the code under test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dltrain.config.experiment import load_experiment
from dltrain.errors import Stopped
from dltrain.runs.fitting import fit_experiment
from dltrain.runtime.interrupts import Interrupts
from support.runs import Killed, Recorded

CONFIG: dict[str, Any] = {
    "task": "tabular_classification",
    "data": {"name": "bundled_table", "table": "iris", "batch_size": 16},
    "model": "dense",
    "trainer": {"epochs": 3, "device": "cpu", "threads": 1, "log_every_steps": 1, "checkpoint_every_steps": 4},
}


def train_once(directory: Path, observers: list[Any], interrupts: Interrupts) -> list[str]:
    """Train with these observers; the warnings."""
    config = directory.parent / "config.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "observers": observers}))
    messenger = Recorded()
    fit_experiment(load_experiment(config).experiment, directory, interrupts=interrupts, messenger=messenger)
    return [line for line in messenger.lines if line.startswith("warning")]


def train(directory: Path, observers: list[Any], *stops: Interrupts) -> list[str]:
    """Train with these observers, stopped or killed so often, and then to the end; the warnings of the last one."""
    for stop in stops:
        with pytest.raises((Stopped, Killed)):
            train_once(directory, observers, stop)
    return train_once(directory, observers, Interrupts())


def list_points(directory: Path) -> list[tuple[str, int, float]]:
    """What metrics.jsonl has: names, steps and values, read without the code under test."""
    points = []
    for line in (directory / "metrics.jsonl").read_text().splitlines()[1:]:
        facts = json.loads(line)
        kind, step = facts.pop("event"), facts.pop("step")
        if kind == "epoch":
            points.append(("epoch", step, facts["epoch"]))
        for name in facts.keys() - {"epoch", "improved", "dataset"}:
            prefix = {"step": "training", "epoch": "epoch"}[kind]
            full = f"validation/{name[11:]}" if name.startswith("validation_") else f"{prefix}/{name}"
            points.append((full, step, facts[name]))
    return sorted(points)


def read_weights(directory: Path) -> list[bytes]:
    final = sorted((directory / "checkpoints").glob("step-*[0-9]"))[-1]
    return [(final / name).read_bytes() for name in ("weights.safetensors", "optimizer.safetensors")]


KILLS = (6, 7, 3)
