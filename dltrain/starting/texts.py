"""Draft a config for a language model of text files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dltrain.data.text.sets import TEXT_SETS
from dltrain.data.text_files import LineSpan, find_file, read_text_pieces, scan_file
from dltrain.errors import DataError
from dltrain.starting.draft import Draft, choose_epochs, count, keep_given, make_name

SUFFIXES = (".txt", ".text", ".md", ".tokens")
"""Files of text, plain or .gz."""
SPLITS: Mapping[str, re.Pattern[str]] = {
    "training": re.compile(r"(?i)(.*[\W_])?(train|training)([\W_].*)?"),
    "validation": re.compile(r"(?i)(.*[\W_])?(valid|validation|val|dev)([\W_].*)?"),
    "test": re.compile(r"(?i)(.*[\W_])?(test|testing)([\W_].*)?"),
}
"""What the files of the splits are called."""
LONG_BYTES = 1 << 20
"""Bytes of a text from which words are learned; the words of a shorter one are too rare."""


def is_text(path: Path) -> bool:
    return Path(path.name.removesuffix(".gz")).suffix.lower() in SUFFIXES


def match_splits(files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files of each split by their names, if some are called as training is; all of them are training if not."""
    found: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for file in files:
        stem = Path(file.name.removesuffix(".gz")).stem
        split = next((split for split, pattern in SPLITS.items() if pattern.fullmatch(stem)), None)
        if split is not None:
            found[split].append(file)
    if not found["training"]:
        return {"training": list(files)}
    return {split: paths for split, paths in found.items() if paths}


def is_penn_treebank(folder: Path) -> bool:
    return all(find_file(folder / file.name) is not None for file in TEXT_SETS["ptb"].files.values())


def draft_text(path: Path, files: Sequence[Path]) -> Draft:
    """Draft a config that models the text of files. Raises DataError for files that are no text, or almost empty."""
    splits = match_splits(files)
    ignored = [file for file in files if not any(file in paths for paths in splits.values())]
    scanned = [scan_file(file) for file in splits["training"]]
    size, lines = sum(file.size_bytes for file in scanned), sum(file.lines for file in scanned)
    sample = next(iter(read_text_pieces(LineSpan(scanned[0], 0, scanned[0].lines), "character"))).text
    if size < 500 or (lines < 20 and len(splits) < 2):
        raise DataError(
            f"{path}: {size:,} bytes in {count(lines, 'line')} are too little to learn from and to hold some lines out",
            advice="give a longer text, with several lines",
        )
    published = path.is_dir() and is_penn_treebank(path)
    words = size >= LONG_BYTES or published
    settings = _choose_words(size) if words else _choose_characters(size)
    data = {"name": "ptb", "root": path} if published else _list_files(splits)
    if words and not published and len(set(sample.split())) > 0.1 * len(sample.split()):
        data["max_vocabulary"] = 20000
    batch, length = settings.pop("batch"), settings.pop("length")
    unit = "word" if words else "character"
    counted = sample.count("\n") + len(sample.split()) if words else len(sample)
    tokens = round(size * counted / max(1, len(sample.encode())))
    epochs = choose_epochs(tokens // (batch * length), 4000 if words else 2500, least=5, most=40)
    return Draft(
        kind="text",
        name=make_name(path),
        title=f"model the text of {'Penn Treebank' if published else path.name}, {unit} by {unit}",
        settings={
            "task": {"name": "language_modelling"},
            "seed": 0,
            "data": {
                **data,
                **({} if published else {"unit": unit}),
                "batch_size": batch,
                "sequence_length": length,
            },
            **settings,
            "trainer": {"epochs": epochs, "patience": max(3, epochs // 4), "clip_norm": 1.0, "device": "auto"},
        },
        comments={
            "data.validation": "the last lines" if "validation" not in splits else "",
            "data.unit": "the text is long enough for words" if words else "words of a short text are too rare",
            "data.sequence_length": f"{unit}s through which the model learns at once",
        },
        facts=[
            f"{path.name}: {count(len(scanned), 'file')}, {size:,} bytes, {count(lines, 'line')}, {tokens:,} {unit}s",
            *(
                f"{split}: {', '.join(file.name for file in paths)}"
                for split, paths in splits.items()
                if len(splits) > 1
            ),
        ],
        doubts=[f"not read: {', '.join(file.name for file in ignored)}"] if ignored else [],
    )


def _list_files(splits: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    held = {split: list(splits[split]) if split in splits else None for split in ("validation", "test")}
    alone = len(splits) < 2
    return keep_given(
        {
            "name": "text",
            "training": list(splits["training"]),
            "validation": held["validation"] or 0.1,
            "test": held["test"] or (0.1 if alone else None),
        }
    )


def _choose_words(size: int) -> dict[str, Any]:
    hidden = 200 if size < 20 * LONG_BYTES else 400
    return {
        "batch": 20,
        "length": 35,
        "model": {"name": "rnn", "cell": "lstm", "hidden": hidden, "layers": 2, "dropout": 0.3, "tied": True},
        "optimizer": {"name": "adam", "learning_rate": 0.002},
        "schedule": {"name": "cosine", "warmup": 0.02},
    }


def _choose_characters(size: int) -> dict[str, Any]:
    small = size < 100_000
    length = 50 if size < 20_000 else 100
    batch = max(2, min(32, size // (8 * length)))
    return {
        "batch": batch,
        "length": length,
        "model": {
            "name": "rnn", "cell": "lstm", "embedding": 32 if small else 64, "hidden": 128 if small else 256,
            "layers": 1 if small else 2, "dropout": 0.2,
        },
        "optimizer": {"name": "adam", "learning_rate": 0.003},
        "schedule": {"name": "cosine", "warmup": 0.02},
    }  # fmt: skip
