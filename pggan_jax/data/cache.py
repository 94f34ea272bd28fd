"""The user's cache of prepared data, features and compiled programs, with limits by kind.

The least recently used entries are removed first, never one that a running process uses: each process holds a lock on a file in
`in_use/`, which the system releases when the process exits. Only files with the names that this program gives are removed.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from pggan_jax.data.preparation.prepared_folder import INFO
from pggan_jax.data.preparation.resumable import LOCK
from pggan_jax.errors import visible
from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import is_count, read_json_object
from pggan_jax.system.portability import fcntl

KINDS = ("data", "features", "compiled")
DEFAULT_LIMITS: dict[str, int | None] = {"data": 200 * 10**9, "features": 10 * 10**9, "compiled": 5 * 10**9}
"""Bytes by kind. Data in use may exceed the limit."""
TEMPORARY = "temporary-"
LIMITS = "limits.json"
_IN_USE = "in_use"
_REMOVED = ".removed-"
_DATA_NAME = re.compile(r"[0-9a-f]{20}(\.partial)?|temporary-[0-9a-z_]+|\.removed-.+")
_FEATURES_NAME = re.compile(r"\.?[0-9a-f]{64}(-moments\d+)?\.npz(\.partial)?")
_MACHINE_NAME = re.compile(r"[0-9a-f]{12}")
_COMPILED_NAME = re.compile(r".+-(cache|atime)")
# An unfinished file of this age was left by a killed process.
_SECONDS_AT_REST = 600.0
# A try fails only if another process has removed the file in between.
_LOCK_ATTEMPTS = 100


@dataclass(frozen=True)
class Entry:
    """A file or folder that is removed as a whole.

    Attributes:
        kind: one of `KINDS`.
        path: folder or file.
        bytes: its size.
        last_used: seconds since 1970.
        what: its content in words, for the user.
    """

    kind: str
    path: Path
    bytes: int
    last_used: float
    what: str


def hold(path: Path, *, alone: bool = False) -> BinaryIO | None:
    """Lock a file until the result is closed or garbage-collected; create it if absent.

    Args:
        path: the file.
        alone: take an exclusive lock, without waiting; otherwise a shared one, waiting for an exclusive lock to be released.

    Returns:
        The open file; None if another process holds it, or if the lock has no effect, for example on a disk without locks.
    """
    for _ in range(_LOCK_ATTEMPTS):
        file = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab" if os.access(path, os.W_OK) or not path.exists() else "rb")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
            # The previous holder may have removed the file; then this lock protects nothing.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
            file.close()
        except FileNotFoundError:
            file and file.close()
        except OSError:
            file and file.close()
            return None
    return None


@lru_cache
def hold_until_exit(path: Path) -> BinaryIO | None:
    """Take a shared lock as `hold` does, until this process exits."""
    file = hold(path)
    if file:
        # Python warns of a file that is closed by garbage collection.
        atexit.register(file.close)
    return file


class Cache:
    """The cache below one folder.

    Args:
        root: holds the folders `data`, `features` and `compiled`; need not exist.
    """

    def __init__(self, root: Path):
        self.root = root

    def use(self, kind: str, name: str) -> BinaryIO | None:
        """Mark a folder as in use until the result is closed or garbage-collected.

        Args:
            kind: "data" or "compiled".
            name: of the folder, which need not exist yet.
        """
        lock = self._lock(kind, name)
        held = hold(lock)
        with suppress(OSError):
            os.utime(lock)
        return held

    def release(self, held: BinaryIO | None, name: str) -> None:
        """Release the lock of a data folder that its only user has removed."""
        with suppress(OSError):
            self._lock("data", name).unlink(missing_ok=True)
        if held:
            held.close()

    def use_until_exit(self, kind: str, name: str) -> None:
        """Mark a folder as in use until this process exits."""
        hold_until_exit(self._lock(kind, name))

    def _lock(self, kind: str, name: str) -> Path:
        return self.root / _IN_USE / f"{kind}-{name}"

    def _lock_of(self, entry: Entry) -> Path:
        """Return the lock file that users of an entry hold.

        The compiled programs of one machine share one.
        """
        if entry.kind == "data" and entry.path.name.endswith(".partial"):
            return entry.path / LOCK
        return self._lock(entry.kind, entry.path.parent.name if entry.kind == "compiled" else entry.path.name)

    def is_in_use(self, entry: Entry) -> bool:
        """Return whether a running process uses the entry, or may use it.

        On a disk without locks this is unknown.
        """
        if entry.kind == "features" or not entry.path.exists():
            # Features are read at once, and an open file remains readable after its removal.
            return False
        held = hold(self._lock_of(entry), alone=True)
        if held:
            held.close()
        return held is None

    def entries(self, kind: str) -> list[Entry]:
        """Return all entries of one kind, the least recently used first."""
        found = {"data": self._data, "features": self._features, "compiled": self._compiled}[kind]()
        return sorted(found, key=lambda entry: entry.last_used)

    def _data(self) -> Iterator[Entry]:
        for folder in _folders(self.root / "data", _DATA_NAME):
            with suppress(OSError):
                size = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
                used = folder.stat().st_mtime
                with suppress(OSError):
                    used = max(used, self._lock("data", folder.name).stat().st_mtime)
                yield Entry("data", folder, size, used, _described(folder))

    def _features(self) -> Iterator[Entry]:
        for file, status in _files(self.root / "features", _FEATURES_NAME):
            is_partial = file.name.endswith(".partial")
            yield Entry(
                "features", file, status.st_size, status.st_mtime, "left by a killed process" if is_partial else "reals"
            )

    def _compiled(self) -> Iterator[Entry]:
        for folder in _folders(self.root / "compiled", _MACHINE_NAME):
            for file, status in _files(folder, _COMPILED_NAME):
                # Reading changes only the time of access, on some disks not even this.
                yield Entry("compiled", file, status.st_size, max(status.st_mtime, status.st_atime), "program")

    def remove(self, entry: Entry) -> bool:
        """Remove an entry; return False if a running process uses it.

        Raises:
            OSError: it cannot be removed.
        """
        if entry.kind == "features" or not entry.path.exists():
            entry.path.unlink(missing_ok=True)
            return True
        lock = self._lock_of(entry)
        held = hold(lock, alone=True)
        if held is None:
            return False
        with held:
            if entry.kind == "compiled":
                entry.path.unlink(missing_ok=True)
                return True
            removed = entry.path
            if not removed.name.startswith(_REMOVED):
                # Renamed in one step, so that a half-removed folder is never taken for a complete one.
                removed = entry.path.with_name(f"{_REMOVED}{entry.path.name}-{os.getpid()}")
                entry.path.rename(removed)
            shutil.rmtree(removed)
            if lock.parent.name == _IN_USE:
                lock.unlink(missing_ok=True)
        return True

    def limits(self) -> dict[str, int | None]:
        """Return the limit in bytes by kind; None for no limit."""
        limits = dict(DEFAULT_LIMITS)
        with suppress(OSError, ValueError):
            stored = read_json_object(self.root / LIMITS)
            known = {kind: stored[kind] for kind in KINDS if kind in stored}
            limits |= {kind: size for kind, size in known.items() if size is None or is_count(size)}
        return limits

    def set_limits(self, limits: dict[str, int | None]) -> None:
        """Store new limits of the kinds that are named. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_atomically(self.root / LIMITS, json.dumps(self.limits() | limits, indent=1).encode())

    def trim(self, kind: str, report: Callable[[str], None], *, reserve: int = 0) -> None:
        """Remove the least recently used entries until `reserve` more bytes are within the limit.

        Entries in use stay, and on a disk without locks all entries.
        """
        entries, limit = self.entries(kind), self.limits()[kind]
        total = sum(entry.bytes for entry in entries) + reserve
        removed: list[Entry] = []
        for entry in entries:
            if not (is_abandoned := _is_abandoned(entry)) and (limit is None or total <= limit):
                continue
            with suppress(OSError):
                if self.remove(entry):
                    total -= entry.bytes
                    removed += [] if is_abandoned else [entry]
        if removed:
            freed = format_bytes(sum(entry.bytes for entry in removed))
            listed = removed[0].what if len(removed) == 1 else f"{len(removed):,} entries"
            report(
                f"removed {freed} of {kind}, least recently used ({listed}), from {self.root / kind}, whose limit is "
                f"{format_bytes(limit)} (launch.py cache --limit)"
            )


def _is_abandoned(entry: Entry) -> bool:
    """Return whether an entry is useless once the process that created it has exited."""
    if entry.kind == "features":
        return entry.path.name.endswith(".partial") and time.time() - entry.last_used > _SECONDS_AT_REST
    return entry.path.name.startswith((TEMPORARY, _REMOVED))


def format_bytes(size: int | None) -> str:
    """Return a number of bytes as text, such as '1.2 GB'; 'any size' for None."""
    if size is None:
        return "any size"
    number, units = float(size), ("bytes", "kB", "MB", "GB", "TB")
    place = 0
    while number >= 999.5 and place < len(units) - 1:
        number, place = number / 1000, place + 1
    return f"{number:.3g} {units[place]}"


def _folders(folder: Path, name: re.Pattern[str]) -> Iterator[Path]:
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if name.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                yield path


def _files(folder: Path, name: re.Pattern[str]) -> Iterator[tuple[Path, os.stat_result]]:
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if name.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                with suppress(OSError):
                    yield path, path.stat()


def _described(folder: Path) -> str:
    if folder.name.startswith((TEMPORARY, _REMOVED)):
        return "temporary, left or used by a process"
    if folder.name.endswith(".partial"):
        return "unfinished; the command that started it continues it"
    try:
        info = read_json_object(folder / INFO)
        _, height, width, _ = map(int, info["levels"][max(info["levels"], key=int)]["shape"])
        return f"{visible(str(info['source']))}, {int(info['images']):,} images up to {height}x{width}"
    except (OSError, ValueError, TypeError, KeyError):
        return "damaged"
