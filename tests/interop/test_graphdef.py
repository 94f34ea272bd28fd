"""Frozen TensorFlow graphs: constants by name; other bytes are refused in one line."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from pggan_jax.errors import UserError
from pggan_jax.interop.graphdef import read_constants
from tests.helpers.frozen_graph import field, node


def test_constants(tmp_path):
    path = tmp_path / "graph.pb"
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    nodes = node("a", array) + node("b", array, packed=True) + node("filled", np.float32([2.0]))
    path.write_bytes(nodes + node("number", array, dtype=3) + node("not", array, op=b"Add"))
    found = read_constants(path)
    assert list(found) == ["a", "b", "filled"]
    np.testing.assert_array_equal(found["a"], array)
    np.testing.assert_array_equal(found["b"], array)


def test_one_value_stands_for_all(tmp_path):
    shape = field(2, field(1, 4))
    tensor = field(1, 1) + field(2, shape) + field(5, struct.pack("<f", 1.5))
    body = field(1, b"x") + field(2, b"Const") + field(5, field(1, b"value") + field(2, field(8, tensor)))
    (tmp_path / "graph.pb").write_bytes(field(1, body))
    np.testing.assert_array_equal(read_constants(tmp_path / "graph.pb")["x"], np.full(4, 1.5, np.float32))


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x0a\x7fabc", b"hello world"])
def test_other_bytes(tmp_path, content):
    path = tmp_path / "odd.pb"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not a frozen TensorFlow graph") as caught:
        read_constants(path)
    assert "\n" not in str(caught.value)
