"""Draft a config for labelled texts: columns of a table, or a folder of text files for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from dltrain.data.delimited import SUFFIXES, get_table_suffix
from dltrain.data.wording import join_some
from dltrain.errors import UsageError
from dltrain.starting.columns import ColumnProfile
from dltrain.starting.draft import (
    Draft,
    balance_task,
    choose_epochs,
    count,
    describe_classes,
    join_names,
    keep_given,
    list_rare,
    make_name,
)
from dltrain.starting.tables import InspectedTable, inspect_table, tabulate
from dltrain.starting.targets import ChosenTarget, choose_target

USUAL = ("text", "texts", "review", "comment", "message", "sentence", "document", "body", "content", "tweet", "title")
"""Names of columns of texts, the surest first; else it is the one of the longest texts."""
LONGEST = 400
"""Tokens of a text beyond which the others are not read."""


def find_text_column(profiles: Mapping[str, ColumnProfile], *, any_texts: bool = False) -> str | None:
    """The column of free text; with `any_texts` also one of short texts, such as names."""
    kinds = ("text", "names", "categories") if any_texts else ("text",)
    for kind in kinds:
        names = [name for name, profile in profiles.items() if profile.kind == kind]
        usual = [name for word in USUAL for name in names if name.casefold() == word]
        if names:
            return usual[0] if usual else max(names, key=lambda name: _measure_words(profiles[name]).mean())
    return None


def _measure_words(profile: ColumnProfile) -> Any:
    return numpy.array([len(text.split()) for text in profile.texts.tolist()] or [0])


def looks_like_texts(found: InspectedTable, chosen: ChosenTarget) -> bool:
    """Whether a table is one of labelled texts: nothing but a text and ids beside labels, or almost nothing."""
    text = find_text_column(found.profiles)
    if text is None or chosen.holds == "numbers" or get_table_suffix(found.path) is None:
        return False
    others = [name for name, profile in found.profiles.items() if profile.usable and name != chosen.profile.name]
    return len(others) <= 1


def draft_labelled_texts(path: Path, asked: str | None, splits: Mapping[str, Path] | None = None) -> Draft:
    """Draft a config that classifies the texts of a table. Raises UsageError without texts or without labels."""
    found = inspect_table(path)
    text = find_text_column(found.profiles, any_texts=True)
    if text is None:
        columns = join_some(list(found.profiles), 10)
        raise UsageError(f"{path}: no column of texts; found {columns}", advice="give another file, or `--as table`")
    others = {name: profile for name, profile in found.profiles.items() if name != text}
    return compose_texts(found, choose_target(str(path), others, asked), splits or {})


def compose_texts(found: InspectedTable, chosen: ChosenTarget, splits: Mapping[str, Path]) -> Draft:
    """The draft for the texts of a table and the chosen labels. Raises UsageError for a table of another form."""
    if get_table_suffix(found.path) is None:
        raise UsageError(
            f"{found.path}: labelled texts are read from {', '.join(SUFFIXES)} files, plain or .gz",
            advice="save it as .csv, or give `--as table`",
        )
    profiles, target = found.profiles, chosen.profile
    if chosen.holds == "numbers":
        raise UsageError(
            f"{found.path}: '{target.name}' holds numbers; texts are learned with classes",
            advice="name a column of labels with --target, or give `--as table`",
        )
    others = {name: profile for name, profile in profiles.items() if name != target.name}
    text = find_text_column(others, any_texts=True)
    assert text is not None
    words = _measure_words(profiles[text])
    roles = {text: "text", target.name: "label"}
    left = [name for name in others if name != text and profiles[name].usable]
    return _compose(
        found.path,
        {**keep_given({"separator": found.options.get("separator"), "quoting": found.options.get("quoting")})},
        splits,
        name=make_name(found.path),
        columns={"text": text, "label": target.name},
        words=words,
        classes=target.count_values(),
        missing=target.missing,
        comments={"data.label": f"{chosen.why}; --target names another"},
        table=tabulate(profiles, roles),
        doubts=[f"not read beside the text: {join_names(left)}; `--as table` reads them instead"] if left else [],
    )


def draft_text_folders(
    path: Path, splits: Mapping[str, Path], training: Path, classes: Mapping[str, Sequence[Path]]
) -> Draft:
    """Draft a config that classifies text files, in a folder for each class under `training`."""
    sizes = [file.stat().st_size for files in classes.values() for file in files]
    return _compose(
        training,
        {},
        splits,
        name=make_name(path),
        columns={},
        words=numpy.array(sizes) / 6,  # letters of an English word and a space
        classes={name: len(files) for name, files in classes.items()},
        missing=0,
        comments={},
        table=[],
        doubts=[],
    )


def _compose(
    path: Path,
    options: Mapping[str, Any],
    splits: Mapping[str, Path],
    *,
    name: str,
    columns: Mapping[str, str],
    words: Any,
    classes: Mapping[str, int],
    missing: int,
    comments: Mapping[str, str],
    table: Sequence[Sequence[str]],
    doubts: Sequence[str],
) -> Draft:
    texts = sum(classes.values())
    task, decisive = balance_task("text_classification", classes)
    share = 0.15 if texts < 5000 else 0.1
    many = texts >= 5000
    batch = 16 if texts < 500 else 32 if texts < 20000 else 64
    longest = int(min(LONGEST, max(16, numpy.quantile(words, 0.98) * 1.3)) // 8 + 1) * 8
    epochs = choose_epochs(round(texts * 0.7) // batch, 2000, least=4, most=30)
    own = {split: [file] for split, file in splits.items()}
    return Draft(
        kind="texts",
        name=name,
        title=f"classify texts by '{columns['label']}'"
        if columns
        else f"classify texts as one of {len(classes)} classes",
        settings={
            "task": task,
            "seed": 0,
            "data": {
                "name": "labelled_text",
                "training": [path],
                **options,
                **columns,
                **({"missing_label": "drop"} if missing else {}),
                "validation": own.get("validation", share),
                "test": own.get("test", share),
                "max_tokens": longest,
                "batch_size": batch,
            },
            "model": _choose_model(many),
            "optimizer": {"name": "adam", "learning_rate": 0.001 if many else 0.01},
            "trainer": {"epochs": epochs, "patience": max(3, epochs // 4), "device": "auto"},
        },
        comments={
            **comments,
            **decisive,
            "data.missing_label": f"{count(missing, 'row')} without a label",
            "data.max_tokens": "longer texts are cut; nearly all are shorter",
        },
        facts=[
            f"{path.name}: {count(texts, 'labelled text')}, {numpy.median(words):.0f} words each (median)",
            f"classes: {describe_classes(classes)}",
        ],
        columns=table,
        doubts=[*list_rare(classes, "texts"), *doubts],
    )


def _choose_model(many: bool) -> dict[str, Any]:
    """A network that reads word order for many texts, else a mean of word vectors."""
    if many:
        return {"name": "text_cnn", "embedding": 64}
    return {"name": "embedding_bag", "embedding": 64, "dropout": 0.3}
