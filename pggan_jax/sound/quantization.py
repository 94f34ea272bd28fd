"""Images of sound in uint8 and back. IF carries its rounding error from frame to frame."""

from __future__ import annotations

import numpy as np


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Values in [-1, 1] to uint8, rounded to the nearest level, halves to even."""
    return np.clip(np.rint(127.5 * image + 127.5), 0, 255).astype(np.uint8)


def from_bytes(image: np.ndarray) -> np.ndarray:
    """Map uint8 to float64 in [-1, 1]."""
    return image / 127.5 - 1.0


def diffuse_to_bytes(image: np.ndarray) -> np.ndarray:
    """Values in [-1, 1] to uint8, [..., frames, bins], with error diffusion along frames.

    The rounding error of each cell is added to the next frame. The sum over frames, which is the phase, is then never
    off by more than half a level.
    """
    result = np.empty(image.shape, np.uint8)
    error = np.zeros(image[..., 0, :].shape)
    for frame in range(image.shape[-2]):
        wanted = image[..., frame, :] + error
        result[..., frame, :] = to_bytes(np.clip(wanted, -1, 1))
        error = wanted - from_bytes(result[..., frame, :])
    return result
