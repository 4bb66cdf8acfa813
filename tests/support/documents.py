"""A small table of labelled texts."""

from __future__ import annotations

from pathlib import Path

import numpy

WORDS = ["apple", "bread", "cheese", "dill", "egg", "fig", "grape"]


def write_table(path: Path, rows: int = 60, classes: int = 3) -> Path:
    """Rows of words, whose first one tells the label, in groups of two."""
    draw = numpy.random.default_rng(0)
    lines = ["text,label,author"]
    for number in range(rows):
        words = [WORDS[number % classes], *draw.choice(WORDS[classes:], draw.integers(1, 9))]
        lines.append(f"{' '.join(words)},{'abcdefg'[number % classes]},{number // 2}")
    path.write_text("\n".join(lines) + "\n")
    return path
