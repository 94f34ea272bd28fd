"""Reader of the constants of a frozen TensorFlow graph (.pb), without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.interop.protobuf import read_fields

_FLOAT = 1
Field = tuple[int, Any]


def read_constants(path: Path) -> dict[str, np.ndarray]:
    """Read all float32 constants by node name.

    Raises:
        UserError: the file is not a GraphDef, or has no such constants.
        OSError: the file cannot be read.
    """
    try:
        found = dict(_constants(path.read_bytes()))
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{path}: is not a frozen TensorFlow graph, or is damaged") from None
    if not found:
        raise UserError(f"{path}: is not a frozen TensorFlow graph (it has no constants)")
    return found


def _constants(graph: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names and values of constants.

    GraphDef.node = 1; NodeDef.name = 1, op = 2, attr = 5 (a map: key = 1, value = 2); AttrValue.tensor = 8.
    """
    for number, node in read_fields(graph):
        if number != 1:
            continue
        fields = list(read_fields(node))
        if _first(fields, 2) != b"Const":
            continue
        for attribute in (value for field, value in fields if field == 5):
            entry = list(read_fields(attribute))
            if _first(entry, 1) == b"value":
                tensor = _first(list(read_fields(_first(entry, 2))), 8)
                array = _tensor(list(read_fields(tensor)))
                if array is not None:
                    yield bytes(_first(fields, 1)).decode(), array


def _tensor(fields: list[Field]) -> np.ndarray | None:
    """Return a float32 tensor, None of another type.

    TensorProto.dtype = 1, tensor_shape = 2 (dim = 2, with size = 1), tensor_content = 4, float_val = 5.
    """
    if _first(fields, 1) != _FLOAT:
        return None
    shape = [_first(list(read_fields(value)), 1) or 0 for field, value in read_fields(_first(fields, 2) or b"") if field == 2]
    count = int(np.prod(shape, dtype=np.int64))
    raw = _first(fields, 4) or b"".join(value for field, value in fields if field == 5)
    values = np.frombuffer(raw, "<f4")
    if len(values) == 1 and count != 1:
        values = np.full(count, values[0])
    return values.reshape(shape).astype(np.float32)


def _first(fields: list[Field], number: int) -> Any:
    return next((value for field, value in fields if field == number), None)
