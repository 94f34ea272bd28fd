"""Writing small files so that a reader, or a machine that dies half-way, never sees half of one."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, wait until it is on the disk, and move it into place."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def append_durably(path: Path, content: bytes) -> None:
    """Add `content` to a file and wait until it is on the disk; on failure the file is left as it was."""
    with path.open("ab") as file:
        end = file.tell()
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, end)
            raise
