"""Roles of the columns of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dltrain.data.tables.files import Table
from dltrain.errors import UsageError

TargetKind = Literal["auto", "numbers", "labels"]


@dataclass(frozen=True)
class Roles:
    """The purpose of each column of a table, and its conversion to numbers; the options of the same names."""

    target: tuple[str, ...]
    target_holds: TargetKind = "auto"
    features: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] | None = None
    group: str | None = None
    missing: Literal["error", "mean"] = "error"
    normalize: Literal["standard", "none"] = "standard"
    normalize_target: Literal["standard", "none"] = "standard"

    def __post_init__(self) -> None:
        self._check_target_apart()
        if self.features is not None and self.ignore:
            raise UsageError("data.features and data.ignore are both given", advice="give one of the two")
        if self.group is not None and self.group in (*self.target, *(self.features or ())):
            raise UsageError(f"data.group: '{self.group}' is the target or a feature too; it can be only one of these")
        for option in ("target", "features", "categorical"):
            names = getattr(self, option) or ()
            if twice := [name for name in names if names.count(name) > 1]:
                raise UsageError(f"data.{option}: '{twice[0]}' is named twice; name each column once")

    def _check_target_apart(self) -> None:
        for name in self.target:
            if name in (self.features or ()):
                raise UsageError(
                    f"data.features: '{name}' is the target; a model that reads its target learns nothing",
                    advice="leave it out of data.features",
                )
            if name in (self.categorical or ()):
                raise UsageError(
                    f"data.categorical: '{name}' is the target, not an input",
                    advice="leave it out of data.categorical; data.target_holds: labels makes it classes",
                )

    def select_inputs(self, table: Table) -> list[str]:
        """Return the columns to read. Raises UsageError if a named one is missing, or none is left."""
        for option in ("target", "features", "ignore", "categorical", "group"):
            named = getattr(self, option) or ()
            for name in (named,) if isinstance(named, str) else named:
                if name not in table.columns:
                    raise UsageError(table.describe_missing(name), advice=f"correct data.{option}")
        excluded = (*self.target, *self.ignore, self.group)
        chosen = [name for name in self.features or table.columns if name not in excluded]
        if not chosen:
            raise UsageError(f"{table.name}: no column is left to learn from; found {', '.join(table.columns)}")
        if lost := [name for name in self.categorical or () if name not in chosen]:
            raise UsageError(f"data.categorical: '{lost[0]}' is not among the features: {', '.join(chosen)}")
        return chosen
