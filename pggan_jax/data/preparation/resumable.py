"""The folder of an unfinished preparation.

Locked by one process, valid up to where its journal says.
"""

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

from pggan_jax.data.preparation.decode_block import DecodedBlock
from pggan_jax.data.preparation.npy_writer import ArrayFile
from pggan_jax.data.preparation.prepared_folder import LABELS, level_name
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.errors import UserError
from pggan_jax.system.file_lock import FileLock, HeldError
from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import read_json_object

JOURNAL = "journal.json"
LOCK = "lock"
SECONDS_BETWEEN_TRIES = 0.2
SECONDS_BETWEEN_JOURNALS = 20.0
"""The most work that is lost when the machine fails. Each journal waits for the disk."""


@contextmanager
def lock_partial_folder(partial: Path, *, wait: bool, report: Callable[[str], None] = lambda _line: None) -> Iterator[None]:
    """Lock the partial folder; create it if absent, and remove it at the end if it is empty.

    The system releases the lock when the process exits.

    Args:
        partial: the folder.
        wait: for another process that holds the lock, instead of raising an error.
        report: called with one line before waiting.

    Raises:
        UserError: another process holds the lock, or the folder was not created by this program.
        OSError: it cannot be created.
    """
    while True:
        partial.mkdir(exist_ok=True)
        try:
            names = os.listdir(partial)
            if names and LOCK not in names:
                # The contents of a folder with a lock are taken for our own and may be removed.
                raise UserError(f"{partial}: exists and was not created by this program; move it, or choose another folder")
            lock = _lock(partial, wait=wait, report=report)
        except FileNotFoundError:
            continue  # Another process has removed the folder in between.
        with lock:
            if not lock.is_in_place():
                continue  # The process that held it before has renamed or removed the folder.
            try:
                yield
            finally:
                if partial.is_dir() and os.listdir(partial) == [LOCK]:
                    # Another process may be opening the lock now: then the folder stays for it.
                    shutil.rmtree(partial, ignore_errors=True)
            return


def _lock(partial: Path, *, wait: bool, report: Callable[[str], None]) -> FileLock:
    is_reported = False
    while True:
        try:
            # The owner file lies beside the folder, which is renamed as a whole when it is complete.
            return FileLock(partial / LOCK, owner=partial.with_name(f"{partial.name}.owner"))
        except HeldError:
            if not wait:
                raise UserError(f"{partial}: another process writes there; wait for it, or choose another folder") from None
        if not is_reported:
            report(f"waiting for another process that writes {partial}")
            is_reported = True
        time.sleep(SECONDS_BETWEEN_TRIES)


@dataclass(frozen=True)
class JournalState:
    """A point at which all files are consistent.

    Attributes:
        images_read: finished images of the source, unusable ones included.
        rows: of each file.
        skipped: how many images were left out.
        checksums: of the files up to there, by file name.
    """

    images_read: int = 0
    rows: int = 0
    skipped: int = 0
    checksums: dict[str, int] = field(default_factory=dict)


class PartialFiles:
    """The growing files of a partial folder, and the journal of their valid parts.

    Attributes:
        partial: the folder.
        levels, labels: the files.
        skipped: for each image left out so far its name and the reason.
    """

    def __init__(self, partial: Path, spec: PreparationSpec, *, key: str):
        """Continue the files of a journal with the same key, or start new ones.

        Raises:
            OSError: the files cannot be written.
        """
        self.partial, self.skipped = partial, list[str]()
        self._key, self._rows_per_image = key, spec.rows_per_image
        self._shapes = {size: (*shape, spec.channels) for size, shape in spec.shapes.items()}
        self._state = self._read_journal()
        if self._state.rows:
            try:
                self._open()
            except OSError:  # Not what the journal says.
                self._state, self.skipped = JournalState(), []
        if not self._state.rows:
            self._open()
        self._last_journal = time.monotonic()

    @property
    def images_read(self) -> int:
        """Finished images of the source, unusable ones included."""
        return self._state.images_read

    @property
    def rows(self) -> int:
        """Rows written."""
        return self._state.rows

    def all(self) -> dict[str, ArrayFile]:
        """Return all files by name."""
        return {level_name(size): file for size, file in self.levels.items()} | {LABELS: self.labels}

    def append(self, decoded: DecodedBlock, levels: dict[int, np.ndarray], *, images: int) -> int:
        """Append the result of a worker for `images` images; return the number of bytes."""
        count = len(decoded.labels)
        for size, file in self.levels.items():
            file.append(levels[size][:count])
        self.labels.append(np.array(decoded.labels, np.int32))
        self.skipped += decoded.skipped
        # One assignment, so that an interruption at any time leaves a state of complete blocks.
        self._state = JournalState(
            self.images_read + images,
            self.labels.rows,
            len(self.skipped),
            {name: file.checksum for name, file in self.all().items()},
        )
        if time.monotonic() - self._last_journal >= SECONDS_BETWEEN_JOURNALS:
            self.write_journal()
        return sum(level[:count].nbytes for level in levels.values())

    def write_journal(self) -> None:
        """Record all complete blocks written so far, after they have reached the disk."""
        for file in self.all().values():
            file.sync()
        state = {"key": self._key, "images_read": self._state.images_read, "checksums": self._state.checksums}
        state |= {"skipped": self.skipped[: self._state.skipped]}
        write_atomically(self.partial / JOURNAL, json.dumps(state).encode(errors="surrogateescape"))
        self._last_journal = time.monotonic()

    def discard(self) -> None:
        """Remove everything but the lock, which is removed last, with the folder."""
        self.close()
        _clear(self.partial, keep={LOCK})

    def close(self) -> None:
        """Close all files."""
        for file in self.all().values():
            file.close()

    def _read_journal(self) -> JournalState:
        """Return the recorded state.

        Empty if the journal is absent, damaged, or of another preparation.
        """
        try:
            journal = read_json_object(self.partial / JOURNAL)
            if journal["key"] != self._key:
                return JournalState()
            images_read, skipped = int(journal["images_read"]), list(map(str, journal["skipped"]))
            rows = (images_read - len(skipped)) * self._rows_per_image
            names = [LABELS, *map(level_name, self._shapes)]
            state = JournalState(images_read, rows, len(skipped), {name: int(journal["checksums"][name]) for name in names})
        except (OSError, ValueError, KeyError, TypeError):
            return JournalState()
        if rows < 0:
            return JournalState()
        self.skipped = skipped
        return state

    def _open(self) -> None:
        """Open the files at the current state; remove all else in the folder."""
        names = {LABELS, *map(level_name, self._shapes)}
        _clear(self.partial, keep={LOCK, JOURNAL, *names} if self.images_read else {LOCK})

        def open_file(name: str, shape: tuple[int, ...], *, dtype: type = np.uint8) -> ArrayFile:
            checksum = self._state.checksums.get(name, 0) if self.rows else 0
            return ArrayFile(self.partial / name, shape, dtype=dtype, rows=self.rows, checksum=checksum)

        self.levels = {size: open_file(level_name(size), shape) for size, shape in self._shapes.items()}
        self.labels = open_file(LABELS, (), dtype=np.int32)


def _clear(folder: Path, *, keep: Collection[str]) -> None:
    """Remove what an earlier run left, perhaps of another preparation.

    The folder as a whole becomes the finished one.
    """
    for path in folder.iterdir():
        if path.name in keep:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
