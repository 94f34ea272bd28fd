"""Zip archives of any size, without compression, that can be continued.

`zipfile` keeps an object per member in memory and writes the list of members at the end only, so that an archive without its
end is lost. Here the list is made from the headers before the members, which the file itself keeps.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pggan_jax.system.portability import pread

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_LOCAL_SIGNATURE, _CRC_OFFSET = b"PK\3\4", 14
_VERSION, _VERSION_64, _UTF8 = 20, 45, 0x800
# 1980-01-01 00:00, the first date of the format: equal images give equal archives.
_TIME, _DATE = 0, 33
_LONGEST_HEADER = 1024
_MOST, _MOST_MEMBERS = 2**32 - 1, 2**16 - 1


class StoredZip:
    """An archive that grows by members.

    Args:
        path: of the file.
        size: bytes to keep of an existing file, which end with a complete member; 0 creates the file.

    Attributes:
        size: bytes that hold complete members or parts of an array.

    Raises:
        OSError: it cannot be written, or is shorter than `size`.
    """

    def __init__(self, path: Path, *, size: int = 0):
        self._file = path.open("r+b" if size else "w+b", buffering=0)
        self.size = size
        if os.fstat(self._file.fileno()).st_size < size:
            self._file.close()
            raise OSError(f"{path.name} is shorter than it was")
        self._file.truncate(size)

    def add(self, members: Iterable[tuple[str, bytes]]) -> None:
        """Append members, by one write."""
        parts: list[bytes] = []
        for name, content in members:
            parts += _local_header(name, len(content), zlib.crc32(content)), content
        self.append(b"".join(parts))

    def add_chunks(self, name: str, chunks: Callable[[], Iterator[bytes]]) -> None:
        """Append a member of any size.

        Args:
            name: of the member.
            chunks: returns an iterator over its content; called twice, for the checksum and for the content.
        """
        size = checksum = 0
        for chunk in chunks():
            size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
        self.append(_local_header(name, size, checksum))
        for chunk in chunks():
            self.append(chunk)

    def begin(self, name: str, size: int) -> None:
        """Begin a member of `size` bytes, which `append` adds; see `set_first_checksum`."""
        self.append(_local_header(name, size, 0))

    def append(self, content: bytes | memoryview) -> None:
        """Write bytes at the end; after an error the file may hold more than `size` says."""
        view = memoryview(content)
        written = 0
        self._file.seek(self.size)
        while written < len(view):
            written += self._file.write(view[written:])
        self.size += written

    def set_first_checksum(self, checksum: int) -> None:
        """Write the checksum of the first member into its header."""
        self._file.seek(_CRC_OFFSET)
        self._file.write(struct.pack("<L", checksum))

    def sync(self) -> None:
        """Wait until all is on the disk."""
        os.fsync(self._file.fileno())

    def finish(self, comment: bytes = b"") -> None:
        """Write the list of members and the end of the archive, and close it."""
        start, count = self.size, 0
        rows: list[bytes] = []
        for row in self._list(start):
            count += 1
            rows.append(row)
            if len(rows) == 1000:
                self.append(b"".join(rows))
                rows.clear()
        self.append(b"".join(rows))
        self.append(_end(count, start, self.size - start, comment))
        self.sync()
        self.close()

    @property
    def is_closed(self) -> bool:
        """Whether `finish` or `close` has closed the file."""
        return self._file.closed

    def close(self) -> None:
        """Close the file as it is."""
        with suppress(OSError):
            self._file.close()

    def _list(self, end: int) -> Iterator[bytes]:
        """Yield the row of each member for the list."""
        offset = 0
        while offset < end:
            head = pread(self._file.fileno(), _LONGEST_HEADER, offset)
            _, version, flags, _, _, _, crc, _, size, name_length, extra_length = _LOCAL.unpack_from(head)
            name = head[_LOCAL.size : _LOCAL.size + name_length]
            if extra_length:
                (size,) = struct.unpack_from("<Q", head, _LOCAL.size + name_length + 4)
            yield _central_row(name, size, crc, offset=offset, flags=flags, version=version)
            offset += _LOCAL.size + name_length + extra_length + size


def read_comment(path: Path) -> bytes:
    """Return the comment of a complete archive.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no archive, or is truncated.
    """
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _END.size - _MOST_MEMBERS))
        tail = file.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0 or len(tail) < place + _END.size:
        raise ValueError(f"{path.name} has no end of a zip archive")
    comment = tail[place + _END.size :]
    if len(comment) != _END.unpack_from(tail, place)[-1]:
        raise ValueError(f"{path.name} has another end than it states")
    return comment


def _local_header(name: str, size: int, checksum: int) -> bytes:
    encoded = name.encode()
    large = size >= _MOST
    extra = struct.pack("<2H2Q", 1, 16, size, size) if large else b""
    shown = _MOST if large else size
    fields = _VERSION_64 if large else _VERSION, _UTF8, 0, _TIME, _DATE, checksum, shown, shown, len(encoded), len(extra)
    return _LOCAL.pack(_LOCAL_SIGNATURE, *fields) + encoded + extra


def _central_row(name: bytes, size: int, checksum: int, *, offset: int, flags: int, version: int) -> bytes:
    extra = b""
    if size >= _MOST:
        extra += struct.pack("<2Q", size, size)
    if offset >= _MOST:
        extra += struct.pack("<Q", offset)
    if extra:
        extra, version = struct.pack("<2H", 1, len(extra)) + extra, _VERSION_64
    shown = min(size, _MOST)
    fields = _VERSION_64, version, flags, 0, _TIME, _DATE, checksum, shown, shown, len(name), len(extra), 0, 0, 0, 0
    return _CENTRAL.pack(b"PK\1\2", *fields, min(offset, _MOST)) + name + extra


def _end(count: int, start: int, size: int, comment: bytes) -> bytes:
    """Return the end of the archive, with the 64-bit form where the other one has no room."""
    large = b""
    if count >= _MOST_MEMBERS or start >= _MOST or size >= _MOST:
        large = _END_64.pack(b"PK\6\6", _END_64.size - 12, _VERSION_64, _VERSION_64, 0, 0, count, count, size, start)
        large += _LOCATOR_64.pack(b"PK\6\7", 0, start + size, 1)
    members = min(count, _MOST_MEMBERS)
    return large + _END.pack(b"PK\5\6", 0, 0, members, members, min(size, _MOST), min(start, _MOST), len(comment)) + comment
