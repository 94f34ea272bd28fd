"""One process per folder: a lock of the system, or, on a disk that has none, a file that names its living owner.

NFS without a lock service, some FUSE and network file systems, and Windows have no `flock`. There a file is made that must not
exist yet, with host, process and start of its owner, and touched while the owner lives. An owner of the same host is looked for
by process number and start; one of another host counts as living as long as its file is young.
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
from typing import IO, Any

import psutil

from pggan_jax.system.json_files import parse_json
from pggan_jax.system.os_features import fcntl

HEARTBEAT_SECONDS = 10.0
SECONDS_TO_LIVE = 60.0
"""An owner on another host whose file is older than this is taken for dead."""
_HELD = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)
_SAME_START_SECONDS = 2.0


class HeldError(Exception):
    """Another process has the folder; the text describes it."""


class FolderLock:
    """Held from construction until `release`, or the end of the process.

    Args:
        file: open for reading and writing; locked if the disk can.
        owner: where an owner file would be.

    Raises:
        HeldError: another process has it.
        OSError: the folder cannot be written.
    """

    def __init__(self, file: IO[str], owner: Path):
        self._owner = owner
        self._token = ""
        self._stop = threading.Event()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise HeldError("") from None
            self._take_owner_file()
            _warn_once(str(file.name), str(owner), error.strerror or str(error))
        else:
            # Of a process that met the disk without locks.
            found = _read(owner)
            if found and _is_living(found, owner):
                raise HeldError(_describe(found))

    def _take_owner_file(self) -> None:
        token = uuid.uuid4().hex
        for _ in range(3):
            with suppress(FileExistsError):
                _create(self._owner, _myself(token))
                self._token = token
                threading.Thread(target=self._beat, name="lock", daemon=True).start()
                return
            found = _read(self._owner)
            if found is not None and _is_living(found, self._owner):
                raise HeldError(_describe(found))
            _remove_dead(self._owner, found)
        raise HeldError("another process that has just begun")

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._owner)

    def release(self) -> None:
        """Let others have the folder. The locked file is closed by whoever has opened it."""
        self._stop.set()
        if self._token:
            with suppress(OSError):
                found = _read(self._owner)
                if found is not None and found.get("token") == self._token:
                    self._owner.unlink()
            self._token = ""


def _myself(token: str) -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "token": token,
    }


def _create(path: Path, content: dict[str, Any]) -> None:
    """Make a file with its content at once; raises FileExistsError if it is there."""
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
    """What an owner file says; None if there is none, an empty one if it is damaged."""
    try:
        content = parse_json(path.read_bytes()[:4096])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_living(owner: dict[str, Any], path: Path) -> bool:
    if owner.get("host") != socket.gethostname():
        return _age_seconds(path) < SECONDS_TO_LIVE
    try:
        return abs(psutil.Process(int(owner["pid"])).create_time() - float(owner["started"])) < _SAME_START_SECONDS
    except psutil.AccessDenied:
        return True
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return False


def _age_seconds(path: Path) -> float:
    """By the clock of the disk's own machine, which may differ from ours: that of a file made now."""
    now = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        now.touch()
        return now.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        with suppress(OSError):
            now.unlink(missing_ok=True)


def _remove_dead(path: Path, owner: dict[str, Any] | None) -> None:
    """Remove the file of a dead owner, but not that of a living one that was made in between."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        moved = _read(aside)
        if moved != owner:
            with suppress(OSError):
                os.link(aside, path)
        aside.unlink(missing_ok=True)


def _describe(owner: dict[str, Any]) -> str:
    words = [str(owner.get(name, "?"))[:60] for name in ("pid", "host", "since")]
    return "process {} on {} since {}".format(*words) if owner else "another process"


@cache
def _warn_once(lock: str, owner: str, reason: str) -> None:
    line = (
        f"WARNING: {lock[-120:]}: this disk has no file locks ({reason[:60]}); going on with {Path(owner).name}, which keeps "
        "other processes of this host out, and those of others while its owner lives"
    )
    with suppress(OSError, ValueError, AttributeError):
        print(line, file=sys.stderr, flush=True)
