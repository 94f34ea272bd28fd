"""One run per folder: a lock that names its owner and dies with it, also where the disk has none."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from pggan_jax.errors import UserError
from pggan_jax.system.file_lock import FolderLock, HeldError
from pggan_jax.system.json_files import parse_json
from pggan_jax.system.os_features import pread

_WRITTEN = ("log.txt", "stats.jsonl", "data.npz", "rollbacks.json", "grid.json", "reals.png")
OWNER = "lock.owner"
"""Beside the lock file, on a disk without locks."""


class WorkdirLock:
    """Held from construction to the end of the `with` block, or of the process, however it ends: the system lets go of it.

    Args:
        path: the lock file; it stays behind, and means nothing when nobody holds it.

    Raises:
        UserError: another process holds it, which the message names with its host; or it, or what else the run writes, is no
            file.
    """

    def __init__(self, path: Path):
        _refuse_pipes(path)
        # Not "w": the file must not be emptied before it is ours.
        self._file = path.open("a+", encoding="utf-8")
        try:
            self._lock = FolderLock(self._file, path.with_name(OWNER))
        except HeldError as held:
            owner = str(held) or _describe_owner(self._file.fileno())
            self._file.close()
            raise UserError(
                f"--workdir={path.parent}: is in use by {owner}; wait for that run, stop it, or choose another --workdir"
            ) from None
        self._file.truncate(0)
        myself = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        self._file.write(json.dumps(myself))
        self._file.flush()

    def __enter__(self) -> WorkdirLock:
        return self

    def __exit__(self, *exception: object) -> None:
        """Let another run have the folder."""
        self._lock.release()
        self._file.close()


def _refuse_pipes(lock: Path) -> None:
    """A pipe in the place of a file would be waited for; a folder, or a socket, ends a run that has begun."""
    for name in (lock.name, *_WRITTEN):
        path = lock.with_name(name)
        if path.exists() and not path.is_file() and not path.is_char_device():
            raise UserError(f"{path}: is no file, but a folder, a pipe or a socket; remove it, as the run writes a file there")


def refuse_if_held(path: Path) -> None:
    """Refuse if another process holds the lock now; makes no file where there is none.

    Raises:
        UserError: as `WorkdirLock`.
    """
    if path.exists():
        with WorkdirLock(path):
            pass


def _describe_owner(descriptor: int) -> str:
    try:
        owner = parse_json(pread(descriptor, 4096, 0))
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
