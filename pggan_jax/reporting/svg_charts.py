"""Line charts as SVG: curves over kimg, with a band per resolution behind them.

Drawn here, not by a plotting library: the page needs colours that follow the reader's scheme, and values under the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 20, 26, 34
_TICKS = 5
_MOST_DOTS = 60
# In a smaller range, floats have no values for the steps.
_LEAST_RANGE, _LEAST_NUMBER = 1e-9, 1e-100


@dataclass(frozen=True)
class Band:
    """A phase of the run, from `start` to `end` in kimg."""

    start: float
    end: float
    label: str
    is_fade: bool


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        name: for the legend.
        points: (kimg, value), in order.
        errors: half the height of the strip around the curve at each point; empty for none.
        is_dashed: for the floor of another curve.
    """

    name: str
    points: Sequence[tuple[float, float]]
    errors: Sequence[float] = ()
    is_dashed: bool = False


def nice_ticks(low: float, high: float, *, count: int = _TICKS) -> list[float]:
    """Return round numbers that cover low..high, about `count` of them."""
    largest = max(abs(low), abs(high))
    if high - low <= max(_LEAST_RANGE * largest, _LEAST_NUMBER):
        around = largest / 2 if largest > _LEAST_NUMBER else 0.5
        low, high = low - around, high + around
    raw = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def logarithmic_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10 ... that cover the positive low..high, or powers of ten if it is wide."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    steps = (1,) if last - first > _TICKS - 2 else (1, 2, 5)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    below = [tick for tick in ticks if tick <= low * (1 + 1e-9)][-1:]
    inside = [tick for tick in ticks if low * (1 + 1e-9) < tick < high * (1 - 1e-9)]
    above = [tick for tick in ticks if tick >= high * (1 - 1e-9) and tick not in below][:1]
    return [*below, *inside, *above] if above else [*below, 2 * below[-1]]


def chart(
    title: str,
    series: Sequence[Series],
    *,
    bands: Sequence[Band],
    end: float,
    unit: str = "kimg",
    is_logarithmic: bool = False,
) -> str:
    """Return a chart as an SVG element.

    Args:
        title: what is drawn, with its unit.
        series: curves; those without points are left out.
        bands: resolutions behind them.
        end: right end of the axis, in `unit`.
        unit: of the horizontal axis.
        is_logarithmic: of the vertical axis; only if all values are positive.
    """
    drawn = [one for one in series if one.points]
    values = [value + sign * error for one in drawn for (_, value), error in _with_errors(one) for sign in (-1, 1)]
    least = min(value for one in drawn for _, value in one.points)
    is_logarithmic = is_logarithmic and least > 0
    if is_logarithmic:
        ticks = logarithmic_ticks(max(min(values), least / 2), max(values))
    else:
        ticks = nice_ticks(min(values), max(values))
    low, high, end = ticks[0], ticks[-1], max(end, 1e-9)

    def x(kimg: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * kimg / end

    def y(value: float) -> float:
        share = (value - low) / (high - low)
        if is_logarithmic:
            share = math.log(max(value, low) / low) / math.log(high / low)
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    parts += [_band(band, x(band.start), x(min(band.end, end))) for band in bands if band.start < end]
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.7g}</text>')
    for tick in (one for one in nice_ticks(0, end) if one <= end):
        parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{HEIGHT - 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text class="tick" x="{WIDTH - _RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{unit}</text>')
    for number, one in enumerate(drawn):
        parts += _curve(one, f"c{number}", (x, y), unit)
    return "".join([*parts, "</svg>"])


def legend(series: Sequence[Series]) -> str:
    """Return the names and colours of the curves as HTML."""
    shown = [one for one in series if one.points]
    dashed = {True: " dashed", False: ""}
    items = [
        f'<span class="key c{number}{dashed[one.is_dashed]}">{escape(one.name)}</span>' for number, one in enumerate(shown)
    ]
    return f'<p class="legend">{"".join(items)}</p>'


def _with_errors(one: Series):
    return zip(one.points, one.errors or [0.0] * len(one.points), strict=True)


def _band(band: Band, left: float, right: float) -> str:
    kind = "fade" if band.is_fade else "stable"
    rectangle = (
        f'<rect class="{kind}" x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" height="{HEIGHT - _TOP - _BOTTOM}"/>'
    )
    # No label where it does not fit, and none for a fade: the stable phase after it has the same.
    if band.is_fade or right - left < 7 * len(band.label):
        return rectangle
    middle = (left + right) / 2
    return f'{rectangle}<text class="tick" x="{middle:.1f}" y="{_TOP - 8}" text-anchor="middle">{escape(band.label)}</text>'


def _curve(one: Series, kind: str, axes, unit: str) -> list[str]:
    x, y = axes
    places = [(x(kimg), y(value)) for kimg, value in one.points]
    parts = []
    if one.errors:
        upper = [(x(kimg), y(value + error)) for (kimg, value), error in _with_errors(one)]
        lower = [(x(kimg), y(value - error)) for (kimg, value), error in _with_errors(one)]
        parts.append(f'<polygon class="strip {kind}" points="{_points([*upper, *reversed(lower)])}"/>')
    dashed = " dashed" if one.is_dashed else ""
    parts.append(f'<polyline class="curve {kind}{dashed}" points="{_points(places)}"/>')
    # A single measurement has no line and needs a larger dot.
    size = 4 if len(places) == 1 else 2.5 if len(places) <= _MOST_DOTS else 1.2
    for (left, top), (kimg, value) in zip(places, one.points, strict=True):
        words = escape(f"{one.name}: {value:.5g} at {unit} {kimg:g}")
        parts.append(f'<circle class="dot {kind}" cx="{left:.1f}" cy="{top:.1f}" r="{size}"><title>{words}</title></circle>')
    return parts


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
