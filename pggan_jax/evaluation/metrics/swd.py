"""Sliced Wasserstein distance of patches on a Laplacian pyramid (spec 5.1, Karras et al. section 5).

Patches of all images are needed at once, normalised together. A set keeps the smaller of its images and its patches, and gives
one level's patches at a time; projections are made for a few directions at a time. So 16,384 images of 128x128 take about
5 GB for both sets where all descriptors would take 9.8 GB.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from tqdm import tqdm

from pggan_jax.errors import UserError
from pggan_jax.evaluation.checks import as_rgb, check_side
from pggan_jax.evaluation.metric_result import Measured
from pggan_jax.evaluation.metrics.laplacian_pyramid import last_level_of, level_of

PATCHES_PER_IMAGE = 128
DIRECTIONS = 512
"""4 repeats of 128 in the official code, whose mean is that of all 512."""
SCALE = 1e3
_BATCH = 64
_DIRECTIONS_AT_ONCE = 64
_QUARTERS, _DIRECTIONS_OF_QUARTERS = 4, 16


class PatchCollector:
    """Collects the patches of one set of images.

    Args:
        resolution: side of the images, a power of two.
        count: how many images will come.
        seed: of the patches' places: those of image i depend on the seed, the level and i alone.
        patch: side of a patch.
        coarsest: side of the smallest level.

    Raises:
        UserError: the images are too small.
    """

    def __init__(self, resolution: int, count: int, seed: int, *, patch: int = 7, coarsest: int = 16):
        if resolution < coarsest or resolution & (resolution - 1):
            raise UserError(
                f"swd needs images of 2^k x 2^k pixels, {coarsest}x{coarsest} or more, not {resolution}x{resolution}"
            )
        self.sides = [resolution >> level for level in range((resolution // coarsest).bit_length())]
        self.count, self._patch, self._key = count, patch, _key(seed)
        patch_bytes = len(self.sides) * PATCHES_PER_IMAGE * 3 * patch * patch * 4
        self._keeps_images = 3 * resolution**2 <= patch_bytes
        if self._keeps_images:
            self._images: np.ndarray | None = None
        else:
            self._patches = {side: self._room() for side in self.sides}
        self._seen = np.zeros(count, bool)

    def _room(self) -> np.ndarray:
        return np.empty((self.count, PATCHES_PER_IMAGE, 3, self._patch, self._patch), np.float32)

    def add(self, images: np.ndarray, first: int) -> None:
        """Take uint8 images `[batch, side, side, 1 or 3]` with the numbers first, first+1 ...

        Raises:
            UserError: they are of another type or side.
        """
        as_rgb(images)
        check_side(images, self.sides[0])
        numbers = slice(first, first + len(images))
        self._seen[numbers] = True
        if not self._keeps_images:
            for side in self.sides:
                self._cut(images, first, side, self._patches[side][numbers])
            return
        if self._images is None:
            self._images = np.empty((self.count, *images.shape[1:]), np.uint8)
        self._images[numbers] = images

    def finish(self) -> PatchCollector:
        """Itself, once all images have come.

        Raises:
            UserError: some are missing.
        """
        if not self._seen.all():
            raise UserError(f"swd was promised {self.count:,} images and was given {self._seen.sum():,}")
        return self

    def normalized(self, side: int) -> np.ndarray:
        """The patches of one level, float32 `[count * 128, 147]`: mean 0 and standard deviation 1 in each colour channel."""
        return _standardize(self._level(side).reshape(self.count * PATCHES_PER_IMAGE, -1))

    def _level(self, side: int) -> np.ndarray:
        if not self._keeps_images:
            return self._patches[side].copy()
        patches = self._room()
        for first in range(0, self.count, _BATCH):
            numbers = slice(first, first + _BATCH)
            assert self._images is not None, "patches are cut once all images have come"
            self._cut(self._images[numbers], first, side, patches[numbers])
        return patches

    def _cut(self, images: np.ndarray, first: int, side: int, out: np.ndarray) -> None:
        """Patches of a few images at one level, into `out` `[batch, 128, 3, patch, patch]`."""
        for start in range(0, len(images), _BATCH):
            part = images[start : start + _BATCH]
            numbers = np.arange(first + start, first + start + _BATCH, dtype=np.uint32)
            padded = np.concatenate([part, np.repeat(part[-1:], _BATCH - len(part), axis=0)])
            level = np.asarray((last_level_of if side == self.sides[-1] else level_of)(padded, side))
            corners = np.asarray(_corners(numbers, self._key, side, side - self._patch + 1))
            windows = sliding_window_view(level, (self._patch, self._patch), axis=(1, 2))
            rows = np.arange(len(part))[:, None]
            cut = windows[rows, corners[: len(part), :, 0], corners[: len(part), :, 1]]
            # A grey image has one channel here, which stands for three equal ones.
            out[start : start + len(part)] = cut


def _key(seed: int) -> jax.Array:
    """Of any seed from 0 on: JAX itself takes 32 bits of one, and inside a compiled function only 31."""
    high, low = divmod(seed, 2**32)
    key = jax.random.key(low, impl="threefry2x32")
    return jax.random.fold_in(key, high) if high else key


@jax.jit
def _corners(numbers: jax.Array, key: jax.Array, side: int, places: int) -> jax.Array:
    """Upper left corners of each image's patches, int32 `[batch, 128, 2]`: every place where a patch fits is as likely."""
    key = jax.random.fold_in(key, side)
    draw = lambda number: jax.random.randint(jax.random.fold_in(key, number), (PATCHES_PER_IMAGE, 2), 0, places, jnp.int32)  # noqa: E731
    return jax.vmap(draw)(numbers)


def _standardize(patches: np.ndarray) -> np.ndarray:
    """Rows of three colours, float32 `[count, 3 * size]`, in place: mean 0 and standard deviation 1 of each colour."""
    by_colour = patches.reshape(len(patches), 3, -1)
    for colour in range(3):
        ours = by_colour[:, colour]
        mean = ours.mean(dtype=np.float64)
        # Part by part: a float64 copy of everything would be twice as large.
        variance = np.mean([np.square(part - mean, dtype=np.float64).mean() for part in _halves(ours)])
        ours -= np.float32(mean)
        ours *= np.float32(1 / np.sqrt(variance)) if variance > 0 else np.float32(0)
    return patches


def _halves(values: np.ndarray) -> list[np.ndarray]:
    """Parts of equal size, small enough for a float64 copy each."""
    parts = max(1, len(values) // 2**14)
    while len(values) % parts:
        parts -= 1
    return np.split(values, parts)


def random_directions(seed: int, side: int, size: int, count: int = DIRECTIONS) -> np.ndarray:
    """Unit vectors for one level, float32 `[count, size]`."""
    normal = np.random.RandomState([seed, side]).standard_normal((count, size))
    return (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32)


def sliced_distances(
    first: np.ndarray, second: np.ndarray, directions: np.ndarray, advance: Callable[[], object] = lambda: None
) -> np.ndarray:
    """Wasserstein-1 distance of two sets of points along each direction.

    Args:
        first, second: float32 `[points, size]`, equally many points.
        directions: float32 `[directions, size]`.
        advance: called after every few directions.

    Returns:
        float64 `[directions]`: mean absolute difference of the sorted projections.
    """
    if len(first) != len(second):
        raise ValueError(f"sets of {len(first):,} and {len(second):,} points cannot be compared: they must be equally large")
    found = []
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(directions), _DIRECTIONS_AT_ONCE):
            part = directions[start : start + _DIRECTIONS_AT_ONCE]
            is_on_host = jax.default_backend() == "cpu"
            found.append(
                _distances_on_host(first, second, part, pool) if is_on_host else _distances_on_device(first, second, part)
            )
            advance()
    return np.concatenate([np.asarray(part, np.float64) for part in found])


def _distances_on_host(first: np.ndarray, second: np.ndarray, directions: np.ndarray, pool: ThreadPoolExecutor) -> np.ndarray:
    """NumPy sorts contiguous rows many times faster than XLA does on a CPU, and several threads at once."""
    projected = [directions @ points.T for points in (first, second)]

    def distance(row: int) -> float:
        for projections in projected:
            projections[row].sort()
        difference = projected[0][row] - projected[1][row]
        return float(np.abs(difference, out=difference).mean(dtype=np.float64))

    return np.array(list(pool.map(distance, range(len(directions)))))


@jax.jit
def _distances_on_device(first: jax.Array, second: jax.Array, directions: jax.Array) -> jax.Array:
    project = partial(jnp.matmul, precision="highest")
    ours, theirs = (jnp.sort(project(directions, points.T)) for points in (first, second))
    return jnp.abs(ours - theirs).mean(axis=1)


def _error_over_images(first: np.ndarray, second: np.ndarray, directions: np.ndarray) -> float:
    """Standard error of the mean distance over images: half the deviation of the distances of quarters of both sets."""
    images = len(first) // PATCHES_PER_IMAGE
    bounds = PATCHES_PER_IMAGE * (np.arange(_QUARTERS + 1) * images // _QUARTERS)
    size = np.diff(bounds).min()
    parts = [slice(start, start + size) for start in bounds[:-1]]
    quarters = [[_standardize(points[part].copy()) for points in (first, second)] for part in parts]
    distances = [sliced_distances(ours, theirs, directions).mean() for ours, theirs in quarters]
    return float(np.std(distances) / np.sqrt(_QUARTERS))


def swd(reals: PatchCollector, fakes: PatchCollector, seed: int, show_progress: bool = False) -> Measured:
    """The distance at each level, x1e3, by the level's side, and their `average`.

    Uncertainties are standard errors over the random directions, and over images by quarters of both sets.
    """
    values, uncertainty = {}, {}
    total = len(reals.sides) * -(-DIRECTIONS // _DIRECTIONS_AT_ONCE)
    hidden = None if show_progress else True
    with tqdm(total=total, desc="comparing patches", delay=2, leave=False, disable=hidden) as bar:
        for side in reals.sides:
            ours, theirs = reals.normalized(side), fakes.normalized(side)
            directions = random_directions(seed, side, ours.shape[1])
            distances = SCALE * sliced_distances(ours, theirs, directions, bar.update)
            values[str(side)] = float(distances.mean())
            of_directions = distances.std() / np.sqrt(len(distances))
            of_images = SCALE * _error_over_images(ours, theirs, directions[:_DIRECTIONS_OF_QUARTERS])
            uncertainty[str(side)] = float(np.hypot(of_directions, of_images))
    average = float(np.mean(list(values.values())))
    error = float(np.sqrt(np.sum(np.square(list(uncertainty.values())))) / len(uncertainty))
    return Measured({"average": average, **values}, {"average": error, **uncertainty})
