"""The list of members at the end of a zip archive, read one by one. Layout: PKWARE's APPNOTE.TXT 6.3, 4.3.12-16 and 4.5.3.

`zipfile` keeps an object for each member, half a gigabyte for a million of them; this keeps nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

# An ordinary archive begins with its first member.
_MEMBER_SIGNATURE = b"PK\3\4"

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\5\6"
_MAX_COMMENT = 2**16 - 1

_LOCATOR64 = struct.Struct("<4sLQL")
_LOCATOR64_SIGNATURE = b"PK\6\7"
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_SIGNATURE = b"PK\6\6"

_ENTRY = struct.Struct("<4s6H3L5H2L")
_ENTRY_SIGNATURE = b"PK\1\2"
# Says that the true number stands in the extra field.
_IN_EXTRA = 2**32 - 1
_ZIP64_EXTRA = 1
_UTF8_FLAG = 0x800

_BROKEN_LIST = "is damaged or cut short (its list of members is broken); copy or download it again"


class BadArchiveError(Exception):
    """A file that is no usable zip archive; the message goes on from its name."""


class Member(NamedTuple):
    """One member as the list describes it.

    Attributes:
        name: path inside the archive; bytes that are no UTF-8 are read as code page 437, as `zipfile` does.
        offset: where its local header begins in the file.
        packed: bytes that it takes in the archive.
        size: bytes when unpacked.
        crc: CRC-32 of the unpacked bytes.
        method: 0 stored, 8 deflate.
        flags: bit 0 means encrypted.
    """

    name: str
    offset: int
    packed: int
    size: int
    crc: int
    method: int
    flags: int


def read_members(file: BinaryIO) -> Iterator[Member]:
    """Every member of the archive, folders included, in the order of the list.

    Args:
        file: the archive, opened for reading with a buffer.

    Raises:
        BadArchiveError: it is no zip archive, cut short, split, or its list is damaged.
    """
    start, length, shift = _find_list(file)
    file.seek(start)
    while length > 0:
        member, used = _read_entry(file, shift)
        if member.offset >= start:
            raise BadArchiveError(_BROKEN_LIST)
        length -= used
        yield member
    if length:
        raise BadArchiveError(_BROKEN_LIST)


def _find_list(file: BinaryIO) -> tuple[int, int, int]:
    """Where the list begins, its bytes, and how far all offsets are shifted, as by a program put before the archive."""
    file_size = file.seek(0, os.SEEK_END)
    tail_start = max(file_size - _END.size - _MAX_COMMENT, 0)
    file.seek(tail_start)
    tail = file.read()
    found = tail.rfind(_END_SIGNATURE, 0, max(len(tail) - _END.size + len(_END_SIGNATURE), 0))
    if found < 0:
        file.seek(0)
        if file.read(len(_MEMBER_SIGNATURE)) == _MEMBER_SIGNATURE:
            raise BadArchiveError("is cut short (the list of members at its end is missing); copy or download it again")
        raise BadArchiveError("is not a zip archive; unpack it and write folder:DIR, or pack it as zip")
    _, disk, first_disk, _, _, length, offset, _ = _END.unpack_from(tail, found)
    end = tail_start + found
    wide = _find_list64(file, end - _LOCATOR64.size - _END64.size)
    if wide is not None:
        disk, first_disk, length, offset = wide
        end -= _LOCATOR64.size + _END64.size
    if disk or first_disk:
        raise BadArchiveError("is one part of a split archive; join the parts first")
    start = end - length
    shift = start - offset
    # Negative, too, where the list would begin before the file does.
    if shift < 0:
        raise BadArchiveError(_BROKEN_LIST)
    file.seek(0)
    # The list of an archive that is the last member of another one, whose own list is missing, or of one put behind another.
    if shift and file.read(len(_MEMBER_SIGNATURE)) == _MEMBER_SIGNATURE:
        raise BadArchiveError("is cut short, or several archives in one file; copy or download it again, or take them apart")
    return start, length, shift


def _find_list64(file: BinaryIO, place: int) -> tuple[int, int, int, int] | None:
    """Disk, first disk, length and offset of the list from the record of a large archive at `place`; None in a small one."""
    if place < 0:
        return None
    file.seek(place)
    record = file.read(_END64.size + _LOCATOR64.size)
    if not record.startswith(_END64_SIGNATURE) or not record.startswith(_LOCATOR64_SIGNATURE, _END64.size):
        return None
    _, _, _, _, disk, first_disk, _, _, length, offset = _END64.unpack_from(record)
    return disk, first_disk, length, offset


def _read_entry(file: BinaryIO, shift: int) -> tuple[Member, int]:
    """The member at the place of `file`, and how many bytes describe it."""
    header = file.read(_ENTRY.size)
    if len(header) < _ENTRY.size or not header.startswith(_ENTRY_SIGNATURE):
        raise BadArchiveError(_BROKEN_LIST)
    fields = _ENTRY.unpack(header)
    flags, method = fields[3:5]
    crc, packed, size, name_length, extra_length, comment_length = fields[7:13]
    name = file.read(name_length)
    extra = file.read(extra_length)
    file.seek(comment_length, os.SEEK_CUR)
    size, packed, offset = _wide_numbers(extra, [size, packed, fields[16]])
    member = Member(_decode(name, flags), offset + shift, packed, size, crc, method, flags)
    return member, len(header) + name_length + extra_length + comment_length


def _wide_numbers(extra: bytes, numbers: list[int]) -> list[int]:
    """`numbers` with those that need 64 bits taken from the extra field, where they stand in the same order."""
    if _IN_EXTRA not in numbers:
        return numbers
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        place += 4
        if kind == _ZIP64_EXTRA:
            wide = iter(struct.unpack_from(f"<{min(length, len(extra) - place) // 8}Q", extra, place))
            return [next(wide, number) if number == _IN_EXTRA else number for number in numbers]
        place += length
    return numbers


def _decode(name: bytes, flags: int) -> str:
    # Many programs write UTF-8 and do not say so, macOS among them.
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("utf-8", "surrogateescape") if flags & _UTF8_FLAG else name.decode("cp437")
