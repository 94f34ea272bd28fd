"""The folder in which a data set is being prepared: owned by one process, and good up to where its journal says."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.data.array_file import ArrayFile
from pggan_jax.data.blocks import Filled
from pggan_jax.data.preparation import Preparation
from pggan_jax.data.prepared import LABELS, level_name
from pggan_jax.errors import UserError
from pggan_jax.files import write_atomically

JOURNAL = "journal.json"
LOCK = "lock"
_SECONDS_BETWEEN_JOURNALS = 20.0


@contextmanager
def claimed(partial: Path, *, wait: bool) -> Iterator[None]:
    """Own the partial folder by a lock that dies with the process; make it if absent."""
    while True:
        partial.mkdir(exist_ok=True)
        with (partial / LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise UserError(f"{partial}: another process is writing there; wait for it, or choose another --out") from None
            # Whoever held it before may have renamed or removed the folder; then this lock guards nothing.
            if not _is_at(file.fileno(), partial / LOCK):
                continue
            try:
                yield
            finally:
                if partial.is_dir() and os.listdir(partial) == [LOCK]:
                    shutil.rmtree(partial)
            return


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


class PartialFiles:
    """The growing files of a partial folder, and the journal that says how far they are good."""

    def __init__(self, partial: Path, preparation: Preparation, key: str):
        """Continue what the journal vouches for, or begin anew."""
        self.partial, self._key = partial, key
        journal = self._read_journal()
        try:
            self._open(preparation, journal)
        except (OSError, KeyError):
            if not journal:
                raise
            journal = {}
            self._open(preparation, journal)
        self.images_read: int = journal.get("images_read", 0)
        self.skipped: list[str] = journal.get("skipped", [])
        self._last_journal = time.monotonic()

    def _read_journal(self) -> dict[str, Any]:
        try:
            journal = json.loads((self.partial / JOURNAL).read_text())
        except (OSError, ValueError):
            return {}
        return journal if journal.get("key") == self._key else {}

    def _open(self, preparation: Preparation, journal: dict[str, Any]) -> None:
        rows, checksums = journal.get("rows", 0), journal.get("checksums", {})
        shapes = {level_name(size): (*shape, preparation.channels) for size, shape in preparation.shapes.items()}

        def open_file(name: str, shape: tuple[int, ...], dtype: type) -> ArrayFile:
            return ArrayFile(self.partial / name, shape, dtype, rows=rows, checksum=checksums[name] if rows else 0)

        self.levels = {size: open_file(level_name(size), shapes[level_name(size)], np.uint8) for size in preparation.shapes}
        self.labels = open_file(LABELS, (), np.int32)

    @property
    def rows(self) -> int:
        """Rows written."""
        return self.labels.rows

    def all(self) -> dict[str, ArrayFile]:
        """By file name."""
        return {level_name(size): file for size, file in self.levels.items()} | {LABELS: self.labels}

    def append(self, filled: Filled, levels: dict[int, np.ndarray], images: int) -> int:
        """Add what a worker has filled; returns the number of bytes."""
        count = len(filled.labels)
        for size, file in self.levels.items():
            file.append(levels[size][:count])
        self.labels.append(np.array(filled.labels, np.int32))
        self.skipped += filled.skipped
        self.images_read += images
        if time.monotonic() - self._last_journal > _SECONDS_BETWEEN_JOURNALS:
            self.write_journal()
        return sum(level[:count].nbytes for level in levels.values())

    def write_journal(self) -> None:
        """Vouch for everything written so far, after it has reached the disk."""
        if any(file.rows != self.rows for file in self.all().values()):
            return  # Interrupted between two files: the journal before this one still holds.
        for file in self.all().values():
            file.sync()
        checksums = {name: file.checksum for name, file in self.all().items()}
        state = {"key": self._key, "images_read": self.images_read, "rows": self.rows, "checksums": checksums}
        write_atomically(self.partial / JOURNAL, json.dumps(state | {"skipped": self.skipped}).encode())
        self._last_journal = time.monotonic()

    def close(self) -> None:
        """Let go of all files."""
        for file in self.all().values():
            file.close()
