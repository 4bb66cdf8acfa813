"""Edit distances: the fewest insertions, deletions and substitutions between two sequences, and their positions.

Ties prefer equal pairs: of alignments with equally few edits, one with the most equal pairs is chosen. So the counts of
substitutions, insertions and deletions may differ from other tools' while the totals agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy
from numpy.typing import NDArray

Symbol = TypeVar("Symbol", int, str)

GAP = "*"
"""Placeholder for an inserted or deleted symbol."""


class EditCounts(NamedTuple):
    """The numbers of edits that turn a reference of `length` symbols into a hypothesis."""

    substitutions: int
    insertions: int
    deletions: int
    length: int

    @property
    def total(self) -> int:
        return self.substitutions + self.insertions + self.deletions


def align(reference: Sequence[Symbol], hypothesis: Sequence[Symbol]) -> list[tuple[Symbol | None, Symbol | None]]:
    """Align two sequences in pairs of symbols, with as few edits as possible (Levenshtein 1966).

    None in a pair stands for an inserted or deleted symbol. Of alignments with equally few edits, it is one with the
    most equal pairs.
    """
    start, end = _count_common_ends(reference, hypothesis)
    rows, columns = len(reference) - end, len(hypothesis) - end
    tail: list[tuple[Symbol | None, Symbol | None]] = list(zip(reference[rows:], hypothesis[columns:], strict=True))
    middle: list[tuple[Symbol | None, Symbol | None]] = []
    edit = rows + columns + 1
    costs = _compute_costs(reference[start:rows], hypothesis[start:columns], edit)
    row, column = rows, columns
    while row > start or column > start:
        i, j = row - start, column - start
        pair = -1 if i and j and reference[row - 1] == hypothesis[column - 1] else edit
        if i and j and costs[i, j] == costs[i - 1, j - 1] + pair:
            row, column = row - 1, column - 1
            middle.append((reference[row], hypothesis[column]))
        elif i and costs[i, j] == costs[i - 1, j] + edit:
            row -= 1
            middle.append((reference[row], None))
        else:
            column -= 1
            middle.append((None, hypothesis[column]))
    head: list[tuple[Symbol | None, Symbol | None]] = list(zip(reference[:start], hypothesis[:start], strict=True))
    return head + middle[::-1] + tail


def _count_common_ends(reference: Sequence[Symbol], hypothesis: Sequence[Symbol]) -> tuple[int, int]:
    """Count the symbols that two sequences share at the start, and at the end of the rest: none need be compared."""
    shorter = min(len(reference), len(hypothesis))
    start = 0
    while start < shorter and reference[start] == hypothesis[start]:
        start += 1
    end = 0
    while end < shorter - start and reference[-1 - end] == hypothesis[-1 - end]:
        end += 1
    return start, end


def _compute_costs(reference: Sequence[Symbol], hypothesis: Sequence[Symbol], edit: int) -> NDArray[numpy.int64]:
    """Compute the cost of aligning each prefix of `reference` with each prefix of `hypothesis`, (R + 1, H + 1).

    An edit costs `edit`, an equal pair -1. Computes a row at a time: the insertions within it, each depending on its
    neighbour, are a running minimum after the cost of insertions alone is subtracted.
    """
    numbers: dict[Symbol, int] = {}
    rows, columns = (
        numpy.array([numbers.setdefault(symbol, len(numbers)) for symbol in symbols], dtype=numpy.int64)
        for symbols in (reference, hypothesis)
    )
    pairs = numpy.where(rows[:, None] == columns, -1, edit)
    inserted = edit * numpy.arange(len(columns) + 1)
    costs = numpy.empty((len(rows) + 1, len(columns) + 1), dtype=numpy.int64)
    costs[0] = inserted
    for above, pair, row in zip(costs, pairs, costs[1:], strict=False):
        best = above + edit - inserted
        numpy.minimum(best[1:], above[:-1] + pair - inserted[1:], out=best[1:])
        numpy.add(numpy.minimum.accumulate(best), inserted, out=row)
    return costs


def count_edits(pairs: Sequence[tuple[Symbol | None, Symbol | None]]) -> EditCounts:
    insertions = sum(reference is None for reference, _ in pairs)
    deletions = sum(hypothesis is None for _, hypothesis in pairs)
    different = sum(reference != hypothesis for reference, hypothesis in pairs)
    return EditCounts(different - insertions - deletions, insertions, deletions, len(pairs) - insertions)


def format_alignment(pairs: Sequence[tuple[str | None, str | None]]) -> tuple[str, str, str]:
    """Format an alignment of words as three lines: reference, hypothesis, and S, I or D below each edit."""
    lines: tuple[list[str], list[str], list[str]] = ([], [], [])
    for reference, hypothesis in pairs:
        width = max(len(reference or ""), len(hypothesis or ""))
        mark = "I" if reference is None else "D" if hypothesis is None else "" if reference == hypothesis else "S"
        gap = GAP * width
        cells = (gap if reference is None else reference, gap if hypothesis is None else hypothesis, mark)
        for line, cell in zip(lines, cells, strict=True):
            line.append(cell.ljust(width))
    reference_line, hypothesis_line, marks = (" ".join(line).rstrip() for line in lines)
    return reference_line, hypothesis_line, marks
