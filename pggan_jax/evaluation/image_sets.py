"""Sets of images to be judged: drawn from a data set, made by a generator. Read once, in batches, made ahead by a thread.

Image i of a set depends on its seed and on i alone: neither the size of batches nor the order of metrics changes a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from pggan_jax.data.loader import Loader, Prefetcher, rows_at
from pggan_jax.generation.sampling import Sampler, one_hot

# Draws that belong to evaluation must not meet those of training with the same seed.
_FLIPS, _LATENTS = 0x666C6970, 0x6C617465


@dataclass(frozen=True)
class ImageSet:
    """Images by number.

    Attributes:
        name: what they are, for messages and records.
        count: how many.
        resolution: their side.
        classes: int32 `[count]`, all 0 without labels.
        read: uint8 images `[stop - start, resolution, resolution, channels]` of the numbers start..stop-1.
    """

    name: str
    count: int
    resolution: int
    classes: np.ndarray
    read: Callable[[int, int], np.ndarray]

    def flipped(self) -> ImageSet:
        """The same images, mirrored left to right."""
        return replace(self, read=lambda start, stop: self.read(start, stop)[:, :, ::-1])

    def batches(self, size: int, *, until: int) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the first image, images) of the first `until` images; the last batch may be shorter."""
        spans = [(start, min(start + size, until)) for start in range(0, until, size)]
        with Prefetcher(lambda span: self.read(*span), spans) as ready:
            for (start, _), images in zip(spans, ready, strict=True):
                yield start, images


@dataclass(frozen=True)
class RealPool:
    """The images of a data set at one resolution, in an order that depends on a seed alone.

    Attributes:
        loader: the data.
        resolution: the level.
        seed: of order and flips.
        mirror: flip each with probability 1/2, as training did.
        name: what they are, for messages and records.
    """

    loader: Loader
    resolution: int
    seed: int
    mirror: bool = False
    name: str = "reals"

    def __len__(self) -> int:
        return len(self.loader)

    def draw(self, first: int, count: int) -> ImageSet:
        """`count` images from the place `first` of the order on; no image twice."""
        rows = rows_at(np.arange(first, first + count), seed=self.seed, size=len(self.loader))
        flips = np.random.Philox(key=[self.seed, _FLIPS]).random_raw(len(self.loader))[rows] & 1

        def read(start: int, stop: int) -> np.ndarray:
            images = self.loader.images(self.resolution, rows[start:stop])
            if not self.mirror:
                return images
            return np.where(flips[start:stop, None, None, None] == 1, images[:, :, ::-1], images)

        table = self.loader.class_table()
        classes = table[rows] if len(table) == len(self.loader) else np.zeros(count, np.int32)
        return ImageSet(self.name, count, self.resolution, classes, read)


# Here and not inside `generated`: there every set of images would compile it anew.
@partial(jax.jit, static_argnums=2)
def _draw(key: jax.Array, numbers: jax.Array, latent_size: int) -> jax.Array:
    return jax.vmap(lambda number: jax.random.normal(jax.random.fold_in(key, number), (latent_size,), np.float32))(numbers)


def generated(
    sampler: Sampler,
    params: Mapping[str, Any],
    *,
    latent_size: int,
    label_size: int,
    classes: np.ndarray,
    alpha: float,
    seed: int,
    count: int,
) -> ImageSet:
    """Images of a generator.

    Args:
        sampler: the generator at its resolution.
        params: its weights, usually the moving average.
        latent_size: length of a latent vector.
        label_size: length of a label, 0 without.
        classes: int32, those of the reals; image i gets number i of them, beginning again at the end.
        alpha: weight of the newest layers.
        seed: of the latents.
        count: how many.
    """
    classes = np.resize(classes, count)
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), _LATENTS)

    def read(start: int, stop: int) -> np.ndarray:
        # Whole chunks: a shorter one would be another program, of which roundings may differ.
        numbers = np.arange(start, start + -(-(stop - start) // sampler.chunk) * sampler.chunk)
        labels = one_hot(np.take(classes, numbers, mode="wrap"), label_size)
        return sampler(params, np.asarray(_draw(key, numbers.astype(np.uint32), latent_size)), labels, alpha)[: stop - start]

    return ImageSet("fakes", count, sampler.resolution, classes, read)
