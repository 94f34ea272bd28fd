"""A file that threads and processes read at any offset, and a part of it as a file."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from pggan_jax.system.portability import pread


class SharedFile:
    """A file that all threads read at any offset, opened by each process at its first read."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self._opened: BinaryIO | None = None

    def read(self, offset: int, count: int) -> bytes:
        """Read `count` bytes from `offset`, fewer at the end of the file."""
        # Two threads may open it at once; the local name keeps the file of each open while it reads.
        opened = self._opened = self._opened or open(self.path, "rb", buffering=0)  # noqa: SIM115
        return pread(opened.fileno(), count, offset)

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_opened": None}

    def __del__(self) -> None:
        if self._opened:
            self._opened.close()


class FilePart(io.RawIOBase):
    """Some bytes of a `SharedFile` as a file that is read and searched."""

    def __init__(self, file: SharedFile, offset: int, size: int) -> None:
        super().__init__()
        self._file, self._offset, self._size, self._place = file, offset, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it; a place beyond the ends raises ValueError or reads nothing."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("negative place in a file")
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        """Return the place where reading continues."""
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read into a buffer; return the number of bytes, 0 at the end."""
        content = self._file.read(self._offset + self._place, min(len(buffer), max(0, self._size - self._place)))
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)
