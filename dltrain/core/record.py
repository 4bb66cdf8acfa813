"""What a checkpoint records about its run, beside the state: enough to build task, model and data again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dltrain.core.history import History


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record in a checkpoint's state.json; an export's description keeps all of it but the last two fields.

    `config` is the resolved config, `fingerprint` maps the dataset's files to their hashes, `signature` describes the
    process that started the run, `plugins` maps each plug-in's path in the run directory to its source. `finished` says
    why training is over, and `metrics` is the size and the SHA-256 of metrics.jsonl when the checkpoint was written.
    """

    config: dict[str, Any]
    assets: dict[str, Any]
    dataset: str
    fingerprint: dict[str, str]
    notice: str | None
    signature: dict[str, Any]
    plugins: dict[str, str]
    history: History = field(default_factory=History)
    finished: str | None = None
    metrics: dict[str, Any] | None = None

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Record:
        """The record that `to_plain` wrote; unknown keys are ignored. Raises TypeError where a key is missing."""
        known = {each.name for each in fields(cls)}
        values = {name: value for name, value in plain.items() if name in known}
        return cls(**{**values, "history": History(values.get("history", ()))})

    def to_plain(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def portable(self) -> dict[str, Any]:
        """What an export keeps: everything that has a meaning outside the run directory."""
        return {name: value for name, value in self.to_plain().items() if name not in ("finished", "metrics")}
