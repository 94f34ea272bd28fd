"""Reads what a run has left in its folder, whatever state that is in: missing files and broken lines are passed over."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pggan_jax.config import Config

_EVENTS = ("WARNING", "rollback", "growing to", "configuration changed", "continuing at", "stopped and saved", "starting from")


@dataclass(frozen=True)
class RunRecord:
    """What a run tells of itself.

    Attributes:
        folder: the workdir.
        config: its settings.
        ticks: lines of stats.jsonl in order.
        metrics: lines of each metric-NAME.jsonl that belong to a checkpoint, in order of kimg; of equal ones the last.
        fakes: picture grids by images seen.
        events: what happened on the way, from log.txt.
    """

    folder: Path
    config: Config
    ticks: list[dict[str, Any]]
    metrics: dict[str, list[dict[str, Any]]]
    fakes: dict[int, Path]
    events: list[str]


def gather(folder: Path, config: Config) -> RunRecord:
    """Read everything that is there."""
    ticks = [tick for tick in _json_lines(folder / "stats.jsonl") if is_number(tick.get("kimg"))]
    metrics = {}
    for path in sorted(folder.glob("metric-*.jsonl")):
        records = [one for one in _json_lines(path) if is_number(one.get("kimg")) and isinstance(one.get("values"), dict)]
        by_place = {one["kimg"]: one for one in records}
        if by_place:
            metrics[path.stem.removeprefix("metric-")] = [by_place[kimg] for kimg in sorted(by_place)]
    pictures = {path.stem.removeprefix("fakes"): path for path in folder.glob("fakes*.png")}
    fakes = {1000 * int(number): path for number, path in sorted(pictures.items()) if number.isdecimal()}
    events = [line for line in _lines(folder / "log.txt") if line.startswith(_EVENTS)]
    return RunRecord(folder, config, ticks, metrics, fakes, events)


def is_number(value: Any) -> bool:
    """Whether it can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in _lines(path):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
