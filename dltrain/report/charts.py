"""Charts as SVG, whose colours follow the page: lines, points, bars and bands over one pair of axes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dltrain.report.markup import Markup, escape

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 40
COLOURS = 10
"""Colours that the style sheet names c0 to c9."""

Style = Literal["line", "faint", "dashed", "points", "bars", "band", "guide"]
Number = float | None


@dataclass(frozen=True, kw_only=True)
class ChartSeries:
    """Values `y` over `x`; None interrupts a line. A band reaches from `low` to `y`.

    Without a label it is not in the legend.
    """

    x: Sequence[float]
    y: Sequence[Number]
    label: str = ""
    colour: int = 0
    style: Style = "line"
    low: Sequence[Number] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart with a title and named axes. `marks` are vertical lines with a label, `span` limits of y or x."""

    title: str
    x: str
    y: str
    series: Sequence[ChartSeries]
    marks: Sequence[tuple[float, str]] = ()
    x_span: tuple[float, float] | None = None
    y_span: tuple[float, float] | None = None
    log: bool = False
    note: str = ""
    whole_x: bool = False

    def draw(self) -> Markup:
        """The chart as a figure; empty where there is nothing finite to draw."""
        drawn = [series for series in self.series if any(_is_finite(value) for value in series.y)]
        if not drawn:
            return Markup("")
        axes = Axes.fit(self, drawn)
        parts = [*axes.draw_frame(self.x, self.y, self.whole_x), *axes.draw_marks(self.marks)]
        parts += [axes.draw(series) for series in drawn]
        legend = "".join(
            f'<span><i class="{_key_class(series)}"></i>{escape(series.label)}</span>'
            for series in drawn
            if series.label
        )
        note = f"<p class=small>{escape(self.note)}</p>" if self.note else ""
        return Markup(
            f"<figure class=chart><figcaption>{escape(self.title)}</figcaption>"
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role=img aria-label="{escape(self.title)}" {axes.describe()}>'
            f"{''.join(parts)}</svg>"
            f"<div class=legend>{legend}</div>{note}</figure>"
        )


def _key_class(series: ChartSeries) -> str:
    return f"k c{series.colour % COLOURS} {series.style}"


def _is_finite(value: Number) -> bool:
    return value is not None and math.isfinite(value)


@dataclass(frozen=True)
class Axes:
    """The limits of both axes, and where their values are in the picture."""

    low_x: float
    high_x: float
    low_y: float
    high_y: float
    log: bool = False
    ticks_y: Sequence[float] = field(default=())

    @classmethod
    def fit(cls, chart: Chart, drawn: Sequence[ChartSeries]) -> Axes:
        xs = [value for series in drawn for value in series.x if math.isfinite(value)]
        ys = [value for series in drawn if series.style != "guide" for value in _list_values(series)]
        log = chart.log and min(ys) > 0
        low_x, high_x = chart.x_span or (min(xs), max(xs))
        if chart.y_span is None:
            low_y, high_y = min(ys), max(ys)
            if any(series.style == "bars" for series in drawn):
                low_y = min(0.0, low_y)
        else:
            low_y, high_y = chart.y_span
        if high_x <= low_x:
            low_x, high_x = low_x - 0.5, high_x + 0.5
        if high_y <= low_y:
            room = abs(high_y) * 0.1 or 0.5
            low_y, high_y = (low_y / 2, high_y * 2) if log else (low_y - room, high_y + room)
        elif chart.y_span is None and log:
            low_y, high_y = low_y / 1.1, high_y * 1.1
        elif chart.y_span is None:
            room = 0.04 * (high_y - low_y)
            low_y, high_y = (low_y if low_y == 0 else low_y - room), high_y + room
        return cls(low_x, high_x, low_y, high_y, log=log)

    def describe(self) -> str:
        """What the page's script needs to find the value under the pointer."""
        return f'data-x="{self.low_x:.8g},{self.high_x:.8g}" data-plot="{LEFT},{WIDTH - RIGHT},{TOP},{HEIGHT - BOTTOM}"'

    def place_x(self, value: float) -> float:
        return LEFT + (value - self.low_x) / (self.high_x - self.low_x) * (WIDTH - LEFT - RIGHT)

    def place_y(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low_y) / math.log(self.high_y / self.low_y)
        else:
            share = (value - self.low_y) / (self.high_y - self.low_y)
        return HEIGHT - BOTTOM - min(1.02, max(-0.02, share)) * (HEIGHT - TOP - BOTTOM)

    def draw_frame(self, x: str, y: str, whole: bool) -> Iterator[str]:
        """Grid, ticks and the names of the axes."""
        bottom, middle = HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2
        for tick in list_log_ticks(self.low_y, self.high_y) if self.log else list_ticks(self.low_y, self.high_y, 5):
            at = self.place_y(tick)
            yield f'<path class=g d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>'
            yield f'<text class=t x={LEFT - 6} y="{at + 4:.1f}" text-anchor=end>{format_tick(tick)}</text>'
        for tick in list_ticks(self.low_x, self.high_x, 6, whole=whole):
            at = self.place_x(tick)
            yield f'<text class=t x="{at:.1f}" y={bottom + 16} text-anchor=middle>{format_tick(tick)}</text>'
        yield f'<path class=a d="M{LEFT} {bottom}H{WIDTH - RIGHT}"/>'
        yield f'<text class=t x="{(LEFT + WIDTH - RIGHT) / 2}" y={HEIGHT - 6} text-anchor=middle>{escape(x)}</text>'
        yield f'<text class=t transform="translate(12 {middle}) rotate(-90)" text-anchor=middle>{escape(y)}</text>'

    def draw_marks(self, marks: Sequence[tuple[float, str]]) -> Iterator[str]:
        for value, label in marks:
            at = self.place_x(value)
            end = at > (LEFT + WIDTH) / 2
            yield f'<path class=m d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
            anchor, shift = ("end", -5) if end else ("start", 5)
            yield f'<text class="t b" x="{at + shift:.1f}" y={TOP + 10} text-anchor={anchor}>{escape(label)}</text>'

    def draw(self, series: ChartSeries) -> str:
        """One series; lines and points carry their values for the page's script."""
        kind = f"{series.style} c{series.colour % COLOURS}"
        if series.style == "bars":
            return f'<g class="{kind}">{"".join(self._draw_bars(series))}</g>'
        if series.style == "band":
            return f'<path class="{kind}" d="{self._trace_band(series)}"/>'
        if series.style == "points":
            return f'<path class="{kind}" d="{"".join(self._dot(*pair) for pair in _pair(series))}"/>'
        values = ""
        if series.style in ("line", "dashed") and len(series.x) <= 400 and series.label:
            rounded = [[_round(x), None if y is None else _round(y)] for x, y in zip(series.x, series.y, strict=True)]
            values = f' data-label="{escape(series.label)}" data-v="{json.dumps(rounded, separators=(",", ":"))}"'
        dots = ""
        if series.style == "line" and len(series.x) <= 12:
            places = "".join(self._dot(*pair) for pair in _pair(series))
            dots = f'<path class="dots c{series.colour % COLOURS}" d="{places}"/>'
        return f'<path class="{kind}" d="{self._trace_line(series.x, series.y)}"{values}/>{dots}'

    def _dot(self, x: float, y: float) -> str:
        return f"M{self.place_x(x):.1f} {self.place_y(y):.1f}h0"

    def _trace_line(self, xs: Sequence[float], ys: Sequence[Number]) -> str:
        parts, pen = [], "M"
        for x, y in zip(xs, ys, strict=True):
            if y is None or not _is_finite(y) or (self.log and y <= 0):
                pen = "M"
                continue
            parts.append(f"{pen}{self.place_x(x):.1f} {self.place_y(y):.1f}")
            pen = "L"
        return "".join(parts)

    def _trace_band(self, series: ChartSeries) -> str:
        there = self._trace_line(series.x, series.y)
        back = self._trace_line(list(series.x)[::-1], list(series.low)[::-1])
        return f"{there}L{back[1:]}Z"

    def _draw_bars(self, series: ChartSeries) -> Iterator[str]:
        """Bars from zero; `x` has one edge more than there are values."""
        base = self.place_y(max(0.0, self.low_y))
        for left, right, value in zip(series.x, series.x[1:], series.y, strict=False):
            if value:
                start, end, top = self.place_x(left), self.place_x(right), self.place_y(value)
                yield (
                    f'<rect x="{start + 0.5:.1f}" y="{top:.1f}" width="{max(0.5, end - start - 1):.1f}" '
                    f'height="{base - top:.1f}"><title>{left:.4g} to {right:.4g}: {value:.6g}</title></rect>'
                )


def _pair(series: ChartSeries) -> Iterator[tuple[float, float]]:
    return ((x, y) for x, y in zip(series.x, series.y, strict=True) if y is not None and math.isfinite(y))


def _list_values(series: ChartSeries) -> list[float]:
    return [value for value in (*series.y, *series.low) if value is not None and math.isfinite(value)]


def _round(value: float) -> float:
    return float(f"{value:.5g}")


def list_ticks(low: float, high: float, number: int, *, whole: bool = False) -> list[float]:
    """About `number` round values between two limits: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / number
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    step = max(1.0, step) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def list_log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two limits; of less than two decades also 2 and 5 times these."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    every = max(1, -(-len(decades) // 6)) if len(factors) == 1 else 1
    ticks = [factor * 10.0**decade for decade in list(decades)[::every] for factor in factors]
    return [tick for tick in ticks if low <= tick <= high]


def format_tick(value: float) -> str:
    """A short number: 0.25, 1,200, 2e-05."""
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:.3g}"
