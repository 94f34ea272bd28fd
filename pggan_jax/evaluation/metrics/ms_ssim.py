"""Multi-scale structural similarity of pairs; lower means more variety (spec 5.2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.metric import Metric
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.evaluation.pixels import as_rgb, check_shape
from pggan_jax.images import ImageShape
from pggan_jax.metric_kinds import MetricKind
from pggan_jax.networks.resample import downscale

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_SIDE = 2 ** (len(WEIGHTS) - 1)
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_MIDDLE = 127.5
_PAIRS_AT_ONCE = 32


def scale_weights(height: int, width: int) -> tuple[float, ...]:
    """Return the weight of each scale: of as many as images can be halved to, at most five.

    The weights of fewer scales are those of the finest ones, divided by their sum.
    """
    count = 1
    while count < len(WEIGHTS) and not (height % 2**count or width % 2**count):
        count += 1
    if count == len(WEIGHTS):
        return WEIGHTS
    return tuple(weight / sum(WEIGHTS[:count]) for weight in WEIGHTS[:count])


@jax.jit
def pair_similarities(first: jax.Array, second: jax.Array) -> jax.Array:
    """Compute the MS-SSIM of each pair.

    Args:
        first, second: `[pairs, height, width, channels]` with values 0..255; see `scale_weights`.

    Returns:
        float32 `[pairs]` from 0 to 1.
    """
    # Variances do not depend on the offset; centred values lose fewer digits.
    first, second = first.astype(jnp.float32) - _MIDDLE, second.astype(jnp.float32) - _MIDDLE
    result = jnp.ones(first.shape[0], jnp.float32)
    weights = scale_weights(*first.shape[1:3])
    for scale, weight in enumerate(weights):
        similarity, contrast = _similarity(first, second)
        is_last = scale == len(weights) - 1
        result *= jnp.maximum(similarity if is_last else contrast, 0.0) ** weight
        if not is_last:
            first, second = downscale(first), downscale(second)
    return result


def _similarity(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the mean SSIM and the mean of its contrast-structure factor, `[pairs]` each."""
    blur = _gaussian_filter(min(_WINDOW, *first.shape[1:3]))
    mean1, mean2 = blur(first), blur(second)
    variance1, variance2 = blur(first * first) - mean1 * mean1, blur(second * second) - mean2 * mean2
    covariance = blur(first * second) - mean1 * mean2
    contrast = (2 * covariance + _C2) / (variance1 + variance2 + _C2)
    mean1, mean2 = mean1 + _MIDDLE, mean2 + _MIDDLE
    luminance = (2 * mean1 * mean2 + _C1) / (mean1 * mean1 + mean2 * mean2 + _C1)
    return (luminance * contrast).mean(axis=(1, 2, 3)), contrast.mean(axis=(1, 2, 3))


def _gaussian_filter(size: int):
    """Return a Gaussian filter without padding, with a deviation proportional to `size`."""
    offsets = np.arange(size) - (size - 1) / 2
    taps = np.exp(-np.square(offsets) / (2 * (_SIGMA * size / _WINDOW) ** 2))
    taps = (taps / taps.sum()).astype(np.float32)

    def blur(images: jax.Array) -> jax.Array:
        height, width = images.shape[1] - size + 1, images.shape[2] - size + 1
        rows = sum(tap * images[:, offset : offset + height] for offset, tap in enumerate(taps))
        return sum(tap * rows[:, :, offset : offset + width] for offset, tap in enumerate(taps))

    return blur


class SimilarityCollector:
    """Collects the similarities of the pairs (0, 1), (2, 3) ... of one set of images.

    Args:
        shape: height and width of the images.
        count: number of images, even.

    Raises:
        UserError: the images are too small, or their number is odd or 0.
    """

    def __init__(self, shape: ImageShape, count: int):
        if shape.resolution < SMALLEST_SIDE:
            raise UserError(
                f"ms_ssim needs images of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} for its five scales, not {shape}"
            )
        if count % 2 or not count:
            raise UserError(f"ms_ssim compares pairs: the number of images must be even and above 0, not {count}")
        self._shape, self._count = shape, count
        self._waiting: list[np.ndarray] = []
        self._similarities: list[np.ndarray] = []

    def add(self, images: np.ndarray, first: int) -> None:
        """Add uint8 images `[batch, height, width, 1 or 3]`, in order.

        Raises:
            UserError: the images have another type, height or width.
        """
        del first
        check_shape(as_rgb(images), self._shape)
        self._waiting.extend(images)
        while len(self._waiting) >= 2 * _PAIRS_AT_ONCE:
            self._compare(2 * _PAIRS_AT_ONCE)

    def _compare(self, count: int) -> None:
        """Compare the first waiting images, padded to a fixed number of pairs (one program)."""
        images = np.stack(self._waiting[:count])
        del self._waiting[:count]
        padding = np.repeat(images[-2:][None], _PAIRS_AT_ONCE - count // 2, axis=0).reshape(-1, *images.shape[1:])
        padded = np.concatenate([images, padding])
        self._similarities.append(np.asarray(pair_similarities(padded[::2], padded[1::2]))[: count // 2])

    def finish(self) -> np.ndarray:
        """Return the similarity of every pair, float64 `[count / 2]`.

        Raises:
            UserError: images are missing.
        """
        if self._waiting:
            self._compare(len(self._waiting))
        found = np.concatenate([*self._similarities, np.empty(0)]).astype(np.float64)
        if len(found) != self._count // 2:
            raise UserError(f"ms_ssim expects {self._count:,} images, and {2 * len(found):,} were added")
        return found


def ms_ssim(reals: np.ndarray, fakes: np.ndarray, *, shape: ImageShape) -> MetricResult:
    """Return the mean similarity of the fakes, and of the reals for comparison.

    A higher value than that of the reals means less variety.

    Args:
        reals, fakes: similarities of pairs.
        shape: of the images.
    """
    values = {"ms_ssim": float(fakes.mean()), "reals": float(reals.mean())}
    scales = len(scale_weights(shape.height, shape.width))
    notes: tuple[str, ...] = ()
    if scales < len(WEIGHTS):
        notes = (f"{scales} scales instead of {len(WEIGHTS)}, as images of {shape} cannot be halved more often",)
    return MetricResult(values, {"ms_ssim": _error(fakes), "reals": _error(reals)}, notes)


def _error(values: np.ndarray) -> float:
    return float(values.std() / np.sqrt(len(values)))


METRIC = Metric(
    MetricKind(
        "ms_ssim",
        help="similarity of pairs of generated images, beside that of reals: lower means more variety",
        headline="ms_ssim",
        default_images=20000,
        needs_even_counts=True,
        minimum_resolution=16,
        during_training=True,
    ),
    compute=lambda reals, fakes, context: ms_ssim(reals["pairs"], fakes["pairs"], shape=context.reals.shape),
    collect={"pairs": lambda shape, count, seed: SimilarityCollector(shape, count)},
)
