"""stats.jsonl and metric-NAME.jsonl as a run writes them: lines of JSON, each told once, whatever happens to process or disk.

A line belongs to a point of the run, `images_seen`. When the run begins at an earlier point, lines beyond it are dropped, as
they will be told again. What there is no space for waits, and lies in the checkpoints meanwhile.
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

from pggan_jax.run_logs.workdir import record_path
from pggan_jax.schedule import Tick
from pggan_jax.system.files import append_durably, write_atomically
from pggan_jax.system.json_files import is_position, json_objects, missing_ticks, parse_json

WHILE_TRAINING = {"while": "training"}
"""What tells measurements of the run itself from those of `evaluate`, in the same files."""


class LineLog:
    """One file of them.

    Args:
        path: the file, or None for a host that writes nothing.
        owns: whether a line, as read, is the run's own; others stay as they are. Only whole lines are asked about: halves that
            a dying process has left are no one's.
    """

    def __init__(self, path: Path | None, owns: Callable[[Any], bool]):
        self._path, self._owns = path, owns
        self._unwritten = ""

    @property
    def unwritten(self) -> str:
        """Lines that there was no space for."""
        return self._unwritten

    def begin_at(self, images_seen: int, unwritten: str = "") -> None:
        """Drop lines of ticks beyond so many images, as the run will come to them again, and add what the file lacks.

        Args:
            images_seen: where the run stands.
            unwritten: lines that there was no space for when it stood there before; those that are not its own are passed over.

        Raises:
            OSError: the file cannot be read, or not be rewritten.
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
        """What is there; a device or a pipe, which may have no end, is refused by an OSError."""
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
        """Add a line; numbers that are not finite become null, as JSON has no word for them.

        Raises:
            OSError: there is no space. The line is kept for another attempt.
        """
        if self._path:
            clean = {
                key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
            }
            self._unwritten += json.dumps(clean) + "\n"
            self.write_rest()

    def write_rest(self) -> None:
        """Write the lines that there was no space for; does nothing if there are none.

        Raises:
            OSError: there still is none. The lines are kept for another attempt.
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

    def missing(self, ticks: Sequence[Tick], images_seen: int) -> list[str]:
        """A line for the log if the file lacks some of its own up to `images_seen`; nothing otherwise.

        Raises:
            OSError: the file cannot be read.
        """
        if not self._path:
            return []
        count = missing_ticks(ticks, json_objects((self._text() + self._unwritten).splitlines()), images_seen)
        return (
            [f"WARNING: {self._path} lacks the lines of {count:,} of the ticks that have ended; they are lost"] if count else []
        )


class MetricLogs:
    """metric-NAME.jsonl, to which `evaluate` writes, too: one JSON object per measurement.

    Args:
        folder: the workdir, or None for a host that writes nothing.
    """

    def __init__(self, folder: Path | None):
        self._folder = folder
        self._logs: dict[str, LineLog] = {}

    @property
    def unwritten(self) -> str:
        """Lines that there was no space for."""
        return "".join(log.unwritten for log in self._logs.values())

    def begin_at(self, images_seen: int, unwritten: str = "") -> None:
        """As `LineLog.begin_at`, in every file that is there or should be: settings may have named other metrics before.

        Raises:
            OSError: a file cannot be read, or not be rewritten.
        """
        if not self._folder:
            return
        there = {_metric_of(path) for path in self._folder.glob(record_path(self._folder, "*").name)}
        lacking = {line["metric"] for line in map(_read, unwritten.splitlines()) if _is_measurement(line)}
        failures = []
        for name in sorted(there | lacking | self._logs.keys()):
            try:
                self._log(name).begin_at(images_seen, unwritten)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a measurement, as `records.as_record` makes them.

        Raises:
            OSError: there is no space. The line is kept for another attempt.
        """
        if self._folder:
            self._log(record["metric"]).append({**record, **WHILE_TRAINING})

    def write_rest(self) -> None:
        """Write the lines that there was no space for.

        Raises:
            OSError: there still is none.
        """
        for log in self._logs.values():
            log.write_rest()

    def _log(self, name: str) -> LineLog:
        if name not in self._logs:
            assert self._folder is not None
            self._logs[name] = LineLog(
                record_path(self._folder, name), lambda line: _is_measurement(line) and line["metric"] == name
            )
        return self._logs[name]


def _metric_of(path: Path) -> str:
    return path.stem.partition("-")[2]


def _is_measurement(line: Any) -> bool:
    """Of the run itself."""
    return isinstance(line, dict) and "metric" in line and line.get("while") == WHILE_TRAINING["while"]


def _read(line: str) -> Any:
    try:
        return parse_json(line)
    except ValueError:
        return None


def _is_whole(line: str) -> bool:
    return _read(line) is not None


def _images_seen(line: str) -> float:
    """Where the line belongs; a line without a place, whatever it holds, lies beyond all others."""
    record = _read(line)
    images_seen = record.get("images_seen") if isinstance(record, dict) else None
    return images_seen if is_position(images_seen) else math.inf
