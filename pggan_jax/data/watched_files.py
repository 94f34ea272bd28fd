"""The array files of a prepared folder in use.

Verified against their checksums in the background, and watched for changes.

If another process truncates a mapped file, reading the missing part kills this process by SIGBUS, which Python cannot catch. So
the size is checked before each read; a truncation during the read itself is not detected.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from pggan_jax.data.preparation.npy_writer import checksum
from pggan_jax.errors import UserError, first_line
from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import read_json_object

FileState = list[int]
"""Size, times of change of content and of metadata, and inode: they differ for another file or another content."""
_SECONDS_UNTIL_LOGGED = 2.0


def _read_state(path: str) -> FileState:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


class WatchedFiles:
    """Some files of a prepared folder, with their state when they were opened.

    Args:
        folder: the prepared folder.
        checksums: CRC-32 of the array data by file name, from `info.json`.

    Attributes:
        made_again_without: a file that is removed once damage is found, so that the next start makes the folder again; None
            where that is for the user to do.

    Raises:
        OSError: the state of one of them cannot be read.
    """

    def __init__(self, folder: Path, checksums: Mapping[str, int]):
        self.remove_if_damaged: Path | None = None
        self.folder, self.checksums = folder.absolute(), dict(checksums)
        self._paths = {name: str(self.folder / name) for name in checksums}
        self._states = {name: _read_state(path) for name, path in self._paths.items()}

    def refuse_if_truncated(self, name: str) -> None:
        """Check the size of a file; to be called before its memory map is read.

        Raises:
            UserError: the file has become shorter.
        """
        problem = self.truncation(name)
        if problem:
            raise UserError(problem)

    def truncation(self, name: str) -> str:
        """Return one line if a file has become shorter since it was opened, else ""."""
        size, *_, inode = self._states[name]
        try:
            now = os.stat(self._paths[name])
        except OSError:
            # The file was removed; the map stays valid.
            return ""
        if now.st_ino != inode or now.st_size >= size:
            return ""
        return self._message(name, f"was truncated while in use, to {now.st_size:,} of {size:,} bytes")

    def changed(self) -> list[str]:
        """Return the names of files written since they were opened or since the last call."""
        changed = []
        for name, path in self._paths.items():
            with suppress(OSError):
                now = _read_state(path)
                known = self._states[name]
                # The map belongs to the opened file, even if another one has its name now.
                if now[-1] == known[-1] and now[:2] != known[:2]:
                    changed.append(name)
                    self._states[name] = [max(now[0], known[0]), *now[1:]]
        return changed

    def problem(self, name: str, progress: Callable[[int], None]) -> tuple[str, FileState]:
        """Read a file; return one line if it is damaged, else "", and its state before reading."""
        state = [0, 0, 0, 0]
        try:
            state = _read_state(self._paths[name])
            is_intact = checksum(Path(self._paths[name]), progress) == self.checksums[name]
        except OSError as error:
            return self._message(name, f"cannot be read ({error.strerror})"), state
        except ValueError:
            is_intact = False
        return ("" if is_intact else self._message(name, "does not match its checksum")), state

    def _message(self, name: str, what: str) -> str:
        if self.remove_if_damaged is None:
            return f"{self._paths[name]}: {what}; remove that folder and prepare it again (launch.py prepare)"
        with suppress(OSError):
            self.remove_if_damaged.unlink(missing_ok=True)
        return f"{self._paths[name]}: {what}; it is in the cache, and the same command prepares it again"


class Verification:
    """Verifies files in a background thread and remembers which are intact.

    Use it with `contextlib.closing`.

    Args:
        files: to verify; None verifies nothing.
        memory: folder that stores which files were verified; None stores nothing.
        log: called with a line when the caller has to wait for the verification.
    """

    def __init__(self, files: WatchedFiles | None, *, memory: Path | None, log: Callable[[str], None]):
        self._files, self._memory, self._log = files or WatchedFiles(Path(), {}), memory, log
        self._problem = ""
        self._is_closed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_running = False
        known = self._remembered() if files else {}
        self._todo = [name for name in sorted(self._files.checksums) if known.get(name) != self._entry(name)]
        self._begin()

    def problem(self, *, wait: bool) -> str:
        """Return one line if a file is damaged, else "".

        Args:
            wait: until all files have been read; otherwise return what is known so far.
        """
        for name in self._files.checksums:
            self._note(self._files.truncation(name))
        changed = self._files.changed()
        with self._lock:
            self._todo += [name for name in changed if name not in self._todo]
        self._begin()
        if wait and not self._problem and self._thread is not None:
            self._thread.join(_SECONDS_UNTIL_LOGGED)
            if self._thread.is_alive():
                self._log(f"waiting for the verification of {self._files.folder}, once, before the first checkpoint")
                self._thread.join()
        return self._problem

    def close(self) -> None:
        """End the thread, after the block that it is reading."""
        self._is_closed = True
        if self._thread is not None:
            self._thread.join()

    def _begin(self) -> None:
        with self._lock:
            if not self._todo or self._is_running or self._problem:
                return
            self._is_running = True
            self._thread = threading.Thread(target=self._verify, name="verify", daemon=True)
            self._thread.start()

    def _verify(self) -> None:
        """Verify files until none is left; runs in the thread."""
        while True:
            with self._lock:
                if not self._todo or self._problem:
                    self._is_running = False
                    return
                name = self._todo.pop(0)
            try:
                problem, state = self._files.problem(name, self._note_progress)
            except _ClosedError:
                return
            except Exception as error:  # Whatever the error, the file is not known to be intact.
                problem, state = f"{self._files.folder / name}: cannot be verified ({first_line(error)})", []
            self._note(problem)
            if not problem:
                self._remember(name, state)

    def _note(self, problem: str) -> None:
        """Keep the first problem; both threads may find one."""
        with self._lock:
            self._problem = self._problem or problem

    def _note_progress(self, _count: int) -> None:
        if self._is_closed:
            raise _ClosedError

    def _entry(self, name: str) -> list[int]:
        """Return checksum and state of a file; empty where the state cannot be read."""
        with suppress(OSError):
            return [self._files.checksums[name], *_read_state(str(self._files.folder / name))]
        return []

    def _path(self, memory: Path) -> Path:
        return memory / f"{hashlib.sha256(os.fsencode(self._files.folder)).hexdigest()[:20]}.json"

    def _remembered(self) -> dict[str, list[int]]:
        """Return the stored entries by file name; empty where the record is absent or damaged."""
        if self._memory is not None:
            with suppress(OSError, ValueError):
                files = read_json_object(self._path(self._memory)).get("files")
                return files if isinstance(files, dict) else {}
        return {}

    def _remember(self, name: str, state: FileState) -> None:
        if self._memory is None:
            return
        # Without it, the next start reads the files again.
        with suppress(OSError):
            self._memory.mkdir(parents=True, exist_ok=True)
            files = self._remembered() | {name: [self._files.checksums[name], *state]}
            write_atomically(self._path(self._memory), json.dumps({"folder": str(self._files.folder), "files": files}).encode())


class _ClosedError(Exception):
    """The verification was closed while a file was read."""
