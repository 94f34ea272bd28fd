"""NumPy files that grow row by row, with a checksum of their data."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

_READ_AT_ONCE = 2**24


def checksum(path: Path, progress: Callable[[int], None]) -> int:
    """Return the CRC-32 of an array's data, without its header.

    `progress` gets the number of bytes after each block.
    """
    crc = 0
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        while part := file.read(_READ_AT_ONCE):
            crc = zlib.crc32(part, crc)
            progress(len(part))
    return crc


class ArrayFile:
    """A .npy file that grows by rows.

    It is written by plain writes: on a full disk they raise an error, where a memory map would kill the process.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], *, dtype: type, rows: int = 0, checksum: int = 0):
        """Create a file, or continue one.

        Args:
            path: of the file.
            row_shape: of one row.
            dtype: of its elements.
            rows: rows to keep of an existing file; what follows them is removed. 0 creates the file.
            checksum: CRC-32 of the rows that are kept.

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
        """`[rows, *row_shape]`."""
        return (self.rows, *self._row_shape)

    def append(self, rows: np.ndarray) -> None:
        """Add rows at the end."""
        content = np.ascontiguousarray(rows, self._dtype)
        # A view of bytes: no copy of megabytes.
        view = content.reshape(-1).view(np.uint8).data
        written = 0
        while written < len(view):
            written += self._file.write(view[written:])
        self.checksum = zlib.crc32(view, self.checksum)
        self.rows += len(content)

    def sync(self) -> None:
        """Wait until all rows are on the disk."""
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Write the number of rows into the header, and close the file.

        NumPy pads headers so that the first axis may grow in place.
        """
        self._file.seek(0)
        self._write_header(self.rows)
        if self._file.tell() != self._header_bytes:
            raise OSError(f"the header of {self._file.name} changed its length")
        self.sync()
        self._file.close()

    def close(self) -> None:
        """Close the file as it is."""
        self._file.close()

    def _write_header(self, rows: int) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (rows, *self._row_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
