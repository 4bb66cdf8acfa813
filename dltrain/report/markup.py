"""Pieces of HTML: escaped text, tables, sections, numbers."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Iterable, Sequence

from dltrain.escaping import show_controls

NOTHING = "–"


class Markup(str):
    """Text that is HTML already."""


def escape(value: object) -> str:
    """Any value as HTML, also within quotes: text is escaped, and its control characters are shown; markup is not."""
    return value if isinstance(value, Markup) else html.escape(show_controls(str(value)))


def format_score(value: float | None) -> str:
    """A score with four decimals, or four significant digits where that says too little or too much."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.4f}"
    return f"{value:.4g}"


def format_count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def make_table(
    head: Sequence[object], rows: Iterable[Sequence[object]], *, left: Collection[int] = (0,), name: str = ""
) -> Markup:
    """Rows below a head; the columns `left` are text, the others numbers. It scrolls where it is too wide."""

    def cells(values: Sequence[object], tag: str) -> str:
        return "".join(
            f"<{tag}{'' if index in left else ' class=n'}>{escape(value)}</{tag}>" for index, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>\n" for row in rows)
    kind = f" class={name}" if name else ""
    return Markup(
        f"<div class=scroll><table{kind}><thead><tr>{cells(head, 'th')}</tr></thead>"
        f"<tbody>\n{body}</tbody></table></div>"
    )


def make_facts(facts: Iterable[tuple[str, object]]) -> Markup:
    """Names and values, one below the other."""
    return Markup("<dl class=facts>" + "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in facts) + "</dl>")


def make_section(key: str, title: str, *content: str | None) -> Markup:
    """A section with an anchor; empty without content."""
    inner = "\n".join(each for each in content if each)
    return Markup(f"<section id={key}><h2>{escape(title)}</h2>\n{inner}\n</section>") if inner else Markup("")


def make_fold(title: str, content: str) -> Markup:
    """Content that opens with a click."""
    return Markup(f"<details><summary>{escape(title)}</summary>\n{content}\n</details>")


def make_note(text: object) -> Markup:
    return Markup(f"<p class=note>{escape(text)}</p>")


def make_grid(cards: Iterable[str]) -> Markup:
    """Charts beside each other, as many as the width allows."""
    shown = [card for card in cards if card]
    return Markup("<div class=grid>" + "\n".join(shown) + "</div>") if shown else Markup("")
