"""The log of a run: log.txt and the terminal for people, events.jsonl for programs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pggan_jax.run_logs.console import Log
from pggan_jax.run_logs.workdir import Workdir

_WARNING = "WARNING: "


class RunLog:
    """Write log.txt and events.jsonl. A full disk does not raise.

    A call logs a line for people alone; `event` and `warning` log a line and an event.

    Args:
        workdir: of the run, or None for a host that writes nothing.

    Attributes:
        images_seen: how far the run has come; part of every event.
    """

    def __init__(self, workdir: Workdir | None):
        self.images_seen = 0
        self._log = Log(workdir.log if workdir else None)
        self._events = workdir.events.open("ab+") if workdir else None
        if self._events and self._events.seek(0, os.SEEK_END) > 0:
            self._events.seek(-1, os.SEEK_END)
            if self._events.read() != b"\n":  # a process was killed while it wrote a line
                self._append(b"\n")

    def __call__(self, line: str) -> None:
        """Log a line that is no event."""
        self._log(line)

    def event(self, name: str, message: str, **fields: Any) -> None:
        """Log a line and append an event.

        Args:
            name: kind of event, such as "growth"; docs/reliability.md lists them.
            message: the line; empty for an event that is not in log.txt.
            fields: further JSON values of the event.
        """
        if message:
            self._log(message)
        self._append_event(name, message, fields)

    def lines(self, lines: Iterable[str]) -> None:
        """Log lines of which those that start with "WARNING: " are warnings."""
        for line in lines:
            if line.startswith(_WARNING):
                self.warning(line.removeprefix(_WARNING))
            else:
                self._log(line)

    def warning(self, message: str, **fields: Any) -> None:
        """Log a line that starts with "WARNING: ", and append the event "warning"."""
        self._log(_WARNING + message)
        self._append_event("warning", message, fields)

    @contextmanager
    def warning_on_os_error(self, consequence: str) -> Iterator[None]:
        """Turn an OSError of the `with` block, such as a full disk, into a warning.

        Args:
            consequence: what the run goes on without.
        """
        try:
            yield
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            self.warning(f"going on without {consequence}: {where}{error.strerror}")

    def close(self) -> None:
        """Close both files."""
        self._log.close()
        if self._events:
            with suppress(OSError):
                self._events.close()

    def _append_event(self, name: str, message: str, fields: dict[str, Any]) -> None:
        record = {
            "event": name,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "images_seen": self.images_seen,
            "kimg": self.images_seen / 1000,
            "message": message,
        }
        self._append((json.dumps(record | fields) + "\n").encode())

    def _append(self, content: bytes) -> None:
        if self._events:
            with suppress(OSError):
                self._events.write(content)
                self._events.flush()
