"""Reads what a run has left in its folder, whatever state that is in: missing files and broken lines are passed over.

This is the one place where numbers are checked: whatever a `RunRecord` holds as a number can be drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pggan_jax.config import Config
from pggan_jax.system.json_files import json_objects

_EVENTS = ("WARNING", "rollback", "growing to", "configuration changed", "continuing at", "stopped and saved", "starting from")
# Sums and differences of such numbers are still finite.
_LARGEST = 1e100
_MOST_DIGITS = 10
_CONDITIONS = ("network", "data", "seed", "resize", "weights")


@dataclass(frozen=True)
class Measurement:
    """What `evaluate` has found at one checkpoint.

    Attributes:
        kimg: of the checkpoint.
        values: by name.
        uncertainty: of the values that have one.
        floor: values of reals against other reals, where there are any.
    """

    kimg: float
    values: dict[str, float]
    uncertainty: dict[str, float]
    floor: dict[str, float]


@dataclass(frozen=True)
class MetricGroup:
    """Measurements that compare with each other: of one metric, label and conditions.

    Attributes:
        label: the metric with its number of images, such as swd64.
        conditions: what else the values depend on, by name; without what the records do not tell.
        records: in order of kimg; of equal ones the newest.
    """

    label: str
    conditions: dict[str, str]
    records: list[Measurement]


@dataclass(frozen=True)
class RunRecord:
    """What a run tells of itself.

    Attributes:
        folder: the workdir.
        config: its settings.
        ticks: the numbers in the lines of stats.jsonl, in order; each has at least its kimg.
        metrics: lines of metric-NAME.jsonl that belong to a checkpoint.
        fakes: picture grids by images seen.
        events: what happened on the way, from log.txt.
        images_saved: where the newest checkpoint is; 0 without any.
    """

    folder: Path
    config: Config
    ticks: list[dict[str, float]]
    metrics: list[MetricGroup]
    fakes: dict[int, Path]
    events: list[str]
    images_saved: int = 0

    @property
    def kimg_reached(self) -> float:
        """Where training is: lines may have been lost since."""
        return max([self.images_saved / 1000, *(tick["kimg"] for tick in self.ticks)])

    @property
    def kimg_drawn(self) -> float:
        """Where the last thing is that has a place in the run; measurements may lie beyond the last tick that is told of."""
        return max([self.kimg_reached, *(one.kimg for group in self.metrics for one in group.records)])


def gather(folder: Path, config: Config) -> RunRecord:
    """Read everything that is there."""
    ticks = [numbers for line in json_objects(_lines(folder / "stats.jsonl")) if _has_place(numbers := _numbers(line))]
    metrics = [group for path in sorted(folder.glob("metric-*.jsonl")) for group in _groups(path)]
    pictures = {path.stem.removeprefix("fakes"): path for path in folder.glob("fakes*.png") if path.is_file()}
    fakes = {1000 * int(number): path for number, path in sorted(pictures.items()) if number.isdecimal()}
    events = [line for line in _lines(folder / "log.txt") if line.startswith(_EVENTS)]
    return RunRecord(folder, config, ticks, metrics, fakes, events, _images_saved(folder / "checkpoints"))


def _images_saved(checkpoints: Path) -> int:
    names = [path.name for path in checkpoints.glob("*") if path.is_dir()]
    return max((int(name) for name in names if name.isdecimal() and len(name) <= _MOST_DIGITS), default=0)


def _groups(path: Path) -> Iterator[MetricGroup]:
    by_group: dict[tuple[str, ...], dict[float, Measurement]] = {}
    for line in json_objects(_lines(path)):
        where = _numbers(line)
        if not _has_place(where) or not isinstance(line.get("values"), dict) or line.get("while") == "training":
            # What was measured while training is drawn from stats.jsonl.
            continue
        key = (_word(line.get("label")) or path.stem.removeprefix("metric-"), *(_word(line.get(name)) for name in _CONDITIONS))
        groups = (_numbers(line.get(name)) for name in ("values", "uncertainty", "floor"))
        by_group.setdefault(key, {})[where["kimg"]] = Measurement(where["kimg"], *groups)
    for (label, *words), by_kimg in by_group.items():
        conditions = {name: word for name, word in zip(_CONDITIONS, words, strict=True) if word}
        yield MetricGroup(label, conditions, [by_kimg[kimg] for kimg in sorted(by_kimg)])


def _numbers(record: Any) -> dict[str, float]:
    """What can be drawn of a record; nothing of what is none."""
    return {name: value for name, value in record.items() if _is_number(value)} if isinstance(record, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _has_place(numbers: dict[str, float]) -> bool:
    return numbers.get("kimg", -1) >= 0


def _word(value: Any) -> str:
    """A name or a count as text; nothing for what is neither."""
    return str(value) if isinstance(value, str | int | float) else ""


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        # A pipe would be waited for.
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace").splitlines()
    return []
