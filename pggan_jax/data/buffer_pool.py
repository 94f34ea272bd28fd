"""Memory reused from one large array to the next.

A new page from the system costs as much as filling it.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

# A CPU device can use arrays at such an address as they are; others are copied once more.
ALIGNMENT = 64
_SPARE_BLOCKS = 4


class BufferPool:
    """Allocates aligned uint8 arrays.

    The memory of an array without references is reused by the next of its size.
    """

    def __init__(self) -> None:
        self._spare: deque[np.ndarray] = deque(maxlen=_SPARE_BLOCKS)

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return an uninitialised uint8 array at an aligned address.

        Thread-safe, also the release of arrays.
        """
        size = math.prod(shape)
        return np.asarray(_Buffer(self._take(size + ALIGNMENT), size, self._spare)).reshape(shape)

    def _take(self, size: int) -> np.ndarray:
        while True:
            try:
                block = self._spare.pop()
            except IndexError:
                return np.empty(size, np.uint8)
            # Blocks of another size belong to another resolution and are freed.
            if block.nbytes == size:
                return block


class _Buffer:
    """The owner of an array's memory for NumPy.

    Every view of the array keeps a reference to it and to the block.
    """

    def __init__(self, block: np.ndarray, size: int, returns_to: deque[np.ndarray]) -> None:
        self._block, self._returns_to = block, returns_to
        address = block.ctypes.data
        start = address + -address % ALIGNMENT
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": (size,), "data": (start, False)}

    def __del__(self) -> None:
        self._returns_to.append(self._block)
