"""What a checkpoint records about its run, beside the state: what it was built from, and its history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dltrain.goal import LOSS, Goal, Ranked, rename_metrics
from dltrain.options import Plan

_PROGRESS = {"epoch", "step", "training_loss", "learning_rate"}


class History(list[dict[str, Any]]):
    """One entry for each evaluation: epoch, step, training loss, learning rate, and the validation metrics.

    `epoch` is the number of epochs that have ended, and of one evaluated within an epoch also the share of it, as in
    2.25. The training loss is the mean since the evaluation before.
    """

    def __init__(self, entries: Iterable[dict[str, Any]] = ()) -> None:
        super().__init__(map(rename_metrics, entries))

    @property
    def epochs(self) -> int:
        """The number of epochs that have ended."""
        return int(self[-1]["epoch"]) if self else 0

    def metrics(self, index: int = -1) -> dict[str, float | None]:
        """The validation metrics of one entry, by default the last; empty without an entry or without validation."""
        return {name: value for name, value in self[index].items() if name not in _PROGRESS} if self else {}

    def scores(self, metric: str) -> list[float | None]:
        """One value for each entry; None where it was not measured or not finite."""
        return [entry.get(metric) for entry in self]

    def rank(self, goal: Goal) -> list[int]:
        """Indices of the entries that have a score, the best first: equal scores by their loss, then by time."""
        return goal.rank(list(map(Ranked, self.scores(goal.metric), self.scores(LOSS))))

    def best(self, goal: Goal) -> int | None:
        """Index of the best entry; None where none has a score."""
        return next(iter(self.rank(goal)), None)

    def improved(self, goal: Goal, among: int = 1) -> bool:
        """Whether the newest entry is one of the best `among` so far."""
        return len(self) - 1 in self.rank(goal)[:among]

    def improvements(self, goal: Goal) -> list[bool]:
        """Of each entry, whether it was better than all before it; never without a score."""
        return goal.find_improvements(list(map(Ranked, self.scores(goal.metric), self.scores(LOSS))))

    def stale(self, goal: Goal) -> int:
        """Number of entries since the best one; all of them where none has a score."""
        best = self.best(goal)
        return len(self) - (0 if best is None else best + 1)

    def finished(self, goal: Goal, plan: Plan) -> str | None:
        """Why training is over, or None while it is not."""
        if self.epochs >= plan.epochs:
            return "one epoch done" if plan.epochs == 1 else f"all {plan.epochs} epochs done"
        if plan.max_steps is not None and self and self[-1]["step"] >= plan.max_steps:
            return f"{plan.max_steps} steps done"
        stale = self.stale(goal)
        if plan.patience is not None and self and stale >= plan.patience:
            counted = "epochs" if plan.validate_every_steps is None else "evaluations"
            return f"stopped early: no better {goal.metric} in {stale} {counted}"
        return None


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record in a checkpoint's state.json; an export's description keeps all of it but the last two fields.

    `config` is the resolved config, `fingerprint` maps the dataset's files to their hashes, `signature` describes the
    process that started the run, `plugins` maps each plug-in's path in the run directory to its source. `solved` says
    how the weights were found where that was done at once, without training. `sources` are the runs and files that the
    first weights come from, with their hashes, the oldest first. `finished` says why training is over,
    `metrics` is the size and the SHA-256 of metrics.jsonl when the checkpoint was written, and `facts` are what the
    task says of its metrics, such as which label is the positive one.
    """

    config: dict[str, Any]
    assets: dict[str, Any]
    dataset: str
    fingerprint: dict[str, str]
    notice: str | None
    signature: dict[str, Any]
    plugins: dict[str, str]
    history: History = field(default_factory=History)
    solved: str | None = None
    sources: list[dict[str, Any]] = field(default_factory=list)
    finished: str | None = None
    metrics: dict[str, Any] | None = None
    facts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Record:
        """The record that `to_plain` wrote; unknown keys are ignored. Raises TypeError where a key is missing."""
        known = {each.name for each in fields(cls)}
        values = {name: value for name, value in plain.items() if name in known}
        return cls(**{**values, "history": History(values.get("history", ()))})

    def limit(self, plan: Plan) -> Plan:
        """The plan that the run follows: one epoch, which only measures, where its weights were found at once."""
        return plan if self.solved is None else replace(plan, epochs=1)

    def to_plain(self) -> dict[str, Any]:
        """Every field as plain JSON; some only where they are set, so that other runs' bytes stay as before."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in plain.items() if name not in ("solved", "sources", "facts") or value}

    def portable(self) -> dict[str, Any]:
        """What an export keeps: everything that has a meaning outside the run directory."""
        return {name: value for name, value in self.to_plain().items() if name not in ("finished", "metrics")}
