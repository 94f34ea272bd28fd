"""Waves of generated spectrograms."""

from __future__ import annotations

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.sound.representations import Representation


def require_sound(representation: Representation | None, name: str) -> Representation:
    """Return the representation of a run on sound.

    Raises:
        UserError: the run makes images.
    """
    if representation is None:
        raise UserError(f"{name}: makes images, which are no sound; use sample or synthesize")
    return representation


def wave_of_image(image: np.ndarray, representation: Representation, *, invert: str, seed: int, name: str) -> np.ndarray:
    """Decode one generated image.

    Args:
        image: float32 `[frames, bins, channels]` of any level, as the generator returns it.
        representation: of the run.
        invert: see `Representation.decode`.
        seed: of the random phases with which griffin_lim begins.
        name: of the model, for messages.

    Returns:
        float64 `[samples]`.

    Raises:
        UserError: there is no such way to invert, or the image has NaN or infinity.
    """
    if not np.isfinite(image).all():
        raise UserError(f"{name}: generates NaN or infinity: this run has diverged; take an earlier checkpoint, {name}@KIMG")
    try:
        wave = representation.decode(image, invert=invert, seed=seed)
    except ValueError as error:
        raise UserError(str(error)) from None
    if not np.isfinite(wave).all():
        raise UserError(f"{name}: its images have no finite wave; sound.hop must be smaller than sound.n_fft")
    return wave
