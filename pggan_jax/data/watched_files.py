"""The array files of a prepared folder while they are in use: verified by their checksums in the background, and watched.

A memory map of a file that another process makes shorter ends the process with SIGBUS at the next read of what is gone, which
Python cannot catch. So the size is looked at before each read. That leaves the moment of the read itself.
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

Marks = list[int]
"""Size, time of change of contents and of anything, and inode: another file, or another content, has others."""
_SECONDS_UNTIL_TOLD = 2.0


def _marks(path: str) -> Marks:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


class WatchedFiles:
    """Some files of a prepared folder, as they were when they were opened.

    Args:
        folder: the prepared folder.
        checksums: CRC-32 of the array data by file name, as `info.json` has them.

    Attributes:
        made_again_without: a file that is removed once damage is found, so that the next start makes the folder again; None
            where that is for the user to do.

    Raises:
        OSError: one of them cannot be looked at.
    """

    def __init__(self, folder: Path, checksums: Mapping[str, int]):
        self.made_again_without: Path | None = None
        self.folder, self.checksums = folder.absolute(), dict(checksums)
        self._paths = {name: str(self.folder / name) for name in checksums}
        self._marks = {name: _marks(path) for name, path in self._paths.items()}

    def refuse_if_truncated(self, name: str) -> None:
        """To be called before the memory map of a file is read.

        Raises:
            UserError: the file has become shorter.
        """
        problem = self.truncation(name)
        if problem:
            raise UserError(problem)

    def truncation(self, name: str) -> str:
        """One line if a file has become shorter since it was opened, else nothing."""
        size, *_, inode = self._marks[name]
        try:
            now = os.stat(self._paths[name])
        except OSError:
            # Its name is gone; what is mapped is not.
            return ""
        if now.st_ino != inode or now.st_size >= size:
            return ""
        return self._told(name, f"has become shorter while it was in use, {now.st_size:,} of {size:,} bytes")

    def changed(self) -> list[str]:
        """Names of the files that were written to since they were opened or since this was asked last."""
        changed = []
        for name, path in self._paths.items():
            with suppress(OSError):
                now = _marks(path)
                known = self._marks[name]
                # What is mapped is the file that was opened, whatever has its name now.
                if now[-1] == known[-1] and now[:2] != known[:2]:
                    changed.append(name)
                    self._marks[name] = [max(now[0], known[0]), *now[1:]]
        return changed

    def problem(self, name: str, progress: Callable[[int], None]) -> tuple[str, Marks]:
        """Read a file; one line if its bytes are not those that were written, else nothing; and its marks before that."""
        marks = [0, 0, 0, 0]
        try:
            marks = _marks(self._paths[name])
            is_whole = checksum(Path(self._paths[name]), progress) == self.checksums[name]
        except OSError as error:
            return self._told(name, f"cannot be read ({error.strerror})"), marks
        except ValueError:
            is_whole = False
        return ("" if is_whole else self._told(name, "holds other bytes than were written")), marks

    def _told(self, name: str, what: str) -> str:
        if self.made_again_without is None:
            return f"{self._paths[name]}: {what}; remove that folder and prepare it again (launch.py prepare)"
        with suppress(OSError):
            self.made_again_without.unlink(missing_ok=True)
        return f"{self._paths[name]}: {what}; it lies in the cache, and the same command prepares it again"


class Verification:
    """Reads the files in a thread of its own, and remembers which were found whole. Use it under `contextlib.closing`.

    Args:
        files: what to verify; None verifies nothing.
        memory: folder in which is remembered what was verified; None remembers nothing.
        log: given a line when others have to wait for it.
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
        """One line if a file is damaged, or nothing.

        Args:
            wait: until all files have been read; otherwise only what is known by now is told.
        """
        for name in self._files.checksums:
            self._note(self._files.truncation(name))
        changed = self._files.changed()
        with self._lock:
            self._todo += [name for name in changed if name not in self._todo]
        self._begin()
        if wait and not self._problem and self._thread is not None:
            self._thread.join(_SECONDS_UNTIL_TOLD)
            if self._thread.is_alive():
                self._log(f"waiting until the data in {self._files.folder} are verified, once, before anything is saved")
                self._thread.join()
        return self._problem

    def close(self) -> None:
        """End the thread, after the part that it is reading."""
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
        """In the thread."""
        while True:
            with self._lock:
                if not self._todo or self._problem:
                    self._is_running = False
                    return
                name = self._todo.pop(0)
            try:
                problem, marks = self._files.problem(name, self._note_progress)
            except _ClosedError:
                return
            except Exception as error:  # of any kind: what could not be read was not found whole
                problem, marks = f"{self._files.folder / name}: cannot be verified ({first_line(error)})", []
            self._note(problem)
            if not problem:
                self._remember(name, marks)

    def _note(self, problem: str) -> None:
        """Keep the first problem; both threads may find one."""
        with self._lock:
            self._problem = self._problem or problem

    def _note_progress(self, _count: int) -> None:
        if self._is_closed:
            raise _ClosedError

    def _entry(self, name: str) -> list[int]:
        """What a file is remembered by; nothing where it cannot be looked at."""
        with suppress(OSError):
            return [self._files.checksums[name], *_marks(str(self._files.folder / name))]
        return []

    def _path(self, memory: Path) -> Path:
        return memory / f"{hashlib.sha256(os.fsencode(self._files.folder)).hexdigest()[:20]}.json"

    def _remembered(self) -> dict[str, list[int]]:
        """By file name; nothing where the record is absent or damaged."""
        if self._memory is not None:
            with suppress(OSError, ValueError):
                files = read_json_object(self._path(self._memory)).get("files")
                return files if isinstance(files, dict) else {}
        return {}

    def _remember(self, name: str, marks: Marks) -> None:
        if self._memory is None:
            return
        # Without it, the next start reads the files again.
        with suppress(OSError):
            self._memory.mkdir(parents=True, exist_ok=True)
            files = self._remembered() | {name: [self._files.checksums[name], *marks]}
            write_atomically(self._path(self._memory), json.dumps({"folder": str(self._files.folder), "files": files}).encode())


class _ClosedError(Exception):
    """The reading of a file is given up."""
