"""The column to predict: named, or found by its name or its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dltrain.data.wording import join_some, suggest_name
from dltrain.errors import UsageError
from dltrain.starting.columns import ColumnProfile
from dltrain.starting.draft import join_names

USUAL: Sequence[str] = (
    *(
        "target",
        "label",
        "labels",
        "class",
        "y",
        "outcome",
        "response",
        "sentiment",
        "species",
        "diagnosis",
        "survived",
    ),
    *(
        "churn",
        "churned",
        "default",
        "fraud",
        "price",
        "saleprice",
        "medv",
        "progression",
        "income",
        "salary",
        "quality",
    ),
    *(
        "category",
        "type",
        "rating",
        "stars",
        "score",
        "grade",
        "result",
        "output",
        "charges",
        "cost",
        "revenue",
        "sales",
    ),
    *("demand", "consumption", "load", "mpg", "value", "amount"),
)
"""Names of targets, the surest first; they count in any case, and without the words is, has and other marks."""
SURE = 16
"""How many of these count as the last word of a longer name too, such as median_house_price."""
MOST_CLASSES = 10
"""Different whole numbers up to which a target of numbers is taken for classes."""
ROWS_OF_CLASS = 5
"""Rows of each class on average, below which whole numbers are taken for numbers."""

Goal = Literal["numbers", "two classes", "classes"]


@dataclass(frozen=True)
class ChosenTarget:
    """The column to predict, what it holds, and why it was chosen; `others` could be meant too."""

    profile: ColumnProfile
    holds: Goal
    why: str
    others: Sequence[str] = ()


def choose_target(
    source: str, profiles: Mapping[str, ColumnProfile], asked: str | None, advice: str = ""
) -> ChosenTarget:
    """Choose the column to predict: `asked`, else by its name, else the last one that can be predicted.

    Raises UsageError for a name that no column has, with the nearest one, and for a column that cannot be a target.
    """
    usable = [name for name, profile in profiles.items() if find_obstacle(profile) is None]
    if asked is not None:
        profile = profiles[find_column(source, profiles, asked)]
        counts = profile.kind == "id" and profile.values is not None  # whoever asks for it knows better
        if (obstacle := find_obstacle(profile)) is not None and not counts:
            raise UsageError(
                f"{source}: column '{profile.name}' cannot be predicted: {obstacle}",
                advice=f"choose --target from {join_some(usable, 10) or 'a table with other columns'}{advice}",
            )
        return ChosenTarget(profile, judge_target(profile), "as you asked")
    if not usable:
        reasons = "; ".join(f"'{name}': {find_obstacle(profile)}" for name, profile in list(profiles.items())[:5])
        raise UsageError(
            f"{source}: no column can be predicted ({reasons})", advice="give a table with labels or numbers"
        )
    named = find_usual(usable)
    chosen = named or usable[-1]
    why = "chosen by its name" if named else "chosen as the last column"
    others = [name for name in usable if name != chosen]
    return ChosenTarget(profiles[chosen], judge_target(profiles[chosen]), why, others)


def find_column(source: str, names: Iterable[str], asked: str) -> str:
    """The column that was asked for, in any case if that is one only. Raises UsageError with the nearest name."""
    known = list(names)
    if asked in known:
        return asked
    alike = [name for name in known if name.casefold() == asked.strip().casefold()]
    if len(alike) == 1:
        return alike[0]
    near = suggest_name(asked, known) or suggest_name(asked.casefold(), {name.casefold(): name for name in known})
    raise UsageError(f"{source}: no column '{asked}'; found {join_some(known, 20)}{near}", advice="correct --target")


def find_usual(names: Sequence[str]) -> str | None:
    """The first of the usual names of targets that a column has; None if no column is called so."""
    plain = {re.sub(r"^(is|has|was)(?=[\W_])|[\W_]+", "", name.casefold()): name for name in reversed(names)}
    for usual in USUAL:
        if usual in plain:
            return plain[usual]
    for usual in USUAL[:SURE]:
        for name in names:
            if len(usual) > 1 and re.fullmatch(rf".*[\W_]{usual}|.*[a-z]{usual.capitalize()}", name.strip()):
                return name
    return None


def find_obstacle(profile: ColumnProfile) -> str | None:
    """Why a column cannot be predicted; None if it can."""
    return {
        "dates": "it holds dates",
        "text": "it holds free text",
        "id": "it numbers the rows",
        "names": f"it holds {profile.distinct} different texts",
        "constant": "it is the same in all rows",
        "empty": "it holds no value",
        "mixed": "it holds numbers and texts",
    }.get(profile.kind)


def judge_target(profile: ColumnProfile) -> Goal:
    """Whether a column holds numbers to predict, or classes: texts, 0 and 1, or a few whole numbers in many rows."""
    if profile.kind == "categories":
        return "two classes" if profile.distinct == 2 else "classes"
    rows = len(profile.texts) - profile.missing
    if profile.whole and profile.distinct == 2:
        return "two classes"
    few = profile.distinct <= min(MOST_CLASSES, rows / ROWS_OF_CLASS)
    return "classes" if profile.whole and few else "numbers"


def describe_target(chosen: ChosenTarget) -> str:
    """What the target is, for a sentence: 'price', a number."""
    if chosen.holds == "numbers":
        return f"'{chosen.profile.name}', a number"
    values = list(chosen.profile.count_values())
    if len(values) == 2:
        return f"'{chosen.profile.name}', {join_names(sorted(values)).replace(', ', ' or ', 1)}"
    return f"'{chosen.profile.name}', one of {len(values)} classes"
