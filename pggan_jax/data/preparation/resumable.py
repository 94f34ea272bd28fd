"""The folder in which a data set is being prepared: owned by one process, and good up to where its journal says."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pggan_jax.data.preparation.decode_block import Filled
from pggan_jax.data.preparation.npy_writer import ArrayFile
from pggan_jax.data.preparation.prepared_folder import LABELS, level_name
from pggan_jax.data.preparation.spec import Preparation
from pggan_jax.errors import UserError
from pggan_jax.system.file_lock import FileLock, HeldError
from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import read_json_object

JOURNAL = "journal.json"
LOCK = "lock"
SECONDS_BETWEEN_TRIES = 0.2
SECONDS_BETWEEN_JOURNALS = 20.0
"""So much work is lost at most when the machine dies. Each journal waits for the disk."""


@contextmanager
def claimed(partial: Path, *, wait: bool, tell: Callable[[str], None] = lambda _line: None) -> Iterator[None]:
    """Own the partial folder by a lock that dies with the process; make it if absent, remove it if nothing is left in it.

    Args:
        partial: the folder.
        wait: for another owner, instead of refusing.
        tell: given one line before waiting.

    Raises:
        UserError: another process owns it, or it was not made here.
        OSError: it cannot be made.
    """
    while True:
        partial.mkdir(exist_ok=True)
        try:
            names = os.listdir(partial)
            if names and LOCK not in names:
                # Whatever lies in a folder with a lock is taken for our own and may be removed.
                raise UserError(f"{partial}: is in the way and was not made by this program; move it, or choose another folder")
            lock = _lock(partial, wait=wait, tell=tell)
        except FileNotFoundError:
            continue  # Another process has removed the folder in between.
        with lock:
            if not lock.is_in_place():
                continue  # The process that held it before has renamed or removed the folder.
            try:
                yield
            finally:
                if partial.is_dir() and os.listdir(partial) == [LOCK]:
                    # Another process may be opening the lock right now: then the folder stays, for it.
                    shutil.rmtree(partial, ignore_errors=True)
            return


def _lock(partial: Path, *, wait: bool, tell: Callable[[str], None]) -> FileLock:
    is_told = False
    while True:
        try:
            # The owner file lies beside the folder, which is renamed as a whole when it is complete.
            return FileLock(partial / LOCK, owner=partial.with_name(f"{partial.name}.owner"))
        except HeldError:
            if not wait:
                raise UserError(f"{partial}: another process is writing there; wait for it, or choose another folder") from None
        if not is_told:
            tell(f"waiting for another process that is writing {partial}")
            is_told = True
        time.sleep(SECONDS_BETWEEN_TRIES)


@dataclass(frozen=True)
class Progress:
    """A point at which all files agree.

    Attributes:
        images_read: images of the source that are done, unusable ones included.
        rows: rows in each file.
        skipped: how many images were left out.
        checksums: of the files up to there, by name.
    """

    images_read: int = 0
    rows: int = 0
    skipped: int = 0
    checksums: dict[str, int] = field(default_factory=dict)


class PartialFiles:
    """The growing files of a partial folder, and the journal that says how far they are good.

    Attributes:
        partial: the folder.
        levels, labels: the files.
        skipped: why images were left out, so far.
    """

    def __init__(self, partial: Path, preparation: Preparation, key: str):
        """Continue what a journal with this key vouches for, or begin anew. Raises OSError if the files cannot be written."""
        self.partial, self.skipped = partial, list[str]()
        self._key, self._rows_per_image = key, preparation.rows_per_image
        self._shapes = {size: (*shape, preparation.channels) for size, shape in preparation.shapes.items()}
        self._progress = self._read_journal()
        if self._progress.rows:
            try:
                self._open()
            except OSError:  # Not what the journal says.
                self._progress, self.skipped = Progress(), []
        if not self._progress.rows:
            self._open()
        self._last_journal = time.monotonic()

    @property
    def images_read(self) -> int:
        """Images of the source that are done, unusable ones included."""
        return self._progress.images_read

    @property
    def rows(self) -> int:
        """Rows written."""
        return self._progress.rows

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
        # One assignment: whenever an interruption comes, this tells of whole blocks alone.
        self._progress = Progress(
            self.images_read + images,
            self.labels.rows,
            len(self.skipped),
            {name: file.checksum for name, file in self.all().items()},
        )
        if time.monotonic() - self._last_journal >= SECONDS_BETWEEN_JOURNALS:
            self.write_journal()
        return sum(level[:count].nbytes for level in levels.values())

    def write_journal(self) -> None:
        """Vouch for all whole blocks written so far, after they have reached the disk."""
        for file in self.all().values():
            file.sync()
        state = {"key": self._key, "images_read": self._progress.images_read, "checksums": self._progress.checksums}
        state |= {"skipped": self.skipped[: self._progress.skipped]}
        write_atomically(self.partial / JOURNAL, json.dumps(state).encode(errors="surrogateescape"))
        self._last_journal = time.monotonic()

    def discard(self) -> None:
        """Remove everything but the lock, which goes last, with the folder."""
        self.close()
        _clear(self.partial, keep={LOCK})

    def close(self) -> None:
        """Let go of all files."""
        for file in self.all().values():
            file.close()

    def _read_journal(self) -> Progress:
        """What the journal vouches for; nothing if it is absent, damaged, or of another preparation."""
        try:
            journal = read_json_object(self.partial / JOURNAL)
            if journal["key"] != self._key:
                return Progress()
            images_read, skipped = int(journal["images_read"]), list(map(str, journal["skipped"]))
            rows = (images_read - len(skipped)) * self._rows_per_image
            names = [LABELS, *map(level_name, self._shapes)]
            progress = Progress(images_read, rows, len(skipped), {name: int(journal["checksums"][name]) for name in names})
        except (OSError, ValueError, KeyError, TypeError):
            return Progress()
        if rows < 0:
            return Progress()
        self.skipped = skipped
        return progress

    def _open(self) -> None:
        """Open the files at the present state; drop all else that lies in the folder."""
        names = {LABELS, *map(level_name, self._shapes)}
        _clear(self.partial, keep={LOCK, JOURNAL, *names} if self.images_read else {LOCK})

        def open_file(name: str, shape: tuple[int, ...], dtype: type) -> ArrayFile:
            checksum = self._progress.checksums.get(name, 0) if self.rows else 0
            return ArrayFile(self.partial / name, shape, dtype, rows=self.rows, checksum=checksum)

        self.levels = {size: open_file(level_name(size), shape, np.uint8) for size, shape in self._shapes.items()}
        self.labels = open_file(LABELS, (), np.int32)


def _clear(folder: Path, *, keep: Collection[str]) -> None:
    """Remove what an earlier run has left, of another preparation perhaps: all of the folder becomes the finished one."""
    for path in folder.iterdir():
        if path.name in keep:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
