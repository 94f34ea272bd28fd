"""The protobuf wire format against hand-written bytes."""

from __future__ import annotations

import pytest

from pggan_jax.interop.protobuf import ProtobufError, read_fields, read_varints


def fields(message):
    return [(number, value if isinstance(value, int) else bytes(value)) for number, value in read_fields(message)]


def test_every_wire_type():
    """The examples of the specification of the format, and fixed-size numbers."""
    assert fields(b"\x08\x96\x01") == [(1, 150)]
    assert fields(b"\x12\x07testing") == [(2, b"testing")]
    assert fields(b"\x1a\x03\x08\x96\x01") == [(3, b"\x08\x96\x01")]
    assert fields(b"\x25\x01\x02\x03\x04\x29\x01\x02\x03\x04\x05\x06\x07\x08") == [
        (4, b"\x01\x02\x03\x04"),
        (5, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
    ]
    assert fields(b"\x82\x01\x00") == [(16, b"")], "a field number of two bytes"
    assert fields(b"") == []


def test_packed_numbers():
    assert list(read_varints(memoryview(b"\x03\x8e\x02\x9e\xa7\x05"))) == [3, 270, 86942]


def test_a_negative_number_has_64_bits():
    assert fields(b"\x08" + b"\xff" * 9 + b"\x01") == [(1, 2**64 - 1)]


@pytest.mark.parametrize(
    "message",
    [
        b"\x08",  # no value
        b"\x08\x96",  # a number that is cut off
        b"\x12\x07test",  # bytes that are cut off
        b"\x25\x01\x02",  # a fixed-size number that is cut off
        b"\x0b",  # a group, which is not supported
        b"\x08" + b"\xff" * 10 + b"\x01",  # a number of more than 64 bits
    ],
)
def test_other_bytes_are_refused(message):
    with pytest.raises(ProtobufError):
        fields(message)
