"""A lock that one process holds: `flock` or, on disks without it, an owner file.

NFS without a lock service, some FUSE and network file systems, and Windows have no `flock`. There the lock is a file that is
created only if it does not exist, with the host, process and start time of its owner, which touches it regularly. An owner on
the same host is looked up by process number and start time; one on another host holds the lock as long as its file is recent.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from pggan_jax.system.json_files import parse_json
from pggan_jax.system.portability import fcntl

HEARTBEAT_SECONDS = 10.0
SECONDS_TO_LIVE = 60.0
"""An owner file from another host that has not been touched for so long is taken over."""
_HELD = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)
_SAME_START_SECONDS = 2.0
_TRIES = 100
_RETRY_SECONDS = 0.01


class HeldError(Exception):
    """Another process holds the lock; the text describes it."""


class FileLock:
    """A lock on a file, held until `release` or the end of the `with` block or process.

    Args:
        path: the lock file; created if absent. It stays after the release and holds nothing then.
        owner: the owner file of a disk without locks; `path` with the ending `.owner` by default.

    Raises:
        HeldError: another process holds the lock.
        OSError: the files cannot be written.
    """

    def __init__(self, path: Path, *, owner: Path | None = None):
        self._path, self._owner = path, owner or path.with_name(f"{path.name}.owner")
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        # Not "w": the file must not be emptied before it is locked.
        self._file = path.open("ab", buffering=0)
        try:
            self._lock()
        except BaseException:
            self._file.close()
            raise
        with suppress(OSError):  # a full disk: the lock holds without a description
            self._file.truncate(0)
            self._file.write(json.dumps(_describe_this_process(self._token)).encode())

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise HeldError(_describe(_read(self._path))) from None
            self._take_owner_file()
            _warn_once(str(self._path), str(self._owner), error.strerror or str(error))
        else:
            # The owner may be a process for which the disk had no locks.
            found = _read(self._owner)
            if found and _is_alive(found, self._owner):
                raise HeldError(_describe(found))

    def _take_owner_file(self) -> None:
        for _ in range(_TRIES):
            with suppress(FileExistsError):
                _create(self._owner, _describe_this_process(self._token))
                threading.Thread(target=self._beat, name="lock", daemon=True).start()
                return
            found = _read(self._owner)
            if found is not None and _is_alive(found, self._owner):
                raise HeldError(_describe(found))
            if not _remove_lost(self._owner):
                time.sleep(_RETRY_SECONDS)
        raise HeldError("another process that has just started, or was killed as it did; try again in a minute")

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._owner)

    def is_in_place(self) -> bool:
        """Whether the locked file still has its name: its folder was not moved or removed."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let another process have the lock."""
        self._stop.set()
        with suppress(OSError):
            found = _read(self._owner)
            if found is not None and found.get("token") == self._token:
                self._owner.unlink()
        self._file.close()

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _describe_this_process(token: str) -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "started": psutil.Process().create_time(),
        "token": token,
    }


def _create(path: Path, content: dict[str, Any]) -> None:
    """Create a file together with its content; raises FileExistsError if it exists."""
    whole = path.with_name(f"{path.name}.{content['token']}")
    try:
        whole.write_text(json.dumps(content), encoding="utf-8")
        try:
            os.link(whole, path)
        except FileExistsError:
            raise
        except OSError:  # no hard links either
            with path.open("x", encoding="utf-8") as file:
                json.dump(content, file)
    finally:
        whole.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """Read an owner: None if there is no file, an empty dictionary if it is damaged."""
    try:
        content = parse_json(path.read_bytes()[:4096])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_alive(owner: dict[str, Any], path: Path) -> bool:
    if owner.get("host") != socket.gethostname():
        return _age_seconds(path) < SECONDS_TO_LIVE
    try:
        return abs(psutil.Process(int(owner["pid"])).create_time() - float(owner["started"])) < _SAME_START_SECONDS
    except psutil.AccessDenied:
        return True
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return False


def _age_seconds(path: Path) -> float:
    """Age of a file by the clock of the disk's server, which is read from a file created now."""
    now = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        now.touch()
        return now.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        with suppress(OSError):
            now.unlink(missing_ok=True)


def _remove_lost(path: Path) -> bool:
    """Remove the file of a lost owner; False if another process is about to.

    Only the process that holds `path.takeover` may remove, and it looks again first: the owner that it saw lost may have been
    removed since and followed by a living one, whose file must not be missing for a moment.
    """
    takeover = path.with_name(f"{path.name}.takeover")
    try:
        takeover.touch(exist_ok=False)
    except FileExistsError:
        if _age_seconds(takeover) >= SECONDS_TO_LIVE:  # its process was killed or suspended within these few lines
            takeover.unlink(missing_ok=True)
        return False
    try:
        found = _read(path)
        if found is not None and not _is_alive(found, path):
            path.unlink(missing_ok=True)
        return True
    finally:
        takeover.unlink(missing_ok=True)


def _describe(owner: dict[str, Any] | None) -> str:
    if not owner or not {"pid", "host", "since"} <= owner.keys():
        return "another process"
    return "process {} on {} since {}".format(*(str(owner[name])[:60] for name in ("pid", "host", "since")))


@cache
def _warn_once(lock: str, owner: str, reason: str) -> None:
    line = (
        f"WARNING: {lock[-120:]}: this disk has no file locks ({reason[:60]}); using {Path(owner).name} instead, which keeps "
        "out other processes of this host, and those of other hosts while its owner is alive"
    )
    with suppress(OSError, ValueError, AttributeError):
        print(line, file=sys.stderr, flush=True)
