"""Small experiments that train in a quarter of a second, and what a run must leave, however it was disturbed."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import yaml

TABLE = """\
task: regression
data: {name: table, training: table.csv, target: y, batch_size: 9}
model: {name: dense, hidden: [4], dropout: 0.1}
optimizer: {name: adam, learning_rate: 1e-2}
trainer:
  {epochs: 3, device: cpu, threads: 1, checkpoint_every_steps: 3, log_every_steps: 2, keep_last: 2, ema: 0.9}
observers: [{name: times}, {name: csv}, {name: report}]
"""

TEXT = """\
task: language_modelling
data: {name: text, training: [text.txt], batch_size: 4, sequence_length: 10, random_lengths: true, cache: cache}
model: {name: rnn, cell: lstm, hidden: 8, embedding: 6, dropout: 0.2}
optimizer: {name: sgd, learning_rate: 1.0}
trainer:
  {epochs: 3, device: cpu, threads: 1, checkpoint_every_steps: 4, log_every_steps: 3, keep_last: 2, clip_norm: 0.5}
observers: [{name: times}]
"""

RUN = "runs/one"
"""Where they train: in two folders that do not exist before."""
CONFIGS = {"table": TABLE, "text": TEXT}
PARENTS = {
    "parents": "extends: table.yaml\nobservers: [{name: times}]\n",
    "search": (
        "extends: table.yaml\nobservers: [{name: times}]\n"
        "search: {trials: 2, sampler: grid, space: {optimizer.learning_rate: [1e-3, 1e-2]}}\n"
    ),
}


def write_world(folder: Path) -> None:
    """The configs, a table of 60 rows and a text of 120 lines."""
    draw = random.Random(0)
    folder.mkdir(parents=True)
    for name, config in {**CONFIGS, **PARENTS}.items():
        (folder / f"{name}.yaml").write_text(config)
    rows = [(draw.random(), draw.random(), draw.choice(["red", "blue"])) for _ in range(60)]
    lines = [f"{a:.4f},{b:.4f},{colour},{3 * a - b + draw.gauss(0, 0.1):.4f}" for a, b, colour in rows]
    (folder / "table.csv").write_text("\n".join(["a,b,colour,y", *lines]) + "\n")
    words = [f"word{number}" for number in range(20)]
    text = [" ".join(draw.choices(words, k=draw.randint(4, 10))) for _ in range(120)]
    (folder / "text.txt").write_text("\n".join(text) + "\n")


def hash_outcome(run: Path) -> dict[str, str]:
    """The SHA-256 of everything that must not depend on what happened on the way, by name.

    These are all files of the checkpoints that `last` and `best` lead to, their names, what was measured, the config
    and the baselines.
    """
    found: dict[str, bytes] = {}
    for name in ("best", "last"):
        checkpoint = (run / name).resolve()
        found[name] = checkpoint.name.encode()
        found.update({f"{name}/{path.name}": path.read_bytes() for path in sorted(checkpoint.iterdir())})
    if (run / "metrics.jsonl").exists():
        found["metrics.jsonl"] = (run / "metrics.jsonl").read_bytes()
    found["config.yaml"] = repr(yaml.safe_load((run / "config.yaml").read_text())).encode()
    for path in sorted(run.glob("baselines.*")):
        found[path.name] = path.read_bytes()
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
