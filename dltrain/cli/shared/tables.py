"""Tables of text for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def format_table(rows: Sequence[Sequence[object]], left: Collection[int] = ()) -> str:
    """Rows, the first of which is the head, as aligned lines: flush right but for the columns `left`.

    A row that is shorter than the first ends with text of any length.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    full = [row for row in cells if len(row) == len(cells[0])]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    lines = []
    for row in cells:
        pairs = list(enumerate(zip(row, widths, strict=False)))
        aligned = [cell.ljust(width) if index in left else cell.rjust(width) for index, (cell, width) in pairs]
        if len(row) < len(widths):
            aligned[-1] = row[-1]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)
