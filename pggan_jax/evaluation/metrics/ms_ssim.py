"""Multi-scale structural similarity of pairs (spec 5.2): how much alike the images of one set are; lower is more varied."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.checks import as_rgb, check_side
from pggan_jax.evaluation.metric_result import Measured

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_SIDE = 2 ** (len(WEIGHTS) - 1)
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_MIDDLE = 127.5
_PAIRS_AT_ONCE = 32


@jax.jit
def pair_similarities(first: jax.Array, second: jax.Array) -> jax.Array:
    """MS-SSIM of each pair.

    Args:
        first, second: `[pairs, side, side, channels]` with values 0..255, side at least 16.

    Returns:
        float32 `[pairs]` from 0 to 1.
    """
    # Variances do not depend on where 0 lies; near the middle of the range fewer digits are lost.
    first, second = first.astype(jnp.float32) - _MIDDLE, second.astype(jnp.float32) - _MIDDLE
    result = jnp.ones(first.shape[0], jnp.float32)
    for scale, weight in enumerate(WEIGHTS):
        similarity, contrast = _similarity(first, second)
        is_last = scale == len(WEIGHTS) - 1
        result *= jnp.maximum(similarity if is_last else contrast, 0.0) ** weight
        if not is_last:
            first, second = _halve(first), _halve(second)
    return result


def _similarity(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Means over pixels and channels of the SSIM map and of its contrast-structure part, `[pairs]` each."""
    blur = _gaussian_filter(min(_WINDOW, *first.shape[1:3]))
    mean1, mean2 = blur(first), blur(second)
    variance1, variance2 = blur(first * first) - mean1 * mean1, blur(second * second) - mean2 * mean2
    covariance = blur(first * second) - mean1 * mean2
    contrast = (2 * covariance + _C2) / (variance1 + variance2 + _C2)
    mean1, mean2 = mean1 + _MIDDLE, mean2 + _MIDDLE
    luminance = (2 * mean1 * mean2 + _C1) / (mean1 * mean1 + mean2 * mean2 + _C1)
    return (luminance * contrast).mean(axis=(1, 2, 3)), contrast.mean(axis=(1, 2, 3))


def _gaussian_filter(size: int):
    """Filter without padding; its width shrinks with its size, and an even size is centred between pixels."""
    offsets = np.arange(size) - (size - 1) / 2
    taps = np.exp(-np.square(offsets) / (2 * (_SIGMA * size / _WINDOW) ** 2))
    taps = (taps / taps.sum()).astype(np.float32)

    def blur(images: jax.Array) -> jax.Array:
        height, width = images.shape[1] - size + 1, images.shape[2] - size + 1
        rows = sum(tap * images[:, offset : offset + height] for offset, tap in enumerate(taps))
        return sum(tap * rows[:, :, offset : offset + width] for offset, tap in enumerate(taps))

    return blur


def _halve(images: jax.Array) -> jax.Array:
    batch, height, width, channels = images.shape
    return images.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


class SimilarityCollector:
    """Collects the similarities of the pairs (0, 1), (2, 3) ... of one set of images.

    Args:
        resolution: side of the images.
        count: how many will come; even, so that none is left over.

    Raises:
        UserError: too small images, or an odd number of them.
    """

    def __init__(self, resolution: int, count: int):
        if resolution < SMALLEST_SIDE:
            raise UserError(
                f"ms_ssim needs images of {SMALLEST_SIDE}x{SMALLEST_SIDE} or more for its five scales, not "
                f"{resolution}x{resolution}"
            )
        if count % 2 or not count:
            raise UserError(f"ms_ssim compares pairs: {count} images are not an even number above 0")
        self._resolution, self._count = resolution, count
        self._waiting: list[np.ndarray] = []
        self._similarities: list[np.ndarray] = []

    def add(self, images: np.ndarray, first: int) -> None:
        """Take uint8 images `[batch, side, side, 1 or 3]`; they must come in order.

        Raises:
            UserError: they are of another type or side.
        """
        del first
        check_side(as_rgb(images), self._resolution)
        self._waiting.extend(images)
        while len(self._waiting) >= 2 * _PAIRS_AT_ONCE:
            self._compare(2 * _PAIRS_AT_ONCE)

    def _compare(self, count: int) -> None:
        """Always as many pairs, the last ones repeated: what is compiled once serves every batch."""
        images = np.stack(self._waiting[:count])
        del self._waiting[:count]
        padding = np.repeat(images[-2:][None], _PAIRS_AT_ONCE - count // 2, axis=0).reshape(-1, *images.shape[1:])
        padded = np.concatenate([images, padding])
        self._similarities.append(np.asarray(pair_similarities(padded[::2], padded[1::2]))[: count // 2])

    def finish(self) -> np.ndarray:
        """The similarity of every pair, float64 `[count / 2]`.

        Raises:
            UserError: images are missing.
        """
        if self._waiting:
            self._compare(len(self._waiting))
        found = np.concatenate([*self._similarities, np.empty(0)]).astype(np.float64)
        if len(found) != self._count // 2:
            raise UserError(f"ms_ssim was promised {self._count:,} images and was given {2 * len(found):,}")
        return found


def ms_ssim(reals: np.ndarray, fakes: np.ndarray) -> Measured:
    """Mean over the pairs of fakes, and of reals for comparison: fakes that are more alike than reals lack variety."""
    values = {"ms_ssim": float(fakes.mean()), "reals": float(reals.mean())}
    errors = {"ms_ssim": _error(fakes), "reals": _error(reals)}
    return Measured(values, errors)


def _error(values: np.ndarray) -> float:
    return float(values.std() / np.sqrt(len(values)))
