"""Random features."""

from __future__ import annotations

import numpy as np


def features(count, size, seed, spread=1.0, shift=0.0):
    """Correlated, on scales from 1 to `spread`."""
    random = np.random.RandomState(seed)
    mixing = np.linalg.qr(random.standard_normal((size, size)))[0] * np.geomspace(1, spread, size)
    return (random.standard_normal((count, size)) @ mixing.T + shift).astype(np.float64)
