"""Reader of TFRecord files: framing with checksums, and `tf.train.Example` messages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from pggan_jax.errors import import_optional
from pggan_jax.interop.protobuf import read_fields, read_varints

HEADER_BYTES = 12  # uint64 length of the payload and its checksum
FRAMING_BYTES = 16  # the header, and the checksum behind the payload


class DamagedRecordError(Exception):
    """A length or payload does not match its checksum."""


def unframe(record: bytes) -> bytes:
    """Return the payload of one whole record.

    Raises:
        DamagedRecordError: a checksum differs, or the record is longer or shorter than its header says.
    """
    payload, checksum = record[HEADER_BYTES:-4], record[-4:]
    if _checked_length(record) != len(payload) or not _checksum_fits(payload, checksum):
        raise DamagedRecordError
    return payload


def find_record_bytes(path: Path, *, at_most: int) -> int:
    """Return the size of the records of a file, framing included; 0 without records.

    Args:
        path: an uncompressed TFRecord file.
        at_most: the largest size to search for if the first header is damaged.
    """
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
        length = _checked_length(start)
        if length is not None:
            return length + FRAMING_BYTES
        # The first header is damaged: search for the second one, whose length equals its distance from the start.
        start += file.read(at_most)
    for offset in range(FRAMING_BYTES, len(start) - HEADER_BYTES + 1):
        if int.from_bytes(start[offset : offset + 8], "little") == offset - FRAMING_BYTES and _checked_length(start[offset:]):
            return offset
    return 0


def iterate_spans(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield (offset, size) of every record up to the first damaged header.

    Sizes include the framing; payloads are not read. The last record may exceed the end of a file that is cut off.
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
    """Return the payload length in the header of `record`; None if its checksum differs."""
    if len(record) < HEADER_BYTES or not _checksum_fits(record[:8], record[8:HEADER_BYTES]):
        return None
    return int.from_bytes(record[:8], "little")


def _checksum_fits(content: bytes, checksum: bytes) -> bool:
    """Return whether the four bytes `checksum` are the masked CRC32C of `content`."""
    crc = _checksum_library().value(content)
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return masked == int.from_bytes(checksum, "little")


@cache
def _checksum_library() -> ModuleType:
    return import_optional("google_crc32c", package="google-crc32c", needed_by="a source tfrecords:DIR")


def parse_example(payload: bytes) -> dict[str, Any]:
    """Return the features of a `tf.train.Example`: bytes, or a list of integers.

    Example.features = 1; Features.feature = 1, a map with key = 1, value = 2; Feature.bytes_list = 1 and int64_list = 3, each
    with value = 1.

    Raises:
        ValueError, LookupError, TypeError: `payload` is something else.
    """
    found: dict[str, Any] = {}
    for features in _values(payload, 1):
        for entry in _values(features, 1):
            pair = dict(read_fields(entry))
            for kind, values in read_fields(pair[2]):
                if kind in (1, 3):
                    items = list(_values(values, 1))
                    found[bytes(pair[1]).decode()] = items[0] if kind == 1 else _integers(items)
    return found


def _values(message: bytes | memoryview, wanted: int) -> Iterator[Any]:
    return (value for number, value in read_fields(message) if number == wanted)


def _integers(items: list[Any]) -> list[int]:
    """Return the integers of a repeated field, written one by one, packed, or both."""
    return [number for item in items for number in ([item] if isinstance(item, int) else read_varints(item))]
