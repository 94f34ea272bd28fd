"""The user's cache of what can be made again: prepared data, features of reals, compiled programs. Its size has limits.

What was used longest ago goes first, and nothing that a running process uses: each holds a lock on a file in `in_use/`, which
the system lets go of when the process ends. Only what has the names that this program gives is ever removed.
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
from pggan_jax.system.os_features import fcntl

KINDS = ("data", "features", "compiled")
DEFAULT_LIMITS: dict[str, int | None] = {"data": 200 * 10**9, "features": 10 * 10**9, "compiled": 5 * 10**9}
"""Bytes by kind. Of data, what is in use may be more."""
TEMPORARY = "temporary-"
LIMITS = "limits.json"
_IN_USE = "in_use"
_REMOVED = ".removed-"
_DATA_NAME = re.compile(r"[0-9a-f]{20}(\.partial)?|temporary-[0-9a-z_]+|\.removed-.+")
_FEATURES_NAME = re.compile(r"\.?[0-9a-f]{64}(-moments\d+)?\.npz(\.partial)?")
_MACHINE_NAME = re.compile(r"[0-9a-f]{12}")
_COMPILED_NAME = re.compile(r".+-(cache|atime)")
# So old, a file that was being written is left by a process that was killed.
_SECONDS_AT_REST = 600.0
# Each fails only if another process has removed the file in between.
_LOCKING_TRIES = 100


@dataclass(frozen=True)
class Entry:
    """Something that is removed as a whole.

    Attributes:
        kind: one of `KINDS`.
        path: folder or file.
        bytes: its size.
        last_used: seconds since 1970.
        what: what it holds, for the user.
    """

    kind: str
    path: Path
    bytes: int
    last_used: float
    what: str


def hold(path: Path, *, alone: bool = False) -> BinaryIO | None:
    """Lock a file until the result is closed or forgotten, making it if absent.

    Args:
        path: the file.
        alone: as the only one, and only if nobody else holds it; otherwise side by side with others, for whom we wait.

    Returns:
        The open file. None if it is held by others, or if nobody could know of the lock: on a disk without locks, say.
    """
    for _ in range(_LOCKING_TRIES):
        file = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab" if os.access(path, os.W_OK) or not path.exists() else "rb")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
            # Whoever held it before may have removed it; then this lock guards nothing.
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
def hold_until_the_end(path: Path) -> BinaryIO | None:
    """As `hold`, side by side with others, until this process ends."""
    file = hold(path)
    if file:
        # Python warns of a file that it closes itself.
        atexit.register(file.close)
    return file


class Cache:
    """What is kept below one folder.

    Args:
        root: with the folders `data`, `features` and `compiled`; need not be there.
    """

    def __init__(self, root: Path):
        self.root = root

    def use(self, kind: str, name: str) -> BinaryIO | None:
        """Say that a folder is used now, and until the result is closed or forgotten.

        Args:
            kind: "data" or "compiled".
            name: of the folder, which need not be there yet.
        """
        lock = self._lock(kind, name)
        held = hold(lock)
        with suppress(OSError):
            os.utime(lock)
        return held

    def forget(self, held: BinaryIO | None, name: str) -> None:
        """Let go of data that have been removed by whoever has used them alone."""
        with suppress(OSError):
            self._lock("data", name).unlink(missing_ok=True)
        if held:
            held.close()

    def use_until_the_end(self, kind: str, name: str) -> None:
        """As `use`, until this process ends."""
        hold_until_the_end(self._lock(kind, name))

    def _lock(self, kind: str, name: str) -> Path:
        return self.root / _IN_USE / f"{kind}-{name}"

    def _lock_of(self, entry: Entry) -> Path:
        """What whoever uses it holds; compiled programs of one machine share theirs."""
        if entry.kind == "data" and entry.path.name.endswith(".partial"):
            return entry.path / LOCK
        return self._lock(entry.kind, entry.path.parent.name if entry.kind == "compiled" else entry.path.name)

    def is_in_use(self, entry: Entry) -> bool:
        """Whether a running process uses it, or may: where there are no locks, nobody knows."""
        if entry.kind == "features" or not entry.path.exists():
            # Features are read at once, and a file that is open outlives its name.
            return False
        held = hold(self._lock_of(entry), alone=True)
        if held:
            held.close()
        return held is None

    def entries(self, kind: str) -> list[Entry]:
        """All of one kind, what was used longest ago first."""
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
            is_half = file.name.endswith(".partial")
            yield Entry("features", file, status.st_size, status.st_mtime, "left by a killed process" if is_half else "reals")

    def _compiled(self) -> Iterator[Entry]:
        for folder in _folders(self.root / "compiled", _MACHINE_NAME):
            for file, status in _files(folder, _COMPILED_NAME):
                # Reading changes only the time of access, and on some disks not even that.
                yield Entry("compiled", file, status.st_size, max(status.st_mtime, status.st_atime), "program")

    def remove(self, entry: Entry) -> bool:
        """Remove an entry; False if a running process uses it.

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
            gone = entry.path
            if not gone.name.startswith(_REMOVED):
                # In one step: half of a folder must never be taken for a whole one.
                gone = entry.path.with_name(f"{_REMOVED}{entry.path.name}-{os.getpid()}")
                entry.path.rename(gone)
            shutil.rmtree(gone)
            if lock.parent.name == _IN_USE:
                lock.unlink(missing_ok=True)
        return True

    def limits(self) -> dict[str, int | None]:
        """Bytes by kind; None for no limit."""
        limits = dict(DEFAULT_LIMITS)
        with suppress(OSError, ValueError):
            stored = read_json_object(self.root / LIMITS)
            known = {kind: stored[kind] for kind in KINDS if kind in stored}
            limits |= {kind: size for kind, size in known.items() if size is None or is_count(size)}
        return limits

    def set_limits(self, limits: dict[str, int | None]) -> None:
        """Keep other limits from now on, of the kinds that are named. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_atomically(self.root / LIMITS, json.dumps(self.limits() | limits, indent=1).encode())

    def trim(self, kind: str, tell: Callable[[str], None], *, room: int = 0) -> None:
        """Remove what was used longest ago until the rest, and `room` bytes besides, is within the limit.

        What is in use stays, and so does what was left by nobody knows whom where there are no locks.
        """
        entries, limit = self.entries(kind), self.limits()[kind]
        total = sum(entry.bytes for entry in entries) + room
        removed: list[Entry] = []
        for entry in entries:
            if not (is_rubbish := _is_rubbish(entry)) and (limit is None or total <= limit):
                continue
            with suppress(OSError):
                if self.remove(entry):
                    total -= entry.bytes
                    removed += [] if is_rubbish else [entry]
        if removed:
            freed = readable(sum(entry.bytes for entry in removed))
            listed = removed[0].what if len(removed) == 1 else f"{len(removed):,} entries"
            tell(
                f"removed {freed} of {kind} that were used longest ago ({listed}) from {self.root / kind}, which may hold "
                f"{readable(limit)} (launch.py cache --limit)"
            )


def _is_rubbish(entry: Entry) -> bool:
    """Of no use to anybody, once the process that made it is gone."""
    if entry.kind == "features":
        return entry.path.name.endswith(".partial") and time.time() - entry.last_used > _SECONDS_AT_REST
    return entry.path.name.startswith((TEMPORARY, _REMOVED))


def readable(size: int | None) -> str:
    """A number of bytes such as '1.2 GB'; 'any size' for None."""
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
        return "left by a process, or in use by it"
    if folder.name.endswith(".partial"):
        return "unfinished, continued by the command that began it"
    try:
        info = read_json_object(folder / INFO)
        largest = max(map(int, info["levels"]))
        return f"{visible(str(info['source']))}, {int(info['images']):,} images up to {largest}x{largest}"
    except (OSError, ValueError, TypeError, KeyError):
        return "damaged"
