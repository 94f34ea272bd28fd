"""Sliced Wasserstein distance of patches (spec 5.1, Karras et al. 2018, section 5).

The patches of all images are normalised together, so all of them are needed at once. To save memory, a collector keeps either
the images or their patches, whichever is smaller, and gives the patches of one level at a time; projections are computed for a
few directions at a time. 16,384 images of 128x128 take about 5 GB for both sets instead of 9.8 GB for all descriptors.
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
from pggan_jax.evaluation.metric import Metric
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.evaluation.pixels import as_rgb, check_shape
from pggan_jax.images import ImageShape
from pggan_jax.metric_kinds import MetricKind
from pggan_jax.networks.laplacian_pyramid import last_level_of, level_of

PATCHES_PER_IMAGE = 128
DIRECTIONS = 512  # 4 repeats of 128 in the official code, whose mean is that of all 512
SCALE = 1e3
_BATCH = 64
_DIRECTIONS_AT_ONCE = 64
_QUARTERS, _DIRECTIONS_OF_QUARTERS = 4, 16


class PatchCollector:
    """Collects the patches of one set of images.

    Args:
        shape: of the images; its nominal resolution is a power of two.
        count: number of images.
        seed: of the corners of the patches: those of image i depend on the seed, the level and i only.
        patch: side of a patch.
        coarsest: nominal resolution of the smallest level.

    Raises:
        UserError: the images are too small, or their resolution is not a power of two.
    """

    def __init__(self, shape: ImageShape, count: int, *, seed: int, patch: int = 7, coarsest: int = 16):
        resolution = shape.resolution
        if resolution < coarsest or resolution & (resolution - 1):
            raise UserError(f"swd needs images of 2^k x 2^k pixels, at least {coarsest}x{coarsest}, not {shape}")
        halvings = range((resolution // coarsest).bit_length())
        self.levels = [ImageShape(resolution >> n, shape.height >> n, shape.width >> n) for n in halvings]
        self.count, self._patch, self._key = count, patch, random_key(seed)
        self.channels = 3
        patch_bytes = len(self.levels) * PATCHES_PER_IMAGE * 3 * patch * patch * 4
        self._keeps_images = 3 * shape.pixels <= patch_bytes
        self._images: np.ndarray | None = None
        self._patches: dict[ImageShape, np.ndarray] = {}
        self._is_added = np.zeros(count, bool)

    def _new_patches(self) -> np.ndarray:
        return np.empty((self.count, PATCHES_PER_IMAGE, self.channels, self._patch, self._patch), np.float32)

    def add(self, images: np.ndarray, first: int) -> None:
        """Add uint8 images `[batch, height, width, 1, 2 or 3]` with the numbers first, first+1 ...

        Raises:
            UserError: the images have another type, height or width.
        """
        self.channels = 2 if images.shape[-1] == 2 else as_rgb(images).shape[-1]  # two of sound
        check_shape(images, self.levels[0])
        numbers = slice(first, first + len(images))
        self._is_added[numbers] = True
        if not self._keeps_images:
            self._patches = self._patches or {level: self._new_patches() for level in self.levels}
            for level in self.levels:
                self._cut(images, first, level, self._patches[level][numbers])
            return
        if self._images is None:
            self._images = np.empty((self.count, *images.shape[1:]), np.uint8)
        self._images[numbers] = images

    def finish(self) -> PatchCollector:
        """Return itself once all images have been added.

        Raises:
            UserError: images are missing.
        """
        if not self._is_added.all():
            raise UserError(f"swd expects {self.count:,} images, and {self._is_added.sum():,} were added")
        return self

    def normalized(self, level: ImageShape) -> np.ndarray:
        """Return the patches of a level, normalised per channel, float32 `[count * 128, size]`."""
        return _standardize(self._of_level(level).reshape(self.count * PATCHES_PER_IMAGE, -1), self.channels)

    def _of_level(self, level: ImageShape) -> np.ndarray:
        if not self._keeps_images:
            return self._patches[level].copy()
        patches = self._new_patches()
        for first in range(0, self.count, _BATCH):
            numbers = slice(first, first + _BATCH)
            assert self._images is not None, "called after finish()"
            self._cut(self._images[numbers], first, level, patches[numbers])
        return patches

    def _cut(self, images: np.ndarray, first: int, level: ImageShape, out: np.ndarray) -> None:
        """Write patches of images at one level to `out` `[batch, 128, channels, patch, patch]`."""
        for start in range(0, len(images), _BATCH):
            part = images[start : start + _BATCH]
            numbers = np.arange(first + start, first + start + _BATCH, dtype=np.uint32)
            padded = np.concatenate([part, np.repeat(part[-1:], _BATCH - len(part), axis=0)])
            pixels = np.asarray((last_level_of if level == self.levels[-1] else level_of)(padded, level.height))
            positions = np.array([level.height - self._patch + 1, level.width - self._patch + 1], np.int32)
            corners = np.asarray(patch_corners(numbers, self._key, resolution=level.resolution, positions=positions))
            windows = sliding_window_view(pixels, (self._patch, self._patch), axis=(1, 2))
            rows = np.arange(len(part))[:, None]
            cut = windows[rows, corners[: len(part), :, 0], corners[: len(part), :, 1]]
            out[start : start + len(part)] = cut  # the one channel of a grey image is broadcast to three


def random_key(seed: int) -> jax.Array:
    """Return a key for any seed >= 0.

    JAX itself takes 32 bits of a seed, and only 31 inside a compiled function.
    """
    high, low = divmod(seed, 2**32)
    key = jax.random.key(low, impl="threefry2x32")
    return jax.random.fold_in(key, high) if high else key


@jax.jit
def patch_corners(numbers: jax.Array, key: jax.Array, *, resolution: int, positions: np.ndarray) -> jax.Array:
    """Draw the corners of each image's patches, int32 `[batch, 128, 2]` below `positions`."""
    key = jax.random.fold_in(key, resolution)
    draw = lambda number: jax.random.randint(  # noqa: E731
        jax.random.fold_in(key, number), (PATCHES_PER_IMAGE, 2), 0, positions, jnp.int32
    )
    return jax.vmap(draw)(numbers)


def _standardize(patches: np.ndarray, channels: int = 3) -> np.ndarray:
    """Normalise the channels of `[count, channels * size]` to mean 0, deviation 1, in place."""
    by_channel = patches.reshape(len(patches), channels, -1)
    for channel in range(channels):
        own = by_channel[:, channel]
        mean = own.mean(dtype=np.float64)
        # Block by block: a float64 copy of everything would take twice the memory.
        variance = np.mean([np.square(block - mean, dtype=np.float64).mean() for block in _equal_blocks(own)])
        own -= np.float32(mean)
        own *= np.float32(1 / np.sqrt(variance)) if variance > 0 else np.float32(0)
    return patches


def _equal_blocks(values: np.ndarray) -> list[np.ndarray]:
    """Split into blocks of equal size, small enough for a float64 copy of each."""
    blocks = max(1, len(values) // 2**14)
    while len(values) % blocks:
        blocks -= 1
    return np.split(values, blocks)


def random_directions(seed: int, resolution: int, *, size: int, count: int = DIRECTIONS) -> np.ndarray:
    """Draw unit vectors for the level of a nominal resolution, float32 `[count, size]`."""
    normal = np.random.RandomState([seed, resolution]).standard_normal((count, size))
    return (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32)


def sliced_distances(
    first: np.ndarray, second: np.ndarray, *, directions: np.ndarray, advance: Callable[[], object] = lambda: None
) -> np.ndarray:
    """Compute the Wasserstein-1 distance of two sets of points along each direction.

    Args:
        first, second: float32 `[points, size]`, equally many points.
        directions: float32 `[directions, size]`.
        advance: called after every few directions.

    Returns:
        float64 `[directions]`: mean absolute difference of the sorted projections.

    Raises:
        ValueError: the sets have different numbers of points.
    """
    if len(first) != len(second):
        raise ValueError(f"the sets have {len(first):,} and {len(second):,} points; the numbers must be equal")
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
    """Compute the distances with NumPy, which sorts many times faster than XLA on a CPU."""
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
    sorted_first, sorted_second = (jnp.sort(project(directions, points.T)) for points in (first, second))
    return jnp.abs(sorted_first - sorted_second).mean(axis=1)


def _error_over_images(first: np.ndarray, second: np.ndarray, directions: np.ndarray, *, channels: int = 3) -> float:
    """Return the standard error over images, from the distances of quarters of both sets."""
    images = len(first) // PATCHES_PER_IMAGE
    bounds = PATCHES_PER_IMAGE * (np.arange(_QUARTERS + 1) * images // _QUARTERS)
    size = np.diff(bounds).min()
    parts = [slice(start, start + size) for start in bounds[:-1]]
    quarters = [[_standardize(points[part].copy(), channels) for points in (first, second)] for part in parts]
    distances = [sliced_distances(*pair, directions=directions).mean() for pair in quarters]
    return float(np.std(distances) / np.sqrt(_QUARTERS))


def swd(reals: PatchCollector, fakes: PatchCollector, *, seed: int, show_progress: bool = False) -> MetricResult:
    """Compute the distance at each level, times 1e3.

    Args:
        reals, fakes: patches of equally many images.
        seed: of the directions.
        show_progress: show a progress bar.

    Returns:
        The distances by the size of the level, such as 16 or 12x16, and their mean `average`. Uncertainties are standard errors
        over the random directions, and over images by quarters of both sets.
    """
    values, uncertainty = {}, {}
    total = len(reals.levels) * -(-DIRECTIONS // _DIRECTIONS_AT_ONCE)
    hidden = None if show_progress else True
    with tqdm(total=total, desc="comparing patches", delay=2, leave=False, disable=hidden) as bar:
        for level in reals.levels:
            pair = reals.normalized(level), fakes.normalized(level)
            directions = random_directions(seed, level.resolution, size=pair[0].shape[1])
            distances = SCALE * sliced_distances(*pair, directions=directions, advance=bar.update)
            values[level.label] = float(distances.mean())
            of_directions = distances.std() / np.sqrt(len(distances))
            of_images = SCALE * _error_over_images(*pair, directions[:_DIRECTIONS_OF_QUARTERS], channels=reals.channels)
            uncertainty[level.label] = float(np.hypot(of_directions, of_images))
    average = float(np.mean(list(values.values())))
    error = float(np.sqrt(np.sum(np.square(list(uncertainty.values())))) / len(uncertainty))
    return MetricResult({"average": average, **values}, {"average": error, **uncertainty})


def _metric(kind: MetricKind, collect: Callable[[ImageShape, int, int], PatchCollector]) -> Metric:
    return Metric(
        kind,
        compute=lambda reals, fakes, context: swd(
            reals["patches"], fakes["patches"], seed=context.seed, show_progress=context.show_progress
        ),
        collect={"patches": collect},
    )


SWD = _metric(
    MetricKind(
        "swd",
        help="sliced Wasserstein distance of patches on a Laplacian pyramid, x1e3",
        headline="average",
        also_on_sound=True,
        default_images=16384,
        minimum_resolution=16,
        coarsest=16,
        patch=7,
        needs_equal_counts=True,
        during_training=True,
    ),
    lambda shape, count, seed: PatchCollector(shape, count, seed=seed),
)
SWD_SMALL = _metric(
    MetricKind(
        "swd_small",
        help="the same with 3x3 patches, for images of 4x4 and 8x8",
        headline="average",
        also_on_sound=True,
        default_images=16384,
        coarsest=8,
        patch=3,
        needs_equal_counts=True,
        during_training=True,
    ),
    lambda shape, count, seed: PatchCollector(shape, count, seed=seed, patch=3, coarsest=min(shape.resolution, 8)),
)
