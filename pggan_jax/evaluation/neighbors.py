"""Does the generator copy? The training images nearest to some fakes, and the memorisation ratio (Karras et al., figure 10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pggan_jax.evaluation.distances import nearest
from pggan_jax.evaluation.measured import Measured
from pggan_jax.evaluation.pixels import box_shrunk
from pggan_jax.images import make_grid

SHOWN, NEIGHBORS = 16, 3


class Compared(NamedTuple):
    """One set of images, made ready to be compared.

    Attributes:
        rows: float32 `[count, numbers]`: the distance of two is the root mean square difference of pixels on 0..255, after
            large images were shrunk: a shift by a pixel should not count for much.
        shown: the first few as they are, uint8.
    """

    rows: np.ndarray
    shown: np.ndarray


def as_rows(images: np.ndarray) -> np.ndarray:
    """uint8 `[count, side, side, channels]` as `Compared.rows`."""
    rows = box_shrunk(images) - np.float32(127.5)
    return rows / np.float32(np.sqrt(rows.shape[1]))


def neighbors(training: Compared, fakes: Compared, read_training: Callable[[int], np.ndarray]) -> Measured:
    """How far fakes are from the training images, and how far these are from each other.

    Args:
        training: what the generator was trained on.
        fakes: what it makes.
        read_training: gives training image number n, uint8 `[side, side, channels]`, for the picture.

    Returns:
        `fakes`: mean distance to the nearest training image; `reals`: mean distance of training images to the nearest other
        one; `ratio`: of the two. Far below 1, fakes are copies.
    """
    distances, numbers = nearest(fakes.rows, training.rows, min(NEIGHBORS, len(training.rows)))
    of_fakes, of_reals = distances[:, 0], nearest(training.rows, training.rows, 1, is_same_set=True)[0][:, 0]
    ratio = of_fakes.mean() / max(of_reals.mean(), 1e-9)
    relative = [one.std() / np.sqrt(len(one)) / max(one.mean(), 1e-9) for one in (of_fakes, of_reals)]
    return Measured(
        {"ratio": float(ratio), "fakes": float(of_fakes.mean()), "reals": float(of_reals.mean())},
        {"ratio": float(ratio * np.hypot(*relative))},
        pictures={"neighbors": _picture(fakes.shown, numbers[: len(fakes.shown)], read_training)},
    )


def _picture(fakes: np.ndarray, numbers: np.ndarray, read_training: Callable[[int], np.ndarray]) -> np.ndarray:
    """One row per fake: itself, a gap, and its nearest training images."""
    side = fakes.shape[1]
    gap = np.zeros((len(fakes), side, max(2, side // 8), fakes.shape[-1]), np.uint8)
    found = [np.stack([read_training(int(number)) for number in column]) for column in numbers.T]
    return make_grid(np.concatenate([fakes, gap, *found], axis=2), 1, gap=2)
