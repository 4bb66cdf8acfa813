"""Draft a config for a table: the target, the columns that can be used, and a network of a fitting size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dltrain.data.dates import DateOrder
from dltrain.data.delimited import get_table_suffix
from dltrain.data.layout import CHARACTERS
from dltrain.data.numbers import Decimal, NumberFormat
from dltrain.data.tables.columns import Roles
from dltrain.data.tables.features import MANY_CATEGORIES
from dltrain.data.tables.files import Table, read_table
from dltrain.data.tables.formats import find_doubtful, find_table_formats
from dltrain.data.wording import join_some
from dltrain.errors import UsageError
from dltrain.starting.columns import ColumnProfile, find_group, find_odd_text, profile_columns
from dltrain.starting.draft import (
    Draft,
    balance_task,
    choose_epochs,
    count,
    describe_classes,
    is_imbalanced,
    join_names,
    keep_given,
    list_rare,
    make_name,
)
from dltrain.starting.targets import ChosenTarget, choose_target, describe_target

HOLDS: Mapping[str, str] = {
    "numbers": "numbers",
    "categories": "categories",
    "dates": "dates",
    "text": "free text",
    "id": "an id",
    "names": "names",
    "constant": "one value",
    "empty": "nothing",
    "mixed": "numbers and texts",
}
POSITIVE = ("1", "true", "yes", "y", "t", "positive", "pos", "malignant", "spam", "fraud", "bad", "churned")
"""Labels that are the positive one, the surest first; else the rarer label is."""


@dataclass(frozen=True, kw_only=True)
class InspectedTable:
    """A table, the file of its training rows, and what its columns hold.

    `decimal` is an option that its numbers need, `formats` are those of numbers with separators or signs.
    """

    path: Path
    table: Table
    profiles: Mapping[str, ColumnProfile]
    decimal: Decimal
    formats: Mapping[str, NumberFormat]
    doubtful: Mapping[str, str]

    @property
    def options(self) -> dict[str, Any]:
        """The options of the file's form that are not usual for its suffix."""
        form = " ".join(self.table.forms.values())
        usual = {".csv": ",", ".tsv": "\t"}.get(get_table_suffix(self.path) or "", "")
        found = next(iter(self.table.separators), usual)
        separator = next((name for name, mark in CHARACTERS.items() if mark == found), None)
        return keep_given(
            {
                "separator": None if found == usual else separator,
                "quoting": "standard" if "quoted" in form else None,
                "decimal": None if self.decimal == "auto" else self.decimal,
            }
        )


def inspect_table(path: Path) -> InspectedTable:
    """Read a table and find what its columns hold. Raises DataError for a file that is no table."""
    table = read_table(path)
    everything = Roles(target=())
    decimal: Decimal = "auto"
    found = find_table_formats(table, everything, decimal, None)
    if found.ambiguous:
        decimal = "point" if "," in table.separators else "comma"
        found = find_table_formats(table, everything, decimal, None)
    formats = {name: form for name, form in found.formats.items() if _fits(table, name, form)}
    profiles = profile_columns(table, formats)
    doubtful = find_doubtful(table, formats) if decimal == "auto" else {}
    return InspectedTable(
        path=path, table=table, profiles=profiles, decimal=decimal, formats=formats, doubtful=doubtful
    )


def _fits(table: Table, name: str, form: NumberFormat) -> bool:
    return all(form.parse(text) is not None for text in set(table.columns[name].tolist()))


@dataclass(frozen=True, kw_only=True)
class ColumnUse:
    """What becomes of the columns: their roles by name, and the categories that must be named."""

    roles: Mapping[str, str]
    ignored: Sequence[str]
    dates: Sequence[str]
    group: str | None
    categorical: Sequence[str] | None
    date_order: DateOrder | None


def plan_columns(found: InspectedTable, target: str) -> ColumnUse:
    """Decide what each column is used for. Raises UsageError if no column is left to learn from."""
    roles: dict[str, str] = {}
    others = {name: profile for name, profile in found.profiles.items() if name != target}
    group = find_group(others, len(found.table))
    for name, profile in others.items():
        forced = profile.kind == "mixed" and profile.distinct <= MANY_CATEGORIES
        if name == group:
            roles[name] = "group: its rows stay in one split"
        elif profile.kind == "dates":
            roles[name] = "input: its parts"
        elif profile.usable or forced:
            roles[name] = "input"
        else:
            roles[name] = "left out"
    if not any(role.startswith("input") for role in roles.values()):
        listed = "; ".join(f"'{name}' holds {HOLDS[profile.kind]}" for name, profile in list(others.items())[:8])
        raise UsageError(
            f"{found.path}: no column is left to predict '{target}' from ({listed or 'it is the only one'})",
            advice="give a table with columns of numbers, categories or dates",
        )
    mixed = [name for name, role in roles.items() if role == "input" and others[name].kind == "mixed"]
    texts = [name for name, role in roles.items() if role == "input" and others[name].kind in ("categories", "mixed")]
    return ColumnUse(
        roles={**roles, target: "target"},
        ignored=[name for name, role in roles.items() if role == "left out"],
        dates=[name for name, role in roles.items() if role == "input: its parts"],
        group=group,
        categorical=texts if mixed else None,
        date_order=choose_order([others[name] for name, role in roles.items() if role == "input: its parts"]),
    )


def choose_order(dates: Sequence[ColumnProfile]) -> DateOrder | None:
    """What dates start with, if some columns leave it open: as the other columns' dates do, else with the day."""
    if not any(profile.open_order for profile in dates):
        return None
    return "month" if any(profile.order == "month" for profile in dates) else "day"


def draft_table(path: Path, asked: str | None, splits: Mapping[str, Path] | None = None) -> Draft:
    """Draft a config that predicts a column of a table; `splits` are the files of "validation" and "test", if any."""
    found = inspect_table(path)
    return compose_table(found, choose_target(str(path), found.profiles, asked), splits or {})


def compose_table(found: InspectedTable, chosen: ChosenTarget, splits: Mapping[str, Path]) -> Draft:
    """The draft of a table's config with the chosen target."""
    use = plan_columns(found, chosen.profile.name)
    rows = len(found.table) - chosen.profile.missing
    task, comments = _choose_task(chosen)
    share = 0.2 if rows < 5000 else 0.1
    training = round(rows * (1 - share) ** 2)
    batch = 16 if training < 500 else 32 if training < 5000 else 128 if training < 50000 else 512
    data = {
        "name": "table",
        "training": found.path,
        **found.options,
        "target": chosen.profile.name,
        "ignore": list(use.ignored),
        "categorical": use.categorical,
        "dates": list(use.dates),
        "date_order": use.date_order,
        "group": use.group,
        "missing": "mean" if any(found.profiles[name].missing for name in _list_inputs(use)) else None,
        "missing_target": "drop" if chosen.profile.missing else None,
        "validation": splits.get("validation", share),
        "test": splits.get("test", share),
        "batch_size": batch,
    }
    hidden = [16] if training < 100 else [32, 32] if training < 1000 else [64, 64] if training < 20000 else [128, 128]
    epochs = choose_epochs(training // batch, 4000, least=20, most=200)
    comments |= {
        "data.target": f"{chosen.why}; --target names another",
        "data.missing": "a missing number becomes the training rows' mean",
        "data.missing_target": f"{count(chosen.profile.missing, 'row')} without a target",
        "data.date_order": "no day above 12 shows whether dates start with the day or the month",
        "data.decimal": "no number shows which mark is the decimal one",
        "trainer.patience": "epochs without progress, then training stops",
    }
    return Draft(
        kind="table",
        name=make_name(found.path),
        title=f"predict {describe_target(chosen)}, from {count(len(_list_inputs(use)), 'column')}",
        settings={
            "task": task,
            "seed": 0,
            "data": keep_given(data),
            "model": {"name": "dense", "hidden": hidden, "dropout": 0.2 if training < 2000 else 0.1},
            "optimizer": {"name": "adamw", "learning_rate": 0.002 if batch < 512 else 0.004},
            "trainer": {"epochs": epochs, "patience": max(10, epochs // 5), "device": "auto"},
        },
        comments=comments,
        facts=_list_facts(found, chosen),
        columns=tabulate(found.profiles, use.roles),
        doubts=tuple(_list_doubts(found, chosen, use)),
    )


def _list_inputs(use: ColumnUse) -> list[str]:
    return [name for name, role in use.roles.items() if role.startswith("input")]


def _choose_task(chosen: ChosenTarget) -> tuple[dict[str, Any], dict[str, str]]:
    """The task of a target, with what decides where classes are rare, and the comments."""
    if chosen.holds == "numbers":
        return {"name": "regression"}, {}
    classes = chosen.profile.count_values()
    numeric = chosen.profile.values is not None
    other = {"task.name": "its values are few whole numbers; regression predicts them as numbers"}
    if chosen.holds == "classes":
        task, comments = balance_task("tabular_classification", classes)
        return task, {**comments, **(other if numeric else {})}
    positive = find_positive(classes)
    task = {"name": "binary_classification", "positive": positive}
    if not is_imbalanced(classes):
        return task, {}
    share = classes[positive] / sum(classes.values())
    comments = {"task.goal": f"{share:.1%} of the rows are '{positive}': accuracy says little about them"}
    return {**task, "goal": "average_precision"}, comments


def find_positive(classes: Mapping[str, int]) -> str:
    """The positive one of two labels: by its name, else the rarer one."""
    known = {label.casefold(): label for label in classes}
    named = next((known[each] for each in POSITIVE if each in known), None)
    return named or min(classes, key=lambda label: classes[label])


def _list_facts(found: InspectedTable, chosen: ChosenTarget) -> list[str]:
    table = found.table
    facts = [f"{found.path.name}: {count(len(table), 'row')}, {count(len(table.columns), 'column')}"]
    facts += [f"{Path(name).name}: {form}" for name, form in table.forms.items()]
    target = chosen.profile
    if chosen.holds == "numbers" and target.values is not None:
        known = target.values[target.values == target.values]
        facts.append(f"target '{target.name}': {known.min():g} to {known.max():g}, {known.mean():.6g} on average")
    else:
        facts.append(f"target '{target.name}': {describe_classes(target.count_values())}")
    facts += [f"'{name}': numbers such as '{form.example}'" for name, form in found.formats.items()]
    if chosen.others:
        facts.append(f"'{target.name}' was {chosen.why}; others: {join_some(chosen.others, 8)}")
    return facts


def tabulate(profiles: Mapping[str, ColumnProfile], roles: Mapping[str, str]) -> list[list[str]]:
    """A row for each column: its name, what it holds, its missing and distinct values, its use, and examples."""
    rows = [["column", "holds", "missing", "distinct", "use", "such as"]]
    for name, profile in profiles.items():
        shown = " ".join(name.split())[:32]
        numbers = [str(profile.missing), str(profile.distinct)]
        rows.append([shown, HOLDS[profile.kind], *numbers, roles.get(name, "left out"), profile.show_examples()])
    return rows


def _list_doubts(found: InspectedTable, chosen: ChosenTarget, use: ColumnUse) -> Iterator[str]:
    """What the user should look at."""
    profiles = found.profiles
    if chosen.holds != "numbers":
        yield from list_rare(chosen.profile.count_values(), "rows")
    texts = [name for name in use.ignored if profiles[name].kind == "text"]
    if texts:
        labels = chosen.holds != "numbers"
        more = f"; `--as texts` learns '{chosen.profile.name}' from the text instead" if labels else ""
        yield f"free text is left out: {join_names(texts)}{more}"
    for name in use.ignored:
        if profiles[name].kind == "mixed":
            yield f"'{name}' is left out: it holds numbers and texts such as '{find_odd_text(profiles[name])}'"
    for name in use.categorical or ():
        if profiles[name].kind == "mixed":
            odd = find_odd_text(profiles[name])
            yield f"'{name}' is read as categories, since it holds numbers and texts such as '{odd}'"
    if use.group is not None:
        yield f"rows of the same '{use.group}' stay in one split; remove data.group if they have nothing in common"
    open_dates = [name for name in use.dates if profiles[name].open_order]
    if open_dates:
        less = "month" if use.date_order == "day" else "day"
        yield f"the dates in {join_names(open_dates)} start with the {use.date_order}; data.date_order={less} if not"
    if found.decimal != "auto":
        yield f"numbers are read with a decimal {found.decimal}; set data.decimal if that is wrong"
    for name, text in found.doubtful.items():
        yield f"'{name}' has numbers such as '{text}'; if the point separates thousands, set data.decimal=comma"
    yield from _list_revealing(found, chosen, use)


def _list_revealing(found: InspectedTable, chosen: ChosenTarget, use: ColumnUse) -> Iterator[str]:
    """Inputs with the same values as the target."""
    target = found.profiles[chosen.profile.name]
    for name in _list_inputs(use):
        profile = found.profiles[name]
        pairs = len(set(zip(profile.texts.tolist(), target.texts.tolist(), strict=True)))
        if 1 < profile.distinct == pairs == target.distinct and profile.distinct < len(profile.texts) / 2:
            yield f"'{name}' gives '{target.name}' away: each of its values has one; leave it out if it comes later"
