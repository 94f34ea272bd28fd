"""What the page of `explore` draws: an image by seed, class, directions or a walk, and all levels of the growth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.generation.editing.directions import moved
from pggan_jax.generation.model import Model
from pggan_jax.generation.walks import slerp
from pggan_jax.images import nearest_upscale

LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Explorer:
    """A model, the levels that it has grown through, and directions in its latent space.

    Attributes:
        model: that is explored.
        levels: models of lower and equal resolutions, in that order; the last one is `model`.
        directions: by name, float32 `[latent_size]`, of length 1.
    """

    model: Model
    levels: Sequence[Model]
    directions: Mapping[str, np.ndarray]

    def latent(self, seed: float | None, strengths: Sequence[float] = ()) -> np.ndarray:
        """Return the latent of a seed, moved along the directions.

        Args:
            seed: as a control of a page gives it.
            strengths: one for each direction.

        Returns:
            float32 `[latent_size]`.

        Raises:
            UserError: the seed is no whole number from 0 to 2^32 - 1, or a strength is not finite.
        """
        latent = self.model.latents([checked_seed(seed)])
        for direction, strength in zip(self.directions.values(), strengths, strict=False):
            if not np.isfinite(strength):
                raise UserError(f"strength {strength}: must be a finite number, such as 2")
            if strength:
                latent = moved(latent, direction, [strength])[0]
        return latent[0]

    def between(self, first: np.ndarray, second: np.ndarray, t: float) -> np.ndarray:
        """Return a latent on the way from one to another; t from 0 to 1."""
        return np.asarray(slerp(first, second, min(max(float(t), 0.0), 1.0)), np.float32)

    def image(self, latent: np.ndarray, number: int) -> np.ndarray:
        """Return the image of a latent: uint8 `[height, width, channels]`."""
        return self.model.synthesize(latent[None], number if self.model.label_size else None)[0]

    def growth(self, latent: np.ndarray, number: int) -> np.ndarray:
        """Return the images of a latent by all levels, side by side, all of the full size."""
        height = self.model.shape[0]
        rows = []
        for level in self.levels:
            image = level.synthesize(latent[None], number if level.label_size else None)
            rows.append(nearest_upscale(image, height // image.shape[1])[0])
        return np.concatenate(rows, axis=1)


def checked_seed(seed: float | None) -> int:
    """Return a seed as a control of a page gives it.

    Raises:
        UserError: it is no whole number from 0 to 2^32 - 1.
    """
    if seed is None or not float(seed).is_integer() or not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed {seed}: must be a whole number from 0 to {LARGEST_SEED}")
    return int(seed)
