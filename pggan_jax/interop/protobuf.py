"""Reader of the protocol buffer wire format.

https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BITS = 70


class ProtobufError(ValueError):
    """The bytes are not a protocol buffer message."""


def read_fields(message: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a message in order.

    Args:
        message: its bytes.

    Yields:
        Field number and value: an `int` of a varint, otherwise a `memoryview` of the bytes of a string, message, packed list or
        fixed-size number. Which of them is meant depends on the message.

    Raises:
        ProtobufError: the bytes are not a message, or are cut off.
    """
    view = memoryview(message)
    offset = 0
    value: Any
    while offset < len(view):
        tag, offset = _read_varint(view, offset)
        wire_type = tag & 7
        if wire_type == _VARINT:
            value, offset = _read_varint(view, offset)
        elif wire_type in (_BYTES, _FIXED32, _FIXED64):
            if wire_type == _BYTES:
                size, offset = _read_varint(view, offset)
            else:
                size = 4 if wire_type == _FIXED32 else 8
            value, offset = view[offset : offset + size], offset + size
            if offset > len(view):
                raise ProtobufError("a field exceeds the message")
        else:
            raise ProtobufError(f"unknown wire type {wire_type}")
        yield tag >> 3, value


def read_varints(packed: memoryview) -> Iterator[int]:
    """Yield the integers of a packed list.

    Raises:
        ProtobufError: the bytes are not varints.
    """
    offset = 0
    while offset < len(packed):
        number, offset = _read_varint(packed, offset)
        yield number


def _read_varint(view: memoryview, offset: int) -> tuple[int, int]:
    """Read an integer of seven bits per byte, lowest first; return it and the offset behind it."""
    number = 0
    for shift in range(0, _MAX_VARINT_BITS, 7):
        if offset >= len(view):
            raise ProtobufError("a number is cut off")
        byte = view[offset]
        offset += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, offset
    raise ProtobufError("a number has more than 64 bits")
