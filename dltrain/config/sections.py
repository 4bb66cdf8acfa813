"""The sections of a config: the one table that composing, checking, documenting and printing go by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from dltrain.config.annotations import Option
from dltrain.options import Plan, Weights


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section, which is of one of these forms, or, without any of them, no setting of the experiment itself.

    `kind`: it names a registered thing of that kind and sets its options; a list of such if it is `several`.
    `default` are the names where the section is absent; without any, it is required. `group`: it is one group of
    options. `option`: it is one value.
    """

    name: str
    meaning: str = ""
    kind: str = ""
    several: bool = False
    default: tuple[str, ...] = ()
    group: type | None = None
    option: Option | None = None


SEED = Option("seed", Annotated[int, Ge(0), Le(2**63 - 1)], 0, "what all randomness is drawn from.")

DECIDING = "goal"
"""The option that every task has, unless it declares its own: the reader of signatures adds it."""
METRICS = "metrics"
"""The option of a task that lists metrics to report beside its own."""
DECIDING_MEANING = (
    "the reported metric that decides: which epoch is the best, patience, schedules that wait for progress and sweeps "
    "follow it; null for the task's own."
)

SECTIONS = (
    Section(name="task", kind="task", meaning="What is learned, and how it is scored."),
    Section(name="seed", option=SEED),
    Section(name="data", kind="dataset", meaning="What it is learned from."),
    Section(name="model", kind="model", meaning="What learns."),
    Section(name="optimizer", kind="optimizer", default=("adam",), meaning="How the weights change."),
    Section(
        name="schedule",
        kind="schedule",
        default=("constant",),
        meaning="How the learning rate changes over the run.",
    ),
    Section(name="weights", group=Weights),
    Section(name="trainer", group=Plan),
    Section(
        name="observers",
        kind="observer",
        several=True,
        default=("progress", "times", "report"),
        meaning="What follows a run while it trains: a list of names, or of mappings with a name and options. They "
        "cannot change the result, so a resumed run may have others. `metrics.jsonl` is always written, since "
        "resuming depends on it.",
    ),
    Section(name="search"),
    Section(name="extends"),
    Section(name="plugins"),
)
"""Every section that a config may have, in the order in which they are listed and printed."""

NAMES = tuple(each.name for each in SECTIONS)
SETTINGS = tuple(each for each in SECTIONS if each.kind or each.group or each.option)
"""The sections that an experiment consists of."""
CHOICES = {each.name: each for each in SECTIONS if each.kind and not each.several}
"""The sections that name one registered thing."""
LISTS = {each.name: each for each in SECTIONS if each.several}
GROUPS = {each.name: each.group for each in SECTIONS if each.group is not None}
