"""stats.jsonl and metric-NAME.jsonl: every line is written exactly once.

A line belongs to a point of the run, its `images_seen`. When the run continues from an earlier point, lines beyond that point
are dropped, as the run will write them again. Lines that a full disk did not take are stored in the checkpoints until they can
be written.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.schedule import Tick
from pggan_jax.system.files import append_durably, write_atomically
from pggan_jax.system.json_files import is_position, json_objects, parse_json

WHILE_TRAINING = {"while": "training"}
"""Marks measurements of the run itself among those of `evaluate` in the same files."""


class LineLog:
    """One file of JSON lines.

    Args:
        path: the file, or None for a host that writes nothing.
        owns: whether a line, as parsed, was written by the run; other whole lines stay as they are. Incomplete lines, which a
            killed process leaves, are removed.
    """

    def __init__(self, path: Path | None, owns: Callable[[Any], bool]):
        self._path, self._owns = path, owns
        self._unwritten = ""

    @property
    def unwritten(self) -> str:
        """Lines that a full disk did not take yet."""
        return self._unwritten

    def begin_at(self, images_seen: int, unwritten: str = "") -> None:
        """Drop lines beyond `images_seen`, and add lines that the file lacks.

        Args:
            images_seen: where the run continues.
            unwritten: lines that a checkpoint stores because the disk was full; those of other files are ignored.

        Raises:
            OSError: the file cannot be read or rewritten.
        """
        if not self._path:
            return
        text = self._text()
        kept = "".join(f"{line}\n" for line in text.splitlines() if self._stays(line, images_seen))
        if text != kept and text.startswith(kept):
            # The usual case, which needs no space.
            os.truncate(self._path, len(kept.encode()))
        elif text != kept:
            write_atomically(self._path, kept.encode())
        written = {_images_seen(line) for line in self._own(kept.splitlines())}
        lacking = [line for line in self._own((unwritten + self._unwritten).splitlines()) if self._stays(line, images_seen)]
        by_images = {_images_seen(line): f"{line}\n" for line in lacking}
        self._unwritten = "".join(line for images, line in sorted(by_images.items()) if images not in written)
        with suppress(OSError):
            self.write_rest()

    def _text(self) -> str:
        """Return the contents; raise OSError for a device or a pipe, which may have no end."""
        if self._path is None or not self._path.exists():
            return ""
        if not self._path.is_file():
            raise OSError(errno.EINVAL, "is a folder, a device or a pipe, not a file", str(self._path))
        return self._path.read_text(encoding="utf-8", errors="replace")

    def _stays(self, line: str, images_seen: int) -> bool:
        return (_is_whole(line) and not self._owns(_read(line))) or _images_seen(line) <= images_seen

    def _own(self, lines: Iterable[str]) -> list[str]:
        return [line for line in lines if self._owns(_read(line))]

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line; numbers that are not finite become null.

        Raises:
            OSError: the disk is full. The line is kept for the next attempt.
        """
        if self._path:
            finite = {
                key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
            }
            self._unwritten += json.dumps(finite) + "\n"
            self.write_rest()

    def write_rest(self) -> None:
        """Write the lines that a full disk did not take; does nothing if there are none.

        Raises:
            OSError: the disk is still full. The lines are kept for the next attempt.
        """
        if self._path and self._unwritten:
            append_durably(self._path, self._unwritten.encode())
            self._unwritten = ""


class StatsLog(LineLog):
    """stats.jsonl: one JSON object per tick.

    Args:
        path: the file, or None for a host that writes nothing.
    """

    def __init__(self, path: Path | None):
        super().__init__(path, lambda line: not _is_measurement(line))

    def missing(self, ticks: Sequence[Tick], images_seen: int) -> int:
        """Count the lines of finished ticks that the file lacks.

        Raises:
            OSError: the file cannot be read.
        """
        if not self._path:
            return 0
        return missing_ticks(ticks, json_objects((self._text() + self._unwritten).splitlines()), images_seen=images_seen)


class MetricLogs:
    """metric-NAME.jsonl, which `evaluate` writes, too: one JSON object per measurement.

    Args:
        folder: the workdir, or None for a host that writes nothing.
    """

    def __init__(self, folder: Path | None):
        self._folder = folder
        self._logs: dict[str, LineLog] = {}

    @property
    def unwritten(self) -> str:
        """Lines that a full disk did not take yet."""
        return "".join(log.unwritten for log in self._logs.values())

    def begin_at(self, images_seen: int, unwritten: str = "") -> None:
        """Apply `LineLog.begin_at` to every file, also of metrics that are not measured any more.

        Raises:
            OSError: a file cannot be read or rewritten; the others are done.
        """
        if not self._folder:
            return
        present = {path.stem.partition("-")[2] for path in self._folder.glob(Workdir(self._folder).metric("*").name)}
        lacking = {line["metric"] for line in map(_read, unwritten.splitlines()) if _is_measurement(line)}
        failures = []
        for name in sorted(present | lacking | self._logs.keys()):
            try:
                self._log(name).begin_at(images_seen, unwritten)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a measurement, as made by `evaluation.result_log.as_record`.

        Raises:
            OSError: the disk is full. The line is kept for the next attempt.
        """
        if self._folder:
            self._log(record["metric"]).append({**record, **WHILE_TRAINING})

    def write_rest(self) -> None:
        """Write the lines that a full disk did not take.

        Raises:
            OSError: the disk is still full.
        """
        for log in self._logs.values():
            log.write_rest()

    def _log(self, name: str) -> LineLog:
        if name not in self._logs:
            assert self._folder is not None
            self._logs[name] = LineLog(
                Workdir(self._folder).metric(name), lambda line: _is_measurement(line) and line["metric"] == name
            )
        return self._logs[name]


def missing_ticks(ticks: Sequence[Tick], records: Iterable[Mapping[str, Any]], *, images_seen: int) -> int:
    """Count the finished ticks that have no line in stats.jsonl.

    Args:
        ticks: of the run's schedule.
        records: the lines that are there. After a line of another schedule, which the run had before its settings were
            changed, only later ticks are counted.
        images_seen: how far the run has come.
    """
    numbers = {tick.end: tick.index + 1 for tick in ticks if tick.end <= images_seen}
    present: set[float] = set()
    start = 0.0
    for record in records:
        end = record.get("images_seen")
        if not is_position(end) or end > images_seen:
            continue
        if numbers.get(round(end)) == record.get("tick"):
            present.add(end)
        else:
            start = max(start, end)
    return sum(start < end for end in numbers.keys() - present)


def _is_measurement(line: Any) -> bool:
    """Whether a parsed line is a measurement of the run itself."""
    return isinstance(line, dict) and "metric" in line and line.get("while") == WHILE_TRAINING["while"]


def _read(line: str) -> Any:
    try:
        return parse_json(line)
    except ValueError:
        return None


def _is_whole(line: str) -> bool:
    return _read(line) is not None


def _images_seen(line: str) -> float:
    """Return where the line belongs; infinity for a line without a valid `images_seen`."""
    record = _read(line)
    images_seen = record.get("images_seen") if isinstance(record, dict) else None
    return images_seen if is_position(images_seen) else math.inf
