"""The bytes of TFRecord files: framing with checksums, and the `tf.train.Example` inside. Knows nothing of images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from pggan_jax.errors import import_optional

# uint64 length and its checksum before the payload, the payload's checksum behind it.
HEADER_BYTES = 12
FRAMING_BYTES = 16


class DamagedRecordError(Exception):
    """A record whose length or payload does not fit its checksum."""


def unframe(record: bytes) -> bytes:
    """The payload of one whole record.

    Raises:
        DamagedRecordError: a checksum differs, or the record is longer or shorter than it says.
    """
    payload, checksum = record[HEADER_BYTES:-4], record[-4:]
    if _checked_length(record) != len(payload) or not _checksum_fits(payload, checksum):
        raise DamagedRecordError
    return payload


def find_record_bytes(path: Path, *, at_most: int) -> int:
    """The size of a file's records, framing included, if all have one; 0 if it holds no records.

    Args:
        path: an uncompressed TFRecord file.
        at_most: the largest size to look for where the first header is damaged.
    """
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
        length = _checked_length(start)
        if length is not None:
            return length + FRAMING_BYTES
        # One damaged header must not cost the file: the second record's tells its own length, which is how far it stands
        # from the beginning.
        start += file.read(at_most)
    for offset in range(FRAMING_BYTES, len(start) - HEADER_BYTES + 1):
        if int.from_bytes(start[offset : offset + 8], "little") == offset - FRAMING_BYTES and _checked_length(start[offset:]):
            return offset
    return 0


def iterate_spans(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """(offset, size) of every record of an open file, framing included, as far as the headers are whole; payloads are not read.

    The last one may reach beyond the end of a file that is cut off.
    """
    offset = 0
    while True:
        file.seek(offset)
        length = _checked_length(file.read(HEADER_BYTES))
        if length is None:
            return
        yield offset, length + FRAMING_BYTES
        offset += length + FRAMING_BYTES


def _checked_length(record: bytes) -> int | None:
    """The length of the payload that the header at the beginning of `record` tells; None if its checksum differs."""
    if len(record) < HEADER_BYTES or not _checksum_fits(record[:8], record[8:HEADER_BYTES]):
        return None
    return int.from_bytes(record[:8], "little")


def _checksum_fits(content: bytes, checksum: bytes) -> bool:
    """Whether the four bytes `checksum` are the masked CRC32C of `content`."""
    crc = _checksum_library().value(content)
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return masked == int.from_bytes(checksum, "little")


@cache
def _checksum_library() -> ModuleType:
    return import_optional("google_crc32c", package="google-crc32c", needed_by="a source tfrecords:DIR")


def parse_example(payload: bytes) -> dict[str, Any]:
    """The features of a `tf.train.Example`: bytes, or a list of integers.

    Of the format (https://protobuf.dev/programming-guides/encoding) just what this message needs: Example.features = 1,
    Features.feature = 1 (a map: key = 1, value = 2), Feature.bytes_list = 1 and int64_list = 3, each with value = 1.

    Raises:
        ValueError, LookupError, TypeError: `payload` is something else.
    """
    found: dict[str, Any] = {}
    for _, features in _fields(payload, 1):
        for _, entry in _fields(features, 1):
            pair = dict(_fields(entry, 1, 2))
            for kind, values in _fields(pair[2], 1, 3):
                items = [item for _, item in _fields(values, 1)]
                found[bytes(pair[1]).decode()] = items[0] if kind == 1 else _integers(items)
    return found


def _fields(message: bytes, *wanted: int) -> Iterator[tuple[int, Any]]:
    """(number, value) of the wanted fields of a message: integers, or the bytes of what has a length."""
    view = memoryview(message)
    place = 0
    value: Any
    while place < len(view):
        tag, place = _varint(view, place)
        wire_type = tag & 7
        if wire_type == 0:
            value, place = _varint(view, place)
        elif wire_type in (1, 5):
            value, place = None, place + (8 if wire_type == 1 else 4)
        elif wire_type == 2:
            length, place = _varint(view, place)
            value, place = view[place : place + length], place + length
        else:
            raise ValueError(f"wire type {wire_type}")
        if tag >> 3 in wanted:
            yield tag >> 3, value


def _integers(items: list[Any]) -> list[int]:
    """Integers that are written one by one, packed, or both."""
    numbers = []
    for item in items:
        if isinstance(item, int):
            numbers.append(item)
            continue
        place = 0
        while place < len(item):
            number, place = _varint(item, place)
            numbers.append(number)
    return numbers


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    """An integer of seven bits per byte, lowest first, and the place behind it."""
    number = shift = 0
    while True:
        byte = view[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
        shift += 7
