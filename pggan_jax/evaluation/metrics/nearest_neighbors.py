"""Does the generator copy? The training images nearest to some fakes, and the memorisation ratio (Karras et al., figure 10).

Images are rows of numbers here, pixels or features: what is near depends on them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from pggan_jax.evaluation.knn import nearest
from pggan_jax.evaluation.metric_result import Measured
from pggan_jax.evaluation.pixels import box_shrunk
from pggan_jax.images import make_grid

SHOWN, NEIGHBORS = 16, 3
LEFT_OUT_AT_MOST = 10000
_ROWS_AT_ONCE = 1024


def as_rows(images: np.ndarray) -> np.ndarray:
    """Pixels as rows, float32 `[count, numbers]`, of uint8 images `[count, side, side, channels]`.

    The distance of two is the root mean square difference of pixels on 0..255, after large images were shrunk: a shift by a
    pixel should not count for much.
    """
    rows = box_shrunk(images) - np.float32(127.5)
    return rows / np.float32(np.sqrt(rows.shape[1]))


class Training:
    """What a generator was trained on, and how far reals lie from it, which is measured once for all sets of fakes.

    Other images come in views: one array of rows, and another one of the same images mirrored if training saw those, too. An
    image is as near as the nearer of its views.

    Args:
        views: of the training images, float32 `[count, numbers]` each; the first is what others are compared with.
        held_out: views of reals that were not trained on, if there are any.
    """

    def __init__(self, views: Sequence[np.ndarray], held_out: Sequence[np.ndarray] | None = None):
        self._views, self._rows, self._held_out = views, views[0], held_out

    def nearest(self, views: Sequence[np.ndarray], *, own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The nearest few training images to each of some others.

        Args:
            views: of these, float32 `[n, numbers]` each.
            own: which training images they are, int `[n]`, if they are some: none is its own neighbour.

        Returns:
            Distances, float64 `[n, NEIGHBORS]` in rising order, and their numbers, int64 of the same shape. Where there are
            fewer training images, fewer.
        """
        count = min(NEIGHBORS, len(self._rows) - (own is not None))
        distances, numbers = (
            np.concatenate(parts, axis=1) for parts in zip(*(self._nearest(rows, count, own) for rows in views), strict=True)
        )
        order = np.argsort(distances, axis=1, kind="stable")
        distances, numbers = (np.take_along_axis(one, order, axis=1) for one in (distances, numbers))
        # What is near to both views counts once.
        is_again = np.array([[number in row[:place] for place, number in enumerate(row)] for row in numbers.tolist()])
        order = np.argsort(is_again, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(numbers, order, axis=1)

    def _nearest(self, rows: np.ndarray, count: int, own: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        _, numbers = nearest(rows, self._rows, count, own=own)
        # Once more for the few that were found: products of long rows leave a copy at a distance that is not 0.
        distances = np.empty(numbers.shape)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            distances[part] = np.linalg.norm(rows[part, None] - self._rows[numbers[part]], axis=-1)
        return distances, numbers

    @cached_property
    def of_own(self) -> np.ndarray:
        """Distances of training images to the nearest other one, float64: of the first `LEFT_OUT_AT_MOST`."""
        own = np.arange(min(len(self._rows), LEFT_OUT_AT_MOST))
        return self.nearest([rows[own] for rows in self._views], own=own)[0][:, 0]

    @cached_property
    def of_held_out(self) -> np.ndarray | None:
        """Distance of each held-out image to the nearest training image, float64; None without held-out images."""
        return None if self._held_out is None else self.nearest(self._held_out)[0][:, 0]


def neighbors(
    training: Training,
    fakes: Sequence[np.ndarray],
    shown: np.ndarray,
    read_training: Callable[[int], np.ndarray],
    *,
    name: str,
) -> Measured:
    """How far fakes are from the training images, against how far reals are (spec 9).

    Args:
        training: what the generator was trained on.
        fakes: views of what it makes.
        shown: the first few fakes themselves, uint8 `[few, side, side, channels]`.
        read_training: gives training image number n, uint8 `[side, side, channels]`, for the picture.
        name: of the picture, and of the list of the distances in it.

    Returns:
        `fakes`: mean distance to the nearest training image; `reals`: mean distance of training images to the nearest other
        one; `held_out`, if there are such images: that of reals that were not trained on; `ratio`: of fakes to held-out reals,
        without them to training images. Far below 1, fakes are copies.
    """
    distances, numbers = training.nearest(fakes)
    found = {"fakes": distances[:, 0], "reals": training.of_own}
    if training.of_held_out is not None:
        found["held_out"] = training.of_held_out
    ratio, error = _ratio(found["fakes"], found.get("held_out", found["reals"]))
    listed = [
        {"fake": fake, "training": numbers[fake].tolist(), "distances": distances[fake].tolist()} for fake in range(len(shown))
    ]
    return Measured(
        {"ratio": ratio, **{key: float(one.mean()) for key, one in found.items()}},
        {"ratio": error, **{key: float(one.std() / np.sqrt(len(one))) for key, one in found.items()}},
        _notes(training.of_held_out),
        {name: _picture(shown, numbers[: len(shown)], read_training)},
        {name: listed},
    )


def _ratio(fakes: np.ndarray, reals: np.ndarray) -> tuple[float, float]:
    """Of the means, and its standard error. Finite even if all reals are copies."""
    ratio = fakes.mean() / max(reals.mean(), 1e-9)
    relative = [one.std() / np.sqrt(len(one)) / max(one.mean(), 1e-9) for one in (fakes, reals)]
    return float(ratio), float(ratio * np.hypot(*relative))


def _notes(of_held_out: np.ndarray | None) -> tuple[str, ...]:
    if of_held_out is None:
        return ()
    copies = int(np.sum(of_held_out == 0))
    if not copies:
        return ()
    return (f"{copies:,} of {len(of_held_out):,} held-out images are training images: the ratio is larger than it should be",)


def _picture(fakes: np.ndarray, numbers: np.ndarray, read_training: Callable[[int], np.ndarray]) -> np.ndarray:
    """One row per fake: itself, a gap, and its nearest training images."""
    side = fakes.shape[1]
    gap = np.zeros((len(fakes), side, max(2, side // 8), fakes.shape[-1]), np.uint8)
    found = [np.stack([read_training(int(number)) for number in column]) for column in numbers.T]
    return make_grid(np.concatenate([fakes, gap, *found], axis=2), 1, gap=2)
