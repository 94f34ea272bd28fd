"""The report of a run as one HTML file that needs no server and no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from pggan_jax.config import Config
from pggan_jax.config.io import settings_of
from pggan_jax.cosines import cosine_curve, cosines
from pggan_jax.reporting.run_record import MetricGroup, RunRecord
from pggan_jax.reporting.sound_samples import sound_section
from pggan_jax.reporting.svg_charts import Band, Series, chart, legend
from pggan_jax.run_logs.eta import format_duration
from pggan_jax.run_logs.jsonl import missing_ticks
from pggan_jax.schedule import Schedule
from pggan_jax.stats_fields import LOOP_FIELDS, MEASUREMENT_PREFIX
from pggan_jax.system.image_files import open_encoded

_CURVES = (
    ("Losses", (("loss_g", "generator"), ("loss_d", "discriminator"))),
    ("Held-out gap", (("held_out_gap", "training - held-out"),)),
    ("Scores of training and held-out images", (("training_score", "training"), ("held_out_score", "held-out"))),
    ("Discriminator scores", (("real_score", "reals"), ("fake_score", "fakes"))),
    ("Score difference", (("score_difference", "reals - fakes"),)),
    ("Gradient penalty", (("gradient_penalty", "penalty"),)),
    ("Speed, images/s", (("images_per_second", "images/s"),)),
    ("Alpha, weight of the newest layers", (("alpha", "alpha"),)),
)
_KNOWN_FIELDS = LOOP_FIELDS.union(field for _, fields in _CURVES for field, _ in fields)
_PHASES = (
    ("wait", "waiting for data"),
    ("compile", "compiling"),
    ("grow", "growing"),
    ("snapshot", "sample grids"),
    ("evaluate", "metrics"),
    ("save", "saving"),
)
_WHILE_TRAINING = (
    "Headline values from stats.jsonl, of the moving average, measured as the settings eval.* and run.seed say. They compare "
    "with those of evaluate only where image counts, seed and data are the same."
)
_BY_EVALUATE = (
    "Values from metric-NAME.jsonl, one curve for all that can be compared. A dashed curve is the floor: reals against other "
    "reals. A strip is one standard error either way."
)
_EARLIER_EVENTS = "Earlier versions wrote no events.jsonl: what happened before these events is in log.txt."
_NO_EVENTS = "No events.jsonl: the run is of an earlier version. The last lines of log.txt:"
_WIDEST_IMAGE = 1280
_EVENTS_SHOWN = 200
_EVENTS_LEFT_OUT = ("save",)

_STYLE = Path(__file__).with_name("style.css")


def render(run: RunRecord) -> str:
    """Return the whole page as HTML."""
    schedule = Schedule.of(run.config)
    bands = [Band(s.start / 1000, s.end / 1000, str(s.shape), s.fading) for s in schedule.stages]
    grids = _grids_shown(run, schedule)
    sections = [
        _header(run, schedule),
        _sample_grids(run, grids),
        sound_section(run, grids),
        _metrics_while_training(run, bands),
        _metrics_by_evaluate(run, bands),
        _training(run, bands),
        _other_scalars(run, bands),
        _timeline(run, schedule),
        _events(run),
        _settings(run.config),
    ]
    title = escape(f"{run.folder.name}: pggan_jax")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE.read_text(encoding='utf-8')}</style>"
    )
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{"".join(sections)}\n</body></html>\n'
    # JSON and names of files can hold halves of characters, which no file takes.
    return page.encode(errors="replace").decode()


def _header(run: RunRecord, schedule: Schedule) -> str:
    config, total = run.config, schedule.total_images / 1000
    size = config.data.shape_at(config.data.resolution)
    trained = run.ticks[-1].get("training_seconds", 0.0) if run.ticks else 0.0
    is_complete = run.kimg_reached >= total or trained >= schedule.total_seconds
    facts = [
        (f"{run.kimg_reached:,.1f}", f"kimg of {total:,.1f}"),
        ("complete" if is_complete else "not complete", "state"),
    ]
    if run.ticks:
        last = run.ticks[-1]
        if last.get("resolution") in schedule.resolutions:
            facts.append((str(config.data.shape_at(int(last["resolution"]))), "resolution reached"))
        facts.append((format_duration(_total(run.ticks, "seconds_per_tick")), "training time"))
        if "images_per_second" in last:
            facts.append((f"{last['images_per_second']:,.0f}", "images/s, last tick"))
        facts.append((f"{last.get('skipped_steps', 0):,.0f}", "skipped updates"))
    cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for value, name in facts)
    about = f"{config.data.source}, {size}, {config.loss.name}, seed {config.run.seed}"
    empty = "" if run.ticks else "<p>No tick is finished yet: there are no curves of the training.</p>"
    images_seen = min(round(1000 * run.kimg_reached), schedule.total_images)
    lost = missing_ticks(schedule.ticks, run.ticks, images_seen=images_seen)
    if lost:
        empty += f"<p>stats.jsonl lacks the lines of {lost:,} finished ticks: curves, times and counts leave them out.</p>"
    return f'<h1>{escape(run.folder.name)}</h1><p class="soft">{escape(about)}</p><div class="facts">{cells}</div>{empty}'


def _grids_shown(run: RunRecord, schedule: Schedule) -> dict[int, str]:
    """Return names of the sample grids that are shown, by images seen.

    They are the last ones of each resolution, the largest first.
    """
    newest = max(run.fakes, default=None)
    ends = {int(tick["kimg"]): int(tick["resolution"]) for tick in run.ticks if tick.get("resolution") in schedule.resolutions}
    # Grids are named by whole kimg; their tick says at which resolution they were drawn.
    last_at = {ends.get(images // 1000, schedule.stage_at(images).resolution): images for images in sorted(run.fakes)}
    return {
        images: f"{run.config.data.shape_at(resolution)}, kimg {images / 1000:g}" + (", newest" if images == newest else "")
        for resolution, images in sorted(last_at.items(), reverse=True)
    }


def _sample_grids(run: RunRecord, grids: dict[int, str]) -> str:
    reals = run.folder / "reals.png"
    shown = [("Reals", reals)] if reals.is_file() else []
    shown += [(name, run.fakes[images]) for images, name in grids.items()]
    cards = [_card(name, f'<img alt="{escape(name)}" src="{source}">') for name, path in shown if (source := _data_uri(path))]
    return f'<h2>Samples</h2><div class="images">{"".join(cards)}</div>' if cards else ""


def _data_uri(path: Path) -> str:
    """Return a PNG as a data URI; of a large grid only the upper left part."""
    try:
        with path.open("rb") as file, open_encoded(file) as image:
            cut = image.crop((0, 0, min(image.width, _WIDEST_IMAGE), min(image.height, _WIDEST_IMAGE * 9 // 16)))
            buffer = io.BytesIO()
            cut.save(buffer, format="PNG", optimize=True)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # Pillow raises SyntaxError for a damaged PNG
        return ""
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _metrics_while_training(run: RunRecord, bands: Sequence[Band]) -> str:
    cards = []
    for field in sorted({key for tick in run.ticks for key in tick if key.startswith(MEASUREMENT_PREFIX)}):
        title = f"{field.removeprefix(MEASUREMENT_PREFIX)}, while training"
        cards.append(_chart(title, [_of_ticks(run, field, title)], bands, run))
    return _charts("Metrics while training", _WHILE_TRAINING, cards)


def _metrics_by_evaluate(run: RunRecord, bands: Sequence[Band]) -> str:
    cards = []
    for group in run.metrics:
        conditions = ", ".join(f"{name} {_short(name, word)}" for name, word in group.conditions.items())
        for value in dict.fromkeys(name for one in group.records for name in one.values):
            title = group.label if group.label.startswith(value) else f"{group.label}: {value}"
            cards.append(_chart(title, _of_group(group, value), bands, run, conditions))
    return _charts("Metrics by evaluate", _BY_EVALUATE, cards)


def _short(name: str, word: str) -> str:
    """Return the beginning of a digest."""
    return word[:12] if name == "weights" else word


def _of_group(group: MetricGroup, value: str) -> list[Series]:
    """Return a curve with its uncertainty, and the floor as a dashed curve."""
    measured = [one for one in group.records if value in one.values]
    errors = [one.uncertainty.get(value, 0.0) for one in measured]
    return [
        Series("fakes", [(one.kimg, one.values[value]) for one in measured], errors if any(errors) else ()),
        Series("reals against reals", [(one.kimg, one.floor[value]) for one in measured if value in one.floor], is_dashed=True),
    ]


def _of_ticks(run: RunRecord, field: str, name: str) -> Series:
    return Series(name, [(tick["kimg"], tick[field]) for tick in run.ticks if field in tick])


def _training(run: RunRecord, bands: Sequence[Band]) -> str:
    cards = [_chart(title, [_of_ticks(run, field, name) for field, name in fields], bands, run) for title, fields in _CURVES]
    schedule, end = Schedule.of(run.config), run.kimg_drawn
    for one in cosines(run.config) if run.ticks else ():
        title = f"{one.name}, as scheduled" + (f", {one.unit}" if one.unit else "")
        cards.append(_chart(title, [Series(one.name, cosine_curve(one, schedule, end=end))], bands, run))
    return _charts("Training", "Bands are resolutions; the yellow ones are fades. Point at a curve for its values.", cards)


def _other_scalars(run: RunRecord, bands: Sequence[Band]) -> str:
    """Draw the numbers in stats.jsonl that the program as it is does not write.

    They are metrics of a changed `loss_fn`.
    """
    fields = {name for tick in run.ticks for name in tick if not name.startswith(MEASUREMENT_PREFIX)} - _KNOWN_FIELDS
    cards = [_chart(name, [_of_ticks(run, name, name)], bands, run) for name in sorted(fields)]
    return _charts("Other scalars", "Further fields of stats.jsonl, by name.", cards)


def _charts(heading: str, note: str, cards: Sequence[str]) -> str:
    """Return a section; nothing if it has no charts."""
    body = "".join(cards)
    return f'<h2>{heading}</h2><p class="soft">{note}</p><div class="charts">{body}</div>' if body else ""


def _chart(title: str, series: Sequence[Series], bands: Sequence[Band], run: RunRecord, conditions: str = "") -> str:
    """Return a card with a chart; `conditions` distinguish it from others of the same title."""
    drawn = [one for one in series if one.points]
    if not drawn:
        return ""
    about = f'<p class="soft conditions">{escape(conditions)}</p>' if conditions else ""
    name = f"{title}; {conditions}" if conditions else title
    return _card(title, about + (legend(drawn) if len(drawn) > 1 else "") + chart(name, drawn, bands=bands, end=run.kimg_drawn))


def _card(title: str, content: str) -> str:
    return f'<div class="card"><h3>{escape(title)}</h3>{content}</div>'


def _timeline(run: RunRecord, schedule: Schedule) -> str:
    rows = []
    for stage in schedule.stages:
        ticks = [tick for tick in run.ticks if stage.start < 1000 * tick["kimg"] <= stage.end]
        if not ticks:
            continue
        seconds = _total(ticks, "seconds_per_tick")
        shares = [_total(ticks, f"{phase}_seconds") / seconds if seconds else 0.0 for phase, _ in _PHASES]
        span = f"{stage.start / 1000:,.1f} to {min(stage.end / 1000, run.kimg_reached):,.1f}"
        cells = [stage.name, span, str(len(ticks)), format_duration(seconds), *(f"{share:.1%}" for share in shares)]
        rows.append("".join(f"<td>{escape(cell)}</td>" for cell in cells))
    names = ["phase", "kimg", "ticks ended", "time", *(name for _, name in _PHASES)]
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<h2>Timeline</h2><div class="card wide"><table><tr>{head}</tr>{body}</table></div>' if rows else ""


def _total(ticks: Sequence[dict[str, Any]], field: str) -> float:
    return sum(tick.get(field, 0.0) for tick in ticks)


def _events(run: RunRecord) -> str:
    lines, note = [_event_line(event) for event in run.events if event["event"] not in _EVENTS_LEFT_OUT], ""
    if not run.events:
        lines, note = run.log_lines, _NO_EVENTS
    elif run.events[0]["event"] != "start":
        note = _EARLIER_EVENTS
    shown = escape("\n".join(lines[-_EVENTS_SHOWN:]))
    about = f'<p class="soft">{note}</p>' if note else ""
    return f'<h2>Events</h2><div class="card">{about}<pre>{shown}</pre></div>' if lines else ""


def _event_line(event: dict[str, Any]) -> str:
    kimg = event.get("kimg")
    where = f"kimg {kimg:g}" if isinstance(kimg, int | float) else "kimg ?"
    return f"{event.get('time', '')}  {where}  {event['event']}: {event.get('message', '')}"


def _settings(config: Config) -> str:
    default = dict(settings_of(Config()))

    def lines(is_wanted: Callable[[str, Any], bool]) -> str:
        return escape("\n".join(f"{path} = {value}" for path, value in settings_of(config) if is_wanted(path, value)))

    changed = lines(lambda path, value: value != default[path])
    rest = lines(lambda path, value: value == default[path])
    return (
        f'<h2>Settings</h2><div class="card"><h3>Other than the defaults</h3><pre>{changed}</pre></div>'
        f'<details class="card"><summary>Defaults</summary><pre>{rest}</pre></details>'
    )
