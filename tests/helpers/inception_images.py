"""The images that the golden features are of."""

from __future__ import annotations

import numpy as np


def golden_images(side):
    """One image with waves of every length and some grain, uint8 `[1, side, side, 3]`."""
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(2 * np.pi * (3 * x * x + (c + 2) * y)) + 0.6 * np.sin(2 * np.pi * side / 8 * (x + c * y)) for c in range(3)]
    grain = np.random.RandomState(side).standard_normal((side, side, 3))
    return np.clip(128 + 60 * np.stack(waves, -1) + 20 * grain, 0, 255).astype(np.uint8)[None]
