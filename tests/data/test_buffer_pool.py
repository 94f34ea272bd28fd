"""Reuse of memory: only after the last array on it is gone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.data.buffer_pool import ALIGNMENT, BufferPool
from pggan_jax.distributed import devices


def address(array):
    return array.ctypes.data


class TestRecycledMemory:
    def test_arrays_are_aligned_and_writable(self):
        memory = BufferPool()
        arrays = [memory.empty((2, 3, size)) for size in (1, 7, 1000)]
        assert [array.shape for array in arrays] == [(2, 3, 1), (2, 3, 7), (2, 3, 1000)]
        for value, array in enumerate(arrays):
            assert array.dtype == np.uint8
            assert address(array) % ALIGNMENT == 0
            array[:] = value
        assert [array.max() for array in arrays] == [array.min() for array in arrays] == [0, 1, 2]

    def test_what_is_gone_is_used_again(self):
        memory = BufferPool()
        array = memory.empty((5, 100))
        before = address(array)
        del array
        again = memory.empty((100, 5))
        assert address(again) == before
        assert address(memory.empty((5, 100))) != before

    @pytest.mark.parametrize(
        "view", [lambda a: a[1:], lambda a: a.reshape(-1)[3:].view(np.int8), memoryview], ids=["part", "reshaped", "buffer"]
    )
    def test_every_view_keeps_it(self, view):
        memory = BufferPool()
        array = memory.empty((5, 100))
        before, kept = address(array), view(array)
        del array
        assert address(memory.empty((5, 100))) != before
        del kept
        assert before in {address(one) for one in [memory.empty((5, 100)) for _ in range(2)]}

    def test_other_sizes_are_let_go(self):
        memory = BufferPool()
        memory.empty((10,))
        memory.empty((20,))
        assert {block.nbytes for block in memory._spare} == {20 + ALIGNMENT}

    def test_spare_memory_is_limited(self):
        memory = BufferPool()
        arrays = [memory.empty((10,)) for _ in range(100)]
        del arrays
        assert len(memory._spare) == 4


def test_a_device_that_still_computes_keeps_it():
    """CPU devices take such arrays over as they are. Dropped here at once, they must not change before the result is there."""
    memory, device_count = BufferPool(), jax.local_device_count()

    def slow_mean(x):
        return jax.lax.fori_loop(0, 20, lambda _, sums: jnp.cos(sums) * 0 + x.astype(jnp.float32), jnp.zeros(x.shape)).mean()

    mean = devices.map_over_devices(lambda _, x: slow_mean(x))
    results, addresses = [], []
    for value in range(40):
        images = memory.empty((device_count, 2**19))
        images[:] = value
        addresses.append(address(images))
        results.append(mean(np.float32(0), devices.split(images)))
        del images
    assert len(set(addresses)) < 40, "nothing was used again, so nothing was tested"
    assert [float(result) for result in results] == list(range(40))
