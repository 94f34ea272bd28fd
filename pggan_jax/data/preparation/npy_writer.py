"""NumPy files that grow row by row, with a checksum of their data."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

_READ_AT_ONCE = 2**24


def checksum(path: Path, progress: Callable[[int], None]) -> int:
    """CRC-32 of an array's data, without its header."""
    crc = 0
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        while part := file.read(_READ_AT_ONCE):
            crc = zlib.crc32(part, crc)
            progress(len(part))
    return crc


class ArrayFile:
    """A .npy file that grows by rows. Plain writes: on a full disk they raise, where a memory map would kill the process."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: type, *, rows: int = 0, checksum: int = 0):
        """Begin a file, or continue one behind so many rows with that checksum, dropping what lies beyond.

        Raises:
            OSError: it cannot be written, or holds fewer rows.
        """
        self.rows, self.checksum = rows, checksum
        self._row_shape, self._dtype = row_shape, np.dtype(dtype)
        self._file = path.open("r+b" if rows else "wb", buffering=0)
        self._write_header(0)
        self._header_bytes = self._file.tell()
        end = self._header_bytes + rows * self._dtype.itemsize * int(np.prod(row_shape))
        if os.fstat(self._file.fileno()).st_size < end:
            raise OSError(f"{path.name} is shorter than it was")
        self._file.seek(end)
        self._file.truncate()

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first."""
        return (self.rows, *self._row_shape)

    def append(self, rows: np.ndarray) -> None:
        """Add rows at the end."""
        content = np.ascontiguousarray(rows, self._dtype)
        # A view of bytes: no copy of what may be megabytes.
        view = content.reshape(-1).view(np.uint8).data
        written = 0
        while written < len(view):
            written += self._file.write(view[written:])
        self.checksum = zlib.crc32(view, self.checksum)
        self.rows += len(content)

    def sync(self) -> None:
        """Wait until all is on the disk."""
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Write the number of rows into the header and close. NumPy pads headers so that the first axis may grow in place."""
        self._file.seek(0)
        self._write_header(self.rows)
        if self._file.tell() != self._header_bytes:
            raise OSError(f"the header of {self._file.name} changed its length")
        self.sync()
        self._file.close()

    def close(self) -> None:
        """Let go of the file as it is."""
        self._file.close()

    def _write_header(self, rows: int) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (rows, *self._row_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
