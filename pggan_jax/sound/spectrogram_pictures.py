"""Spectrograms as pictures for people: time to the right, low notes at the bottom.

Brightness is the magnitude. Hue is the second channel of the image: the instantaneous frequency (IF), which is constant
under a steady partial, so a clean note has one colour per partial; or the phase.
"""

from __future__ import annotations

import numpy as np

from pggan_jax.sound.quantization import from_bytes
from pggan_jax.sound.representations import MARGIN, Representation

# A little white keeps dark blue visible.
_SATURATION = 0.85
_LARGEST = 255
# Hues of 0 are red; green and blue follow a third of a turn later each.
_SIXTHS_OF_RGB = np.array([0.0, 4.0, 2.0])


def magnitude_pictures(images: np.ndarray, representation: Representation) -> np.ndarray:
    """Draw magnitudes in grey.

    Args:
        images: [..., frames, bins, channels] of any level, float in [-1, 1] or uint8.
        representation: of the images.

    Returns:
        uint8 [..., bins, frames, 1]; black is the floor, white the largest magnitude of the data. Values of both signs
        (`reallog`, `raw`) have grey at 0.
    """
    return _drawn(_brightness(images, representation)[..., None])


def hue_pictures(images: np.ndarray, representation: Representation) -> np.ndarray:
    """Draw magnitudes as brightness, and IF or phase as hue.

    Args:
        images, representation: as of `magnitude_pictures`; the representation has phases.

    Returns:
        uint8 [..., bins, frames, 3].

    Raises:
        ValueError: the images hold no phase.
    """
    if representation.channels == 1:
        raise ValueError(f"images of {representation.name} hold no phase to draw as hue")
    factor, offset = representation.scale[1]
    turns = (_values(images)[..., 1] - offset) / factor / 2
    away = np.abs((6 * turns[..., None] + _SIXTHS_OF_RGB) % 6 - 3)
    colours = 1 - _SATURATION + _SATURATION * np.clip(away - 1, 0, 1)
    return _drawn(colours * _brightness(images, representation)[..., None])


def _values(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    return from_bytes(images) if images.dtype == np.uint8 else np.clip(np.nan_to_num(images.astype(np.float64)), -1, 1)


def _brightness(images: np.ndarray, representation: Representation) -> np.ndarray:
    """Magnitudes in [0, 1]: [..., frames, bins]."""
    margin = MARGIN if representation.channels == 2 else 1.0
    return np.clip(_values(images)[..., 0] / margin / 2 + 0.5, 0, 1)


def _drawn(pixels: np.ndarray) -> np.ndarray:
    """Values in [0, 1] to bytes, transposed and with low bins at the bottom."""
    return np.rint(pixels.swapaxes(-3, -2)[..., ::-1, :, :] * _LARGEST).astype(np.uint8)
