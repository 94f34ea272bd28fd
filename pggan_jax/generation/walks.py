"""Paths through the latent space: spherical interpolation, walks, closed random loops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_SMALLEST_ANGLE = 1e-6
_KERNEL_SIGMAS = 4
_SMALLEST_BLOCK = 64


def slerp(a: np.ndarray, b: np.ndarray, t: float | np.ndarray) -> np.ndarray:
    """Interpolate between latents on a sphere.

    The angle between them changes at a constant rate. Between latents of equal length the length stays; between others it
    changes smoothly. Below an angle of 1e-6 the interpolation is linear. Opposite latents have no shortest way: it goes
    through a fixed third direction, the same one from either side.

    Args:
        a, b: `[..., size]`.
        t: 0 gives `a`, 1 gives `b`; a number, or an array that broadcasts with `[...]`.

    Returns:
        `[..., size]`, in the type of `a` and `b`.
    """
    first, second = np.asarray(a), np.asarray(b)
    kind = np.result_type(first, second, np.float32)
    first, second, t = first.astype(np.float64), second.astype(np.float64), np.asarray(t, np.float64)[..., None]
    lengths = np.linalg.norm(first, axis=-1, keepdims=True), np.linalg.norm(second, axis=-1, keepdims=True)
    product = lengths[0] * lengths[1]
    cosine = np.sum(first * second, axis=-1, keepdims=True) / np.where(product > 0, product, 1)
    angle = np.where(product > 0, np.arccos(np.clip(cosine, -1, 1)), 0)
    sine = np.sin(angle)
    is_opposite = (sine < _SMALLEST_ANGLE) & (angle > 1)
    is_linear = angle < _SMALLEST_ANGLE
    divisor = np.where(is_opposite | is_linear, 1, sine)
    along = (np.sin((1 - t) * angle) * first + np.sin(t * angle) * second) / divisor
    straight = (1 - t) * first + t * second
    length = (1 - t) * lengths[0] + t * lengths[1]
    start = first / np.where(lengths[0] > 0, lengths[0], 1)
    around = length * (np.cos(np.pi * t) * start + np.sin(np.pi * t) * _perpendicular(start))
    return np.where(is_linear, straight, np.where(is_opposite, around, along)).astype(kind)


def _perpendicular(unit: np.ndarray) -> np.ndarray:
    """A unit vector at a right angle to `unit`, the same for `-unit`."""
    axis = np.eye(unit.shape[-1])[np.argmin(np.abs(unit), axis=-1)]
    rest = axis - np.sum(axis * unit, axis=-1, keepdims=True) * unit
    norm = np.linalg.norm(rest, axis=-1, keepdims=True)
    return rest / np.where(norm > 0, norm, 1)


@dataclass(frozen=True)
class Walk:
    """A way through a list of latents at equal times, spherical between neighbours.

    Attributes:
        latents: `[stations, latent_size]`.
        labels: `[stations, label_size]`, interpolated linearly.
        frames: 2 or more.
        closed: go back to the first station; the frame after the last is the first.
    """

    latents: np.ndarray
    labels: np.ndarray
    frames: int
    closed: bool = False

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield latent `[latent_size]` and label `[label_size]` of each frame."""
        stations = len(self.latents)
        for frame in range(self.frames):
            way = frame * stations / self.frames if self.closed else frame * (stations - 1) / (self.frames - 1)
            here = min(int(way), stations - 1)
            there, t = (here + 1) % stations, way - here
            label = (1 - t) * self.labels[here] + t * self.labels[there]
            yield slerp(self.latents[here], self.latents[there], t), label


@dataclass(frozen=True)
class Loop:
    """Closed random loops (spec 7.1).

    They are noise, filtered by a Gaussian along the frames, which wrap around. The frame after the last is the first. Any part
    of a loop can be made alone, so that memory does not grow with its length.

    Attributes:
        frames: of the loop.
        count: loops at once.
        size: length of a latent.
        sigma: of the Gaussian, in frames. A loop of fewer than about 4 sigma hardly moves.
        seed: of the noise.
    """

    frames: int
    count: int
    size: int
    sigma: float
    seed: int

    def latents(self, start: int, number: int) -> np.ndarray:
        """Return some latents in order, float32 `[number, count, size]`.

        Over the whole loop, their root mean square is 1.

        Args:
            start: the first frame, modulo `frames`.
            number: of frames.
        """
        return (self._filtered(start, number) / self._root_mean_square).astype(np.float32)

    def from_frame(self, start: int) -> Iterator[np.ndarray]:
        """Yield the latents of each frame, `[count, size]`, once around."""
        for done in range(0, self.frames, self._block):
            yield from self.latents(start + done, min(self._block, self.frames - done))

    def noise(self, frame: int) -> np.ndarray:
        """Return the noise of one frame before it is filtered: N(0, 1), `[count, size]`."""
        return np.random.default_rng([self.seed, frame % self.frames]).standard_normal((self.count, self.size))

    @property
    def _reach(self) -> int:
        """Frames to each side that the Gaussian takes in."""
        return int(_KERNEL_SIGMAS * self.sigma + 0.5)

    @property
    def _block(self) -> int:
        return max(_SMALLEST_BLOCK, 2 * self._reach)

    @cached_property
    def _root_mean_square(self) -> float:
        squares = 0.0
        for start in range(0, self.frames, self._block):
            squares += float(np.square(self._filtered(start, min(self._block, self.frames - start))).sum())
        return float(np.sqrt(squares / (self.frames * self.count * self.size)))

    def _filtered(self, start: int, number: int) -> np.ndarray:
        reach = self._reach
        noise = np.stack([self.noise(start + frame).ravel() for frame in range(-reach, number + reach)])
        weights = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / self.sigma))
        weights /= weights.sum()
        band = np.zeros((number, number + 2 * reach))
        for row in range(number):
            band[row, row : row + len(weights)] = weights
        return (band @ noise).reshape(number, self.count, self.size)
