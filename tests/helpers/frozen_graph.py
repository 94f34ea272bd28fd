"""Encoder of frozen TensorFlow graphs, for tests of their reader."""

from __future__ import annotations

from tests.helpers.official_records import length_delimited, varint


def field(number, content):
    """A protobuf field: a varint, or bytes with their length."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return length_delimited(number, content)


def node(name, array, *, dtype=1, op=b"Const", packed=False):
    """A constant of a graph, or a node of another operation."""
    shape = b"".join(field(2, field(1, size)) for size in array.shape)
    content = array.astype("<f4").tobytes()
    tensor = field(1, dtype) + field(2, shape) + (field(5, content) if packed else field(4, content))
    return field(1, field(1, name.encode()) + field(2, op) + field(5, field(1, b"value") + field(2, field(8, tensor))))
