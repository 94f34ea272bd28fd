"""The figure with the curves of all variants, and the contact sheet of their samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from experiments.paper.study.folder import Folder
from experiments.paper.study.noise import Mean
from experiments.paper.study.plan import Plan, Run
from experiments.paper.study.results import curves_of
from pggan_jax.images import encode_png
from pggan_jax.reporting.svg_charts import HEIGHT, WIDTH, Series, chart
from pggan_jax.system.files import write_atomically
from pggan_jax.system.image_files import open_encoded

COLOURS = ("#1f6fb2", "#c2571a", "#2b8a57", "#8a4fb0", "#b23a48", "#5d6876", "#a07d00", "#00828c", "#e0679f")
_MOST_CURVES = len(COLOURS)
_TITLE, _KEY, _MARGIN = 22, 17, 8
_MOST_ROWS = 4
_LABEL_WIDTH = 150


def mean_curve(curves: Sequence[Sequence[tuple[float, float]]]) -> tuple[list[tuple[float, float]], list[float]]:
    """Return the mean of several curves, and its standard errors.

    Point by point, in both directions, as runs of one variant are measured at the same checkpoints. Runs that time has ended
    have different ones: they are interpolated over their common range, at the points of the first one and at the end.
    """
    curves = [curve for curve in curves if curve]
    if not curves:
        return [], []
    if len({len(curve) for curve in curves}) == 1:
        places = np.mean([[at for at, _ in curve] for curve in curves], axis=0).tolist()
        values = [np.array([value for _, value in curve]) for curve in curves]
    else:
        end = min(curve[-1][0] for curve in curves)
        places = [*(at for at, _ in curves[0] if at < end), end]
        values = [np.interp(places, *zip(*curve, strict=True)) for curve in curves]
    means = [Mean.of([float(one[number]) for one in values]) for number in range(len(places))]
    errors = [mean.error for mean in means] if len(curves) > 1 else []
    return [(at, mean.value) for at, mean in zip(places, means, strict=True)], errors


def figure(results: Mapping[str, Any]) -> str:
    """Return an SVG with a row of charts per value with curves: over kimg, and over minutes."""
    variants = results["variants"]
    names = [name for name in dict.fromkeys([results["headline"], *results["columns"]]) if _has_curves(variants, name)]
    shown = [variant for variant in variants if names and curves_of(variant, names[0], over="kimg")][:_MOST_CURVES]
    row, key = _TITLE + HEIGHT, _KEY * (len(shown) + 2)
    height = row * min(len(names), _MOST_ROWS) + key
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {height}" width="{2 * WIDTH}" height="{height}">',
        f"<style>{_style()}</style>",
        f'<rect width="{2 * WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, name in enumerate(names[:_MOST_ROWS]):
        heading = results["columns"].get(name, name)
        for left, over, unit in ((0, "kimg", "kimg"), (WIDTH, "seconds", "minutes of training")):
            parts.append(f'<text class="title" x="{left + 60}" y="{number * row + 18}">{escape(heading)} over {unit}</text>')
            placed = f'<svg x="{left}" y="{number * row + _TITLE}" width="{WIDTH}" height="{HEIGHT}" '
            parts.append(_panel(results, shown, name, over=over).replace("<svg ", placed, 1))
    return "\n".join([*parts, *_key(results, shown, top=height - key + _KEY), "</svg>"]) + "\n"


def _has_curves(variants: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(curve for variant in variants for curve in curves_of(variant, name, over="kimg"))


def _key(results: Mapping[str, Any], shown: Sequence[Mapping[str, Any]], *, top: int) -> list[str]:
    """Return the names and colours of the curves."""
    parts = []
    for number, variant in enumerate(shown):
        y = top + number * _KEY
        parts.append(f'<line class="curve c{number}" x1="60" x2="84" y1="{y - 4}" y2="{y - 4}"/>')
        parts.append(f'<text x="92" y="{y}">{escape(variant["name"])}: {escape(variant["about"])}</text>')
    rest = len(results["variants"]) - len(shown)
    note = "mean over seeds; band: its standard error; dashed: reals against other reals"
    note += f"; {rest} more variants are in the table" * (rest > 0)
    note += "; made with --quick: not a result" * results["quick"]
    return [*parts, f'<text x="60" y="{top + len(shown) * _KEY}">{note}</text>']


def _panel(results: Mapping[str, Any], variants: Sequence[Mapping[str, Any]], name: str, *, over: str) -> str:
    scale, unit = (1.0, "kimg") if over == "kimg" else (1 / 60, "minutes")
    series, end = [], 1e-9
    for variant in variants:
        points, errors = mean_curve(curves_of(variant, name, over=over))
        points = [(at * scale, value) for at, value in points]
        end = max([end, *(at for at, _ in points)])
        series.append(Series(variant["name"], points, errors))
    if not any(one.points for one in series):
        return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}"></svg>'
    if name in results["floor"]:
        level = results["floor"][name]
        series.append(Series("reals against other reals", [(0.0, level), (end, level)], is_dashed=True))
    return chart(
        name, series, bands=(), end=end, unit=unit, is_logarithmic=name not in (*results["larger"], *results["neutral"])
    )


def _style() -> str:
    rules = [
        "text{font:12px Helvetica,Arial,sans-serif;fill:#1d2530}.title{font-size:14px;font-weight:600}",
        ".tick{fill:#5d6876;font-size:11px}.grid{stroke:#e3e5e8}.curve{fill:none;stroke-width:1.8;stroke:#5d6876}",
        ".dashed{stroke-dasharray:5 4}.strip{opacity:.18}.dot{fill:#5d6876}",
    ]
    for number, colour in enumerate(COLOURS):
        rules.append(f".curve.c{number}{{stroke:{colour}}}.dot.c{number},.strip.c{number}{{fill:{colour}}}")
    rules.append(".curve.dashed{stroke:#1d2530}")
    return "".join(rules)


def contact_sheet(plan: Plan, folder: Folder) -> np.ndarray | None:
    """Return one row of samples per variant, of the same seeds; None without any."""
    from PIL import Image, ImageDraw

    rows = []
    for variant in plan.variants:
        paths = (folder.measured(Run(variant, seed).name).with_suffix(".png") for seed in plan.seeds)
        path = next((one for one in paths if one.exists()), None)
        if path:
            rows.append((variant.name, open_encoded(path.read_bytes()).convert("RGB")))
    if not rows:
        return None
    factor = max(1, 32 // rows[0][1].height)
    rows = [(name, row.resize((row.width * factor, row.height * factor), Image.Resampling.NEAREST)) for name, row in rows]
    height = max(row.height for _, row in rows) + 4
    sheet = Image.new("RGB", (_LABEL_WIDTH + max(row.width for _, row in rows), height * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, row) in enumerate(rows):
        draw.text((_MARGIN, number * height + height // 2 - 6), name, fill="black")
        sheet.paste(row, (_LABEL_WIDTH, number * height))
    return np.asarray(sheet)


def write_pictures(plan: Plan, folder: Folder, results: Mapping[str, Any]) -> None:
    """Write figure.svg and contact_sheet.png."""
    write_atomically(folder.path / "figure.svg", figure(results).encode())
    sheet = contact_sheet(plan, folder)
    if sheet is not None:
        write_atomically(Path(folder.path / "contact_sheet.png"), encode_png(sheet, holds="several images"))
