"""Batches of random images."""

from __future__ import annotations

import numpy as np


def noise(count, side, seed=0, channels=3):
    """uint8 `[count, side, side, channels]`."""
    return np.random.RandomState(seed).randint(0, 256, (count, side, side, channels)).astype(np.uint8)
