"""Writing small files so that a reader, or a machine that dies half-way, never sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, beside `path`; at the end it is on the disk and moved into place, on failure it is removed."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, wait until it is on the disk, and move it into place."""
    with atomic_file(path) as file:
        file.write(content)


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
