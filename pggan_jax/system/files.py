"""Atomic and durable writes of small files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`, which replaces `path` at the end of the `with` block.

    If the block raises, it is removed and `path` stays as it was.

    Args:
        path: of the file.
        durable: flush it to the disk first, which takes milliseconds; without it, a power failure may leave an incomplete file.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write `content` to a temporary file, and rename it to `path`; see `atomic_file`."""
    with atomic_file(path, durable=durable) as file:
        file.write(content)


def append_durably(path: Path, content: bytes) -> None:
    """Append `content` to a file and flush it to the disk; a failure leaves the file as it was."""
    # Unbuffered: a buffer that could not be written would be written again when the file is closed.
    with path.open("ab", buffering=0) as file:
        end, rest = file.tell(), content
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, end)
            raise
