"""Paths through the latent space: spherical interpolation, walks, closed random loops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from pggan_jax.errors import UserError

_SMALLEST_ANGLE = 1e-6
_KERNEL_SIGMAS = 4
_SMALLEST_BLOCK = 64
_MOST_NUMBERS = 2**27
"""Of noise in memory, 4 bytes each: 0.5 GB."""
_FEW_NUMBERS = 2**24
"""A loop of so many is held as a whole."""
_NUMBERS_OF_FFT = 2**20


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
    along = np.sin((1 - t) * angle) / divisor * first + np.sin(t * angle) / divisor * second
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
    """A path through some latents, its stations, in equal times; spherical between neighbours.

    Every station is exactly one frame, so the times between stations may differ by a frame.

    Attributes:
        latents: `[stations, latent_size]`.
        labels: `[stations, label_size]`, interpolated linearly.
        frames: 2 or more, and no fewer than stations.
        closed: go back to the first station; the frame after the last is the first.
    """

    latents: np.ndarray
    labels: np.ndarray
    frames: int
    closed: bool = False

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield latent `[latent_size]` and label `[label_size]` of each frame."""
        stations = len(self.latents)
        for station, (start, stop) in enumerate(pairwise(self._station_frames)):
            following = (station + 1) % stations
            for frame in range(start, min(stop, self.frames)):
                t = (frame - start) / max(1, stop - start)
                label = (1 - t) * self.labels[station] + t * self.labels[following]
                yield slerp(self.latents[station], self.latents[following], t), label

    @property
    def _station_frames(self) -> list[int]:
        """Frame of each station, and the end of the last segment."""
        stations = len(self.latents)
        if self.closed:
            return [round(station * self.frames / stations) for station in range(stations + 1)]
        return [*(round(station * (self.frames - 1) / (stations - 1)) for station in range(stations)), self.frames]


@dataclass(frozen=True)
class Loop:
    """Closed random loops (spec 7.1).

    They are noise, filtered by a Gaussian along the frames, which wrap around. The frame after the last is the first. A long
    loop is made in blocks of frames: memory grows with sigma and with the number of loops, up to 0.6 GB.

    Attributes:
        frames: of the loop.
        count: loops at once.
        size: length of a latent.
        sigma: of the Gaussian, in frames. A loop of fewer than about 4 sigma hardly moves.
        seed: of the noise.

    Raises:
        UserError: the loops need more memory.
    """

    frames: int
    count: int
    size: int
    sigma: float
    seed: int

    def __post_init__(self) -> None:
        if not self._is_held and self._block < max(1, self._reach // 8):
            raise UserError(
                f"smoothing over {self.sigma:,.4g} of {self.frames:,} frames, of {self.count:,} loops of {self.size} numbers, "
                f"needs more than {_MOST_NUMBERS * 4 / 1e9:.1f} GB; choose less --smooth, fewer loops in --grid, "
                "or fewer frames by --fps or --seconds"
            )

    def latents(self, start: int, number: int) -> np.ndarray:
        """Return some latents in order, float32 `[number, count, size]`.

        Over the whole loop, their root mean square is 1.

        Args:
            start: the first frame, modulo `frames`.
            number: of frames.
        """
        latents = self._filtered(start, number) / self._root_mean_square
        return latents.reshape(number, self.count, self.size)

    def from_frame(self, start: int) -> Iterator[np.ndarray]:
        """Yield the latents of each frame, `[count, size]`, once around."""
        scale = self._root_mean_square
        for block in self._blocks(start):
            yield from ((row / scale).reshape(self.count, self.size) for row in block)
            # Before the next one is made.
            del block

    def noise(self, frame: int) -> np.ndarray:
        """Return the noise of one frame before it is filtered: N(0, 1), `[count, size]`."""
        return np.random.default_rng([self.seed, frame % self.frames]).standard_normal((self.count, self.size))

    @property
    def _reach(self) -> int:
        """Frames to each side that the Gaussian takes in."""
        return int(_KERNEL_SIGMAS * self.sigma + 0.5)

    @property
    def _is_held(self) -> bool:
        """Whether the whole loop is in memory: it is small, or a block would need as much."""
        numbers = self.frames * self.count * self.size
        return numbers <= _FEW_NUMBERS or (self.frames <= 4 * self._reach and numbers <= _MOST_NUMBERS)

    @property
    def _block(self) -> int:
        """Frames that are filtered at once; their noise has `_reach` frames more to each side."""
        if self._is_held:
            return min(self.frames, _SMALLEST_BLOCK)
        return min(max(_SMALLEST_BLOCK, 2 * self._reach), _MOST_NUMBERS // (self.count * self.size) - 2 * self._reach)

    def _blocks(self, start: int) -> Iterator[np.ndarray]:
        """Yield the filtered noise once around, `[frames of the block, count * size]`."""
        for done in range(0, self.frames, self._block):
            yield self._filtered(start + done, min(self._block, self.frames - done))

    @cached_property
    def _root_mean_square(self) -> np.float32:
        squares = sum(map(_sum_of_squares, self._blocks(0)))
        return np.float32(np.sqrt(squares / (self.frames * self.count * self.size)))

    @cached_property
    def _whole(self) -> np.ndarray:
        noise = self._noise_of(0, self.frames)
        self._filter(noise)
        return noise

    def _filtered(self, start: int, number: int) -> np.ndarray:
        """Return filtered noise, float32 `[number, count * size]`."""
        if self._is_held:
            return self._whole.take(range(start, start + number), axis=0, mode="wrap")
        noise = self._noise_of(start - self._reach, number + 2 * self._reach)
        self._filter(noise)
        return noise[self._reach : self._reach + number]

    def _noise_of(self, start: int, number: int) -> np.ndarray:
        rows = np.empty((number, self.count * self.size), np.float32)
        for row in range(number):
            rows[row] = self.noise(start + row).ravel()
        return rows

    def _filter(self, rows: np.ndarray) -> None:
        """Filter `[frames, numbers]` in place; the frames wrap around."""
        length, offsets = len(rows), np.arange(-self._reach, self._reach + 1)
        weights = np.exp(-0.5 * np.square(offsets / self.sigma))
        response = np.fft.rfft(np.bincount(offsets % length, weights / weights.sum(), minlength=length))[:, None]
        columns = max(1, _NUMBERS_OF_FFT // length)
        for first in range(0, rows.shape[1], columns):
            part = rows[:, first : first + columns]
            part[:] = np.fft.irfft(np.fft.rfft(part.astype(np.float64), axis=0) * response, n=length, axis=0)


def _sum_of_squares(values: np.ndarray) -> float:
    return sum(float(np.square(row.astype(np.float64)).sum()) for row in values)
