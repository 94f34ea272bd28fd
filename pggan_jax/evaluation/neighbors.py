"""Does the generator copy? The training images nearest to some fakes, and the memorisation ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.distances import nearest
from pggan_jax.evaluation.measured import Measured
from pggan_jax.images import make_grid

COMPARED_SIDE = 32
"""Larger images are box-shrunk to this side before pixels are compared: a shift by a pixel should not count for much."""
SHOWN, NEIGHBORS = 16, 3


class PixelCollector:
    """Collects one set of images, as they are and as rows of pixels to compare.

    Args:
        count: how many will come.
    """

    def __init__(self, count: int):
        self._count = count
        self._images: list[np.ndarray] = []

    def add(self, images: np.ndarray, first: int) -> None:
        """Take uint8 images `[batch, side, side, channels]`; they must come in order."""
        del first
        self._images.append(np.array(images))

    def finish(self) -> np.ndarray:
        """All images.

        Raises:
            UserError: some are missing.
        """
        images = np.concatenate(self._images) if self._images else np.empty((0, 1, 1, 1), np.uint8)
        if len(images) != self._count:
            raise UserError(f"neighbors was promised {self._count:,} images and was given {len(images):,}")
        return images


def as_rows(images: np.ndarray) -> np.ndarray:
    """float32 `[count, numbers]` such that the distance of two rows is the root mean square difference on 0..255."""
    count, side, _, channels = images.shape
    factor = max(1, side // COMPARED_SIDE)
    small = images.reshape(count, side // factor, factor, side // factor, factor, channels).mean(axis=(2, 4), dtype=np.float32)
    rows = small.reshape(count, -1) - np.float32(127.5)
    return rows / np.float32(np.sqrt(rows.shape[1]))


@dataclass(frozen=True)
class Neighbors:
    """The nearest training images of some images.

    Attributes:
        distances: float64 `[count, k]`, in rising order.
        numbers: int64 `[count, k]`, which training images they are.
    """

    distances: np.ndarray
    numbers: np.ndarray


def find_neighbors(images: np.ndarray, training: np.ndarray, count: int = NEIGHBORS) -> Neighbors:
    """By pixels; `images` and `training` uint8 of one shape."""
    return Neighbors(*nearest(as_rows(images), as_rows(training), min(count, len(training))))


def neighbor_grid(images: np.ndarray, training: np.ndarray, found: Neighbors) -> np.ndarray:
    """One row per image: itself, a gap, and its nearest training images; a picture `[height, width, channels]`."""
    side = images.shape[1]
    gap = np.zeros((len(images), side, max(2, side // 8), images.shape[-1]), np.uint8)
    shown = [images, gap, *(training[numbers] for numbers in found.numbers.T)]
    return make_grid(np.concatenate(shown, axis=2), 1, gap=2)


def neighbors(held_out: np.ndarray, training: np.ndarray, fakes: np.ndarray) -> Measured:
    """`fakes`, `held_out`: mean distance to the nearest training image; `ratio`: of the two. Far below 1, fakes are copies.

    Args:
        held_out: reals that are not among `training`.
        training: what the generator was trained on, or a part of it.
        fakes: as many as there are.
    """
    ours, theirs = (find_neighbors(images, training) for images in (fakes, held_out))
    nearest_fake, nearest_real = ours.distances[:, 0], theirs.distances[:, 0]
    ratio = nearest_fake.mean() / max(nearest_real.mean(), 1e-9)
    relative = [np.std(one) / np.sqrt(len(one)) / max(one.mean(), 1e-9) for one in (nearest_fake, nearest_real)]
    shown = Neighbors(ours.distances[:SHOWN], ours.numbers[:SHOWN])
    return Measured(
        {"ratio": float(ratio), "fakes": float(nearest_fake.mean()), "held_out": float(nearest_real.mean())},
        {"ratio": float(ratio * np.hypot(*relative))},
        pictures={"neighbors": neighbor_grid(fakes[:SHOWN], training, shown)},
    )
