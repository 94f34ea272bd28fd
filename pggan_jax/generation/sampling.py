"""Images from a generator: latents by seed, conversion to uint8. An image is named by its seed and its class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import jax
import numpy as np

from pggan_jax.images import to_uint8
from pggan_jax.networks.generator import Generator, latent_size

CHUNK_PIXELS = 2**20
"""Pixels generated at once: large enough to keep a device busy, small enough for any memory."""
_SMALL_BATCH = 16
"""Images at once where the result must not depend on how many are asked for."""


def latents_for_seeds(seeds: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
    """One latent vector per seed, float32 `[len(seeds), size]`: the first row of `RandomState(seed).randn`."""
    return np.stack([np.random.RandomState(seed).randn(size) for seed in seeds]).astype(np.float32)


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
        small_batch: the same for `by_seed`.
    """

    def __init__(self, generator: Generator):
        self._generator = generator
        self.resolution = generator.resolution
        self.chunk = max(1, min(256, CHUNK_PIXELS // generator.resolution**2))
        self.small_batch = min(_SMALL_BATCH, self.chunk)
        self._apply = jax.jit(lambda params, *inputs: generator.apply({"params": params}, *inputs))

    def compile_for(self, params: Mapping[str, Any]) -> None:
        """Compile what `by_seed` uses, before there are images.

        Args:
            params: shapes of the generator's parameters, with their place.
        """
        chunk = self.small_batch
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
        batches = self._batches(params, latents, labels, alpha, chunk=min(self.chunk, len(latents)))
        return np.concatenate(list(batches))[: len(latents)]

    def by_seed(self, params: Mapping[str, Any], latents: np.ndarray, labels: np.ndarray, alpha: float) -> np.ndarray:
        """The same in batches of one size: every image is the same to the bit, whatever others are made with it.

        Args:
            params, latents, labels, alpha: as for a call.
        """
        batches = self._batches(params, latents, labels, alpha, chunk=self.small_batch)
        return np.concatenate(list(batches))[: len(latents)]

    def _batches(
        self, params: Mapping[str, Any], latents: np.ndarray, labels: np.ndarray, alpha: float, *, chunk: int
    ) -> Iterator[np.ndarray]:
        for start in range(0, len(latents), chunk):
            rows = np.arange(start, start + chunk).clip(max=len(latents) - 1)
            yield to_uint8(self._apply(params, latents[rows], labels[rows], np.float32(alpha)))


def images_of_seeds(
    sampler: Sampler,
    params: Mapping[str, Any],
    seeds: Iterable[int],
    *,
    classes: Callable[[Sequence[int]], np.ndarray],
    label_size: int,
    latent_size: int,
    alpha: float,
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Seed, class and image of each seed, one after the other; no more than one batch is in memory.

    Args:
        sampler: the generator at its resolution.
        params: its weights, on the host or on devices.
        seeds: in the order wanted.
        classes: gives the classes of some seeds.
        label_size: number of classes, 0 without labels.
        latent_size: length of a latent vector.
        alpha: weight of the newest layers.
    """
    params, seeds = jax.device_put(params), iter(seeds)
    while batch := list(islice(seeds, sampler.small_batch)):
        numbers = classes(batch)
        images = sampler.by_seed(params, latents_for_seeds(batch, latent_size), one_hot(numbers, label_size), alpha)
        yield from zip(batch, map(int, numbers), images, strict=True)
