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
    # Without a buffer: what could not be written would be tried again when the file is closed, behind our back.
    with path.open("ab", buffering=0) as file:
        end, rest = file.tell(), content
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, end)
            raise
