"""Pictures from a generator: latents by seed, fixed grids, conversion to uint8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from pggan_jax.images import to_uint8
from pggan_jax.networks.generator import Generator, latent_size

CHUNK_PIXELS = 2**20
"""Pixels generated at once: large enough to keep a device busy, small enough for any memory."""


def latents_for_seeds(seeds: Sequence[int], size: int) -> np.ndarray:
    """One latent vector per seed, float32 `[len(seeds), size]`: the first row of `RandomState(seed).randn`."""
    return np.stack([np.random.RandomState(seed).randn(size) for seed in seeds]).astype(np.float32)


def latents_for_grid(seed: int, count: int, size: int) -> np.ndarray:
    """`count` latent vectors from one stream, float32 `[count, size]`."""
    return np.random.RandomState(seed).randn(count, size).astype(np.float32)


def one_hot(classes: Sequence[int] | np.ndarray, label_size: int) -> np.ndarray:
    """Class numbers, modulo the number of classes, to float32 `[count, label_size]`; empty rows without classes."""
    if not label_size:
        return np.zeros((len(classes), 0), np.float32)
    return np.eye(label_size, dtype=np.float32)[np.asarray(classes, np.int64) % label_size]


class Sampler:
    """A compiled generator at one resolution.

    Args:
        generator: the module.

    Attributes:
        resolution: side of its images.
        chunk: images generated at once.
    """

    def __init__(self, generator: Generator):
        self._generator = generator
        self.resolution = generator.resolution
        self.chunk = max(1, min(256, CHUNK_PIXELS // generator.resolution**2))
        self._apply = jax.jit(lambda params, *inputs: generator.apply({"params": params}, *inputs))

    def compile_for(self, params: Mapping[str, Any], count: int) -> None:
        """Compile what pictures are made with, before there are any.

        Args:
            params: shapes of the generator's parameters, with their place.
            count: of pictures that will be made in one call.
        """
        chunk = min(self.chunk, count)
        shapes = (chunk, latent_size(self._generator.config)), (chunk, self._generator.label_size), ()
        self._apply.lower(params, *(jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes)).compile()

    def __call__(self, params: Mapping[str, Any], latents: np.ndarray, labels: np.ndarray, alpha: float) -> np.ndarray:
        """Generate images in chunks of one fixed size.

        Args:
            params: the generator's, usually its moving average.
            latents: `[count, latent_size]`.
            labels: one-hot `[count, label_size]`; width 0 without labels.
            alpha: weight of the newest layers.

        Returns:
            uint8 images `[count, resolution, resolution, channels]`.
        """
        count, chunk = len(latents), min(self.chunk, len(latents))
        images = []
        for start in range(0, count, chunk):
            rows = np.arange(start, start + chunk).clip(max=count - 1)
            images.append(to_uint8(self._apply(params, latents[rows], labels[rows], np.float32(alpha))))
        return np.concatenate(images)[:count]
