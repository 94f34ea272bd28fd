"""Read the files of a run; missing files and damaged lines are skipped.

Numbers are checked here and nowhere else: every number in a `RunRecord` can be drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pggan_jax.config import Config
from pggan_jax.run_logs.jsonl import WHILE_TRAINING
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.system.json_files import json_objects

# Sums and differences of such numbers are still finite.
_LARGEST = 1e100
_MOST_DIGITS = 10
_CONDITIONS = ("network", "data", "seed", "resize", "weights")


@dataclass(frozen=True)
class Measurement:
    """A line that `evaluate` wrote about one checkpoint.

    Attributes:
        kimg: of the checkpoint.
        values: by name.
        uncertainty: of the values that have one.
        floor: values of reals against other reals, where they were measured.
    """

    kimg: float
    values: dict[str, float]
    uncertainty: dict[str, float]
    floor: dict[str, float]


@dataclass(frozen=True)
class MetricGroup:
    """Measurements that can be compared: of one metric, label and conditions.

    Attributes:
        label: the metric with its number of images, such as swd64.
        conditions: what else the values depend on, by name, where it is recorded.
        records: in order of kimg; of several at one kimg, the newest line.
    """

    label: str
    conditions: dict[str, str]
    records: list[Measurement]


@dataclass(frozen=True)
class RunRecord:
    """What the files of a run say.

    Attributes:
        folder: the workdir.
        config: its settings.
        ticks: the numbers in the lines of stats.jsonl, in order; each has at least its kimg.
        metrics: lines of metric-NAME.jsonl that belong to a checkpoint.
        fakes: sample grids by images seen.
        events: objects of events.jsonl, in order; runs of earlier versions have none, or not the first ones.
        log_lines: lines of log.txt, read only if there are no events.
        images_saved: images seen of the newest checkpoint; 0 without any.
    """

    folder: Path
    config: Config
    ticks: list[dict[str, float]]
    metrics: list[MetricGroup]
    fakes: dict[int, Path]
    events: list[dict[str, Any]]
    log_lines: list[str]
    images_saved: int = 0

    @property
    def kimg_reached(self) -> float:
        """How far the run has come, by checkpoints and stats.jsonl, whose last lines may be lost."""
        return max([self.images_saved / 1000, *(tick["kimg"] for tick in self.ticks)])

    @property
    def kimg_drawn(self) -> float:
        """Right end of the charts: measurements may lie beyond the last tick in stats.jsonl."""
        return max([self.kimg_reached, *(one.kimg for group in self.metrics for one in group.records)])


def gather(folder: Path, config: Config) -> RunRecord:
    """Read everything that a report shows."""
    workdir = Workdir(folder)
    ticks = [numbers for line in json_objects(_lines(workdir.stats)) if _has_kimg(numbers := _numbers(line))]
    metrics = [group for path in sorted(folder.glob(workdir.metric("*").name)) for group in _groups(path)]
    grids = {path.stem.removeprefix("fakes"): path for path in folder.glob("fakes*.png") if path.is_file()}
    events = [event for event in json_objects(_lines(workdir.events)) if _word(event.get("event"))]
    return RunRecord(
        folder,
        config,
        ticks=ticks,
        metrics=metrics,
        fakes={1000 * int(number): path for number, path in sorted(grids.items()) if number.isdecimal()},
        events=events,
        log_lines=[] if events else _lines(workdir.log),
        images_saved=_images_saved(workdir.checkpoints),
    )


def _images_saved(checkpoints: Path) -> int:
    names = [path.name for path in checkpoints.glob("*") if path.is_dir()]
    return max((int(name) for name in names if name.isdecimal() and len(name) <= _MOST_DIGITS), default=0)


def _groups(path: Path) -> Iterator[MetricGroup]:
    by_group: dict[tuple[str, ...], dict[float, Measurement]] = {}
    for line in json_objects(_lines(path)):
        where = _numbers(line)
        is_of_the_run = line.get("while") == WHILE_TRAINING["while"]  # drawn from stats.jsonl
        if not _has_kimg(where) or not isinstance(line.get("values"), dict) or is_of_the_run:
            continue
        key = (_word(line.get("label")) or path.stem.removeprefix("metric-"), *(_word(line.get(name)) for name in _CONDITIONS))
        groups = (_numbers(line.get(name)) for name in ("values", "uncertainty", "floor"))
        by_group.setdefault(key, {})[where["kimg"]] = Measurement(where["kimg"], *groups)
    for (label, *words), by_kimg in by_group.items():
        conditions = {name: word for name, word in zip(_CONDITIONS, words, strict=True) if word}
        yield MetricGroup(label, conditions, [by_kimg[kimg] for kimg in sorted(by_kimg)])


def _numbers(record: Any) -> dict[str, float]:
    """Return the values of a record that can be drawn; nothing if it is no object."""
    return {name: value for name, value in record.items() if _is_number(value)} if isinstance(record, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _has_kimg(numbers: dict[str, float]) -> bool:
    return numbers.get("kimg", -1) >= 0


def _word(value: Any) -> str:
    """Return a name or a number as text; nothing for other values."""
    return str(value) if isinstance(value, str | int | float) else ""


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        # Reading a pipe would block.
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace").splitlines()
    return []
