"""Find images in sheets of images."""

from __future__ import annotations

import numpy as np

from pggan_jax.generation.editing.sheets import tile_of


def shows(sheet, image, *, tolerance=0):
    """Whether a grey image stands somewhere in a grey sheet, with values that differ by at most `tolerance`."""
    wanted = tile_of(image)[..., 0].astype(np.int16)
    windows = np.lib.stride_tricks.sliding_window_view(sheet.astype(np.int16), wanted.shape)
    # A few pixels first, as most places differ there.
    few = np.s_[..., :: max(1, wanted.shape[0] // 3), :: max(1, wanted.shape[1] // 3)]
    near = np.argwhere((np.abs(windows[few] - wanted[few]) <= tolerance).all(axis=(-2, -1)))
    return any(np.abs(windows[y, x] - wanted).max() <= tolerance for y, x in near)
