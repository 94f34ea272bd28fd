"""Nearest training images and the memorisation ratio (Karras et al. 2018, figure 10).

Images are compared as rows of numbers: pixels or Inception features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from pggan_jax.evaluation.knn import nearest
from pggan_jax.evaluation.metric import Collected, Metric, MetricContext, collect_rows
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.evaluation.pixels import pixel_rows
from pggan_jax.images import make_grid
from pggan_jax.metric_kinds import MetricKind

SHOWN, NEIGHBORS = 16, 3
MAX_LEFT_OUT = 10000
_ROWS_AT_ONCE = 1024


def scaled_pixel_rows(images: np.ndarray) -> np.ndarray:
    """Return pixels as rows, scaled so that distances are root mean square differences.

    Args:
        images: uint8 `[count, height, width, channels]`; those with a side above 32 are reduced first, so that a shift by one
            pixel changes little.

    Returns:
        float32 `[count, pixels]`.
    """
    rows = pixel_rows(images) - np.float32(127.5)
    return rows / np.float32(np.sqrt(rows.shape[1]))


class TrainingImages:
    """The training images as rows, and the distances of reals from them, computed once.

    Other images are given in views: one array of rows, and a second one of the same images mirrored if training mirrored
    images. The distance of an image is the smaller one of its views.

    Args:
        views: of the training images, float32 `[count, numbers]` each; other images are compared with the first.
        held_out: views of reals that were not trained on, if there are any.
    """

    def __init__(self, views: Sequence[np.ndarray], held_out: Sequence[np.ndarray] | None = None):
        self._views, self._rows, self._held_out = views, views[0], held_out

    def nearest(self, views: Sequence[np.ndarray], *, own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Find the nearest training images.

        Args:
            views: of the images, float32 `[n, numbers]` each.
            own: int `[n]`, the index of each image in the training images if it is one; it is not its own neighbour.

        Returns:
            Distances, float64 `[n, NEIGHBORS]` in rising order, and indices of training images, int64 of the same shape; fewer
            columns if there are fewer training images.
        """
        count = min(NEIGHBORS, len(self._rows) - (own is not None))
        distances, numbers = (
            np.concatenate(parts, axis=1) for parts in zip(*(self._nearest(rows, count, own) for rows in views), strict=True)
        )
        order = np.argsort(distances, axis=1, kind="stable")
        distances, numbers = (np.take_along_axis(one, order, axis=1) for one in (distances, numbers))
        # An image near to both views counts once.
        is_repeated = np.array([[number in row[:column] for column, number in enumerate(row)] for row in numbers.tolist()])
        order = np.argsort(is_repeated, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(numbers, order, axis=1)

    def _nearest(self, rows: np.ndarray, count: int, own: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        _, numbers = nearest(rows, self._rows, count=count, own=own)
        # Recompute the distances directly: by products of long rows, the distance of a copy would not be exactly 0.
        distances = np.empty(numbers.shape)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            distances[part] = np.linalg.norm(rows[part, None] - self._rows[numbers[part]], axis=-1)
        return distances, numbers

    @cached_property
    def leave_one_out(self) -> np.ndarray:
        """Distances of the first `MAX_LEFT_OUT` training images to the nearest other one, float64."""
        own = np.arange(min(len(self._rows), MAX_LEFT_OUT))
        return self.nearest([rows[own] for rows in self._views], own=own)[0][:, 0]

    @cached_property
    def of_held_out(self) -> np.ndarray | None:
        """Distances of held-out images to the nearest training image, float64; None without."""
        return None if self._held_out is None else self.nearest(self._held_out)[0][:, 0]


@dataclass(frozen=True)
class ShownImages:
    """Images for the illustration.

    Attributes:
        name: of the image file and of the list of distances.
        fakes: the first few generated images, uint8 `[few, height, width, channels]`.
        read_training: index to training image, uint8 `[height, width, channels]`.
    """

    name: str
    fakes: np.ndarray
    read_training: Callable[[int], np.ndarray]


def neighbors(training: TrainingImages, fakes: Sequence[np.ndarray], *, shown: ShownImages) -> MetricResult:
    """Compare the distances of fakes from the training images with those of reals (spec 9).

    Args:
        training: the training images.
        fakes: views of the generated images.
        shown: images for the illustration.

    Returns:
        `fakes`: mean distance to the nearest training image; `reals`: mean distance of training images to the nearest other
        one; `held_out`, if there are such images: mean distance of held-out reals; `ratio`: `fakes` over `held_out`, or over
        `reals` without held-out images. A ratio far below 1 means copies.
    """
    distances, numbers = training.nearest(fakes)
    found = {"fakes": distances[:, 0], "reals": training.leave_one_out}
    if training.of_held_out is not None:
        found["held_out"] = training.of_held_out
    ratio, error = _ratio(found["fakes"], found.get("held_out", found["reals"]))
    few = len(shown.fakes)
    listed = [{"fake": fake, "training": numbers[fake].tolist(), "distances": distances[fake].tolist()} for fake in range(few)]
    return MetricResult(
        {"ratio": ratio, **{key: float(one.mean()) for key, one in found.items()}},
        {"ratio": error, **{key: float(one.std() / np.sqrt(len(one))) for key, one in found.items()}},
        _notes(training.of_held_out),
        {shown.name: _illustration(shown, numbers[:few])},
        {shown.name: listed},
    )


def _ratio(fakes: np.ndarray, reals: np.ndarray) -> tuple[float, float]:
    """Return the ratio of the means and its standard error; finite even if all reals are copies."""
    ratio = fakes.mean() / max(reals.mean(), 1e-9)
    relative = [one.std() / np.sqrt(len(one)) / max(one.mean(), 1e-9) for one in (fakes, reals)]
    return float(ratio), float(ratio * np.hypot(*relative))


def _notes(of_held_out: np.ndarray | None) -> tuple[str, ...]:
    copies = 0 if of_held_out is None else int(np.sum(of_held_out == 0))
    if of_held_out is None or not copies:
        return ()
    return (f"{copies:,} of {len(of_held_out):,} held-out images are training images: the ratio is too large",)


def _illustration(shown: ShownImages, numbers: np.ndarray) -> np.ndarray:
    """Return one row per generated image: the image, a gap, and its nearest training images."""
    _, height, width, channels = shown.fakes.shape
    gap = np.zeros((len(shown.fakes), height, max(2, width // 8), channels), np.uint8)
    found = [np.stack([shown.read_training(int(number)) for number in column]) for column in numbers.T]
    return make_grid(np.concatenate([shown.fakes, gap, *found], axis=2), 1, gap=2)


def _compute(
    reals: Collected, fakes: Collected, context: MetricContext, *, name: str, rows_of: Callable[[Collected], Any]
) -> MetricResult:
    """Compute the metric `name` on the rows that `rows_of` takes from the data of a set."""

    def views(collected: Collected) -> list[np.ndarray]:
        return [rows_of(one) for one in (collected, collected.get("flipped")) if one]

    held_out = views(reals["held_out"]) if "held_out" in reals else None
    training = context.once(name, lambda: TrainingImages(views(reals), held_out))
    unflipped = replace(context.reals, mirror=False)
    shown = ShownImages(name, fakes["shown"], lambda number: unflipped.draw(number, 1).read(0, 1)[0])
    return neighbors(training, views(fakes), shown=shown)


_collect_shown = collect_rows(np.copy, at_most=SHOWN)

BY_PIXELS = Metric(
    MetricKind(
        "neighbors",
        help="image of the training images nearest to some generated ones, and the memorisation ratio",
        headline="ratio",
        default_images=1000,
        larger_is_better=True,
        uses_all_reals=True,
        uses_held_out=True,
        has_floor=False,
    ),
    compute=partial(_compute, name="neighbors", rows_of=lambda collected: collected["rows"]),
    collect={"rows": collect_rows(scaled_pixel_rows), "shown": _collect_shown},
)
BY_FEATURES = Metric(
    MetricKind(
        "neighbors_features",
        help="the same by Inception features instead of pixels",
        headline="ratio",
        default_images=1000,
        larger_is_better=True,
        uses_all_reals=True,
        uses_held_out=True,
        has_floor=False,
        needs_inception=True,
    ),
    compute=partial(_compute, name="neighbors_features", rows_of=lambda collected: collected["inception"].features),
    collect={"shown": _collect_shown},
    inception=frozenset({"features"}),
)
