"""Images of a generator by seed and class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import jax
import numpy as np

from pggan_jax.images import to_uint8
from pggan_jax.networks.generator import ImageGenerator
from pggan_jax.networks.normalization import measure_statistics, statistics_inputs, with_statistics

CHUNK_PIXELS = 2**20
"""Pixels generated at once: enough to keep a device busy, few enough for any memory."""
_FIXED_BATCH = {"cpu": 16}
_FIXED_BATCH_OF_ACCELERATORS = 64
"""Images generated at once where an image must not depend on the number of others: an accelerator needs more to be busy."""


def latents_for_seeds(seeds: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
    """Return one latent per seed, `RandomState(seed).randn(size)`: float32 `[seeds, size]`."""
    latents, random = np.empty((len(seeds), size), np.float32), np.random.RandomState(0)
    for row, seed in enumerate(seeds):
        # Ten times as fast as a new generator, which first asks the system for entropy.
        random.seed(seed)
        latents[row] = random.randn(size)
    return latents


def one_hot(classes: Sequence[int] | np.ndarray, label_size: int) -> np.ndarray:
    """Encode class numbers, modulo `label_size`, as one-hot float32 `[count, label_size]`."""
    if not label_size:
        return np.zeros((len(classes), 0), np.float32)
    return np.eye(label_size, dtype=np.float32)[np.asarray(classes, np.int64) % label_size]


class Sampler:
    """A compiled generator at one resolution.

    Args:
        generator: the module.
        class_counts: training images of each class, for `with_statistics`; by default equally many.

    Attributes:
        resolution: nominal resolution of the images.
        shape: their height and width.
        latent_size: length of a latent vector.
        label_size: number of classes, 0 without labels.
        chunk: images generated at once.
        small_batch: images generated at once by `by_seed`, the same for all commands on a machine.
    """

    def __init__(self, generator: ImageGenerator, class_counts: Sequence[int] = ()):
        generator = generator.clone(axis_name=None)
        self.resolution, self.label_size = generator.resolution, generator.label_size
        self.shape = generator.shape_at(generator.resolution)
        self.latent_size, self._channels = generator.latent_size, generator.channels
        self.chunk = max(1, min(256, CHUNK_PIXELS // self.shape.pixels))
        self.small_batch = min(_FIXED_BATCH.get(jax.default_backend(), _FIXED_BATCH_OF_ACCELERATORS), self.chunk)
        self._apply = jax.jit(lambda params, *inputs: generator.apply({"params": params}, *inputs))
        self._class_counts = class_counts if sum(class_counts) else [1] * self.label_size
        self._measure = jax.jit(partial(measure_statistics, generator)) if generator.has_batch_norm else None

    def with_statistics(self, params: Mapping[str, Any], *, alpha: float) -> Mapping[str, Any]:
        """Return parameters with which an image does not depend on the other images of its batch.

        The statistics of batch norm are measured once, on fixed latents and on labels with the frequencies of the data; see
        `statistics_inputs`. Parameters of a generator without batch norm are returned as they are.

        Args:
            params: of the generator, on the host or on one device.
            alpha: weight of its newest layers.
        """
        if self._measure is None:
            return params
        inputs = statistics_inputs(self.latent_size, class_counts=self._class_counts, pixels=self.shape.pixels)
        return with_statistics(params, self._measure(params, *inputs, np.float32(alpha)))

    def compile_for(self, params: Mapping[str, Any]) -> None:
        """Compile the program of `by_seed`.

        Args:
            params: shapes of the generator's parameters, with their sharding.
        """
        if self._measure is not None:
            inputs = statistics_inputs(self.latent_size, class_counts=self._class_counts, pixels=self.shape.pixels)
            placed = partial(jax.ShapeDtypeStruct, sharding=jax.tree.leaves(params)[0].sharding)
            traced = self._measure.lower(params, *inputs, np.float32(1.0))
            statistics = jax.tree.map(lambda leaf: placed(leaf.shape, leaf.dtype), traced.out_info)
            traced.compile()
            params = with_statistics(params, statistics)
        shapes = (self.small_batch, self.latent_size), (self.small_batch, self.label_size), ()
        self._apply.lower(params, *(jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes)).compile()

    def __call__(self, params: Mapping[str, Any], latents: np.ndarray, labels: np.ndarray, alpha: float) -> np.ndarray:
        """Generate images in chunks of a fixed size.

        Args:
            params: the generator's parameters, usually the moving average.
            latents: `[count, latent_size]`.
            labels: one-hot `[count, label_size]`; width 0 without labels.
            alpha: weight of the newest layers.

        Returns:
            uint8 images `[count, height, width, channels]`.
        """
        chunk = min(self.chunk, len(latents))
        return np.concatenate([to_uint8(images) for images in self._batches(params, latents, labels, alpha, chunk=chunk)])

    def floats(self, params: Mapping[str, Any], latents: np.ndarray, labels: np.ndarray, alpha: float) -> np.ndarray:
        """Generate as a call does, without rounding: float32, about [-1, 1], not clipped.

        Args:
            params, latents, labels, alpha: as for a call.
        """
        chunk = min(self.chunk, len(latents))
        return np.concatenate(list(self._batches(params, latents, labels, alpha, chunk=chunk)))

    def by_seed(self, params: Mapping[str, Any], latents: np.ndarray, *, labels: np.ndarray, alpha: float) -> np.ndarray:
        """Generate images in batches of one size.

        An image is the same to the bit, whatever other images are generated with it.

        Args:
            params, latents, labels, alpha: as for a call.
        """
        return np.concatenate(
            [to_uint8(images) for images in self._batches(params, latents, labels, alpha, chunk=self.small_batch)]
        )

    def floats_by_seed(self, params: Mapping[str, Any], latents: np.ndarray, *, labels: np.ndarray, alpha: float) -> np.ndarray:
        """Generate as `by_seed` does, without rounding: float32, about [-1, 1], not clipped.

        Args:
            params, latents, labels, alpha: as for a call.
        """
        return np.concatenate(list(self._batches(params, latents, labels, alpha, chunk=self.small_batch)))

    def _batches(
        self, params: Mapping[str, Any], latents: np.ndarray, labels: np.ndarray, alpha: float, *, chunk: int
    ) -> Iterator[np.ndarray]:
        """Yield float32 images, `chunk` at once; at least one batch, which may be empty."""
        if not len(latents):
            yield np.zeros((0, self.shape.height, self.shape.width, self._channels), np.float32)
        for start in range(0, len(latents), chunk):
            part = latents[start : start + chunk]
            images = self._start(params, part, labels[start : start + chunk], alpha, chunk=chunk)
            yield np.asarray(images)[: len(part)]

    def start_batch(self, params: Mapping[str, Any], latents: np.ndarray, *, labels: np.ndarray, alpha: float) -> jax.Array:
        """Start to generate at most `small_batch` images, as `by_seed` does, without waiting.

        Args:
            params, latents, labels, alpha: as for a call.

        Returns:
            float32 `[small_batch, height, width, channels]`; rows beyond the number of latents are to be ignored.
        """
        return self._start(params, latents, labels, alpha, chunk=self.small_batch)

    def _start(
        self, params: Mapping[str, Any], latents: np.ndarray, labels: np.ndarray, alpha: float, *, chunk: int
    ) -> jax.Array:
        rows = np.arange(chunk).clip(max=len(latents) - 1)
        return self._apply(params, latents[rows], labels[rows], np.float32(alpha))


def float_images_of_seeds(sampler: Sampler, params: Mapping[str, Any], **what: Any) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield as `images_of_seeds` does, but images float32, about [-1, 1] and not clipped.

    Arguments as of `images_of_seeds`.
    """
    for seeds, numbers, images in _batches_of_seeds(sampler, params, **what):
        yield from zip(seeds, numbers, images, strict=True)


def images_of_seeds(sampler: Sampler, params: Mapping[str, Any], **what: Any) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the seed, class and uint8 image `[height, width, channels]` of each seed.

    At most two batches of images are in memory. The next batch is generated while the images of one are used.

    Args:
        sampler: the generator at its resolution.
        params: its parameters, on the host or on devices.
        seeds: of the latents, in any order.
        classes: seeds to their classes.
        alpha: weight of the newest layers.
        psi: factor of the latents.
    """
    for seeds, numbers, images in _batches_of_seeds(sampler, params, **what):
        yield from zip(seeds, numbers, to_uint8(images), strict=True)


def _batches_of_seeds(
    sampler: Sampler,
    params: Mapping[str, Any],
    *,
    seeds: Iterable[int],
    classes: Callable[[Sequence[int]], np.ndarray],
    alpha: float,
    psi: float = 1.0,
) -> Iterator[tuple[list[int], list[int], np.ndarray]]:
    """Yield seeds, classes and float images batch by batch; arguments as of `images_of_seeds`."""
    params, seeds = jax.device_put(params), iter(seeds)
    waiting: tuple[list[int], np.ndarray, jax.Array] | None = None
    while batch := list(islice(seeds, sampler.small_batch)):
        numbers = classes(batch)
        latents, labels = latents_for_seeds(batch, sampler.latent_size), one_hot(numbers, sampler.label_size)
        latents *= np.float32(psi)
        started = sampler.start_batch(params, latents, labels=labels, alpha=alpha)
        if waiting is not None:
            yield _finished(*waiting)
        waiting = batch, numbers, started
    if waiting is not None:
        yield _finished(*waiting)


def _finished(seeds: list[int], numbers: np.ndarray, images: jax.Array) -> tuple[list[int], list[int], np.ndarray]:
    return seeds, list(map(int, numbers)), np.asarray(images)[: len(seeds)]
