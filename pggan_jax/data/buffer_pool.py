"""Memory for one large array after another, without asking the system each time: a fresh page costs as much as filling it."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

# Arrays that begin at such an address can become a CPU device's memory as they are; others are copied once more.
ALIGNMENT = 64
_SPARE_BLOCKS = 4


class RecycledMemory:
    """Aligned uint8 arrays. What one array leaves behind when nothing refers to it any more, the next of its size gets."""

    def __init__(self) -> None:
        self._spare: deque[np.ndarray] = deque(maxlen=_SPARE_BLOCKS)

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """An uninitialised uint8 array at an aligned address. May be called, and arrays may be dropped, in any thread."""
        size = math.prod(shape)
        return np.asarray(_Lease(self._take(size + ALIGNMENT), size, self._spare)).reshape(shape)

    def _take(self, size: int) -> np.ndarray:
        while True:
            try:
                block = self._spare.pop()
            except IndexError:
                return np.empty(size, np.uint8)
            # Blocks of another size belong to another resolution: they are let go.
            if block.nbytes == size:
                return block


class _Lease:
    """The owner of an array's memory in the eyes of NumPy: every view of the array keeps it, and with it the block, alive."""

    def __init__(self, block: np.ndarray, size: int, returns_to: deque[np.ndarray]) -> None:
        self._block, self._returns_to = block, returns_to
        address = block.ctypes.data
        start = address + -address % ALIGNMENT
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": (size,), "data": (start, False)}

    def __del__(self) -> None:
        self._returns_to.append(self._block)
