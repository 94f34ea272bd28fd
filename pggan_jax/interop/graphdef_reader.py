"""Reads the constants of a frozen TensorFlow graph (.pb) without TensorFlow: just as much of protocol buffers as that takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.errors import UserError

_FLOAT = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Field = tuple[int, Any]
"""Number and value, an `int` or `bytes`; which of them is wanted depends on the message."""


class _Broken(Exception):
    """Not the bytes of a message."""


def read_constants(path: Path) -> dict[str, np.ndarray]:
    """All float32 constants by node name.

    Raises:
        UserError: not a GraphDef, or one without such constants.
    """
    try:
        found = dict(_constants(path.read_bytes()))
    except (_Broken, ValueError, IndexError, UnicodeDecodeError, TypeError):
        raise UserError(f"{path}: is not a frozen TensorFlow graph, or damaged") from None
    if not found:
        raise UserError(f"{path}: is not a frozen TensorFlow graph (no constants in it)")
    return found


def _constants(graph: bytes) -> Iterator[tuple[str, np.ndarray]]:
    for number, node in _fields(graph):
        if number != 1:
            continue
        parts = list(_fields(node))
        if _first(parts, 2) != b"Const":
            continue
        for attribute in (value for part, value in parts if part == 5):
            entry = list(_fields(attribute))
            if _first(entry, 1) == b"value":
                tensor = _first(list(_fields(_first(entry, 2))), 8)
                array = _tensor(list(_fields(tensor)))
                if array is not None:
                    yield _first(parts, 1).decode(), array


def _tensor(parts: list[Field]) -> np.ndarray | None:
    if _first(parts, 1) != _FLOAT:
        return None
    dimensions = [_first(list(_fields(value)), 1) or 0 for part, value in _fields(_first(parts, 2) or b"") if part == 2]
    count = int(np.prod(dimensions, dtype=np.int64))
    raw = _first(parts, 4) or b"".join(value for part, value in parts if part == 5)
    values = np.frombuffer(raw, "<f4")
    if len(values) == 1 and count != 1:
        values = np.full(count, values[0])
    return values.reshape(dimensions).astype(np.float32)


def _first(parts: list[Field], number: int) -> Any:
    return next((value for part, value in parts if part == number), None)


def _fields(message: bytes) -> Iterator[Field]:
    """(number, value) of each field: an int, or the bytes of a text, message or float."""
    at = 0
    value: Any
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
        elif kind in (_BYTES, _FIXED32, _FIXED64):
            size = {_FIXED32: 4, _FIXED64: 8}.get(kind)
            if size is None:
                size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
            if at > len(message):
                raise _Broken("a field reaches beyond its end")
        else:
            raise _Broken(f"field of kind {kind}")
        yield number, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise _Broken("a number has no end")
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
