"""The mel matrix of GANSynth and its approximate inverse.

The published code moves the edges of narrow bands in place, in three views of one array: each change moves the edges of
the next bands too. Models that were trained with it expect this matrix, so it is reproduced here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_BREAK_HZ, _HIGH_Q = 700.0, 1127.0
_LEAST_WIDTH = 1.5
_LEAST_SUM = 1e-8


@lru_cache(maxsize=8)
def mel_matrix(bins: int, mel_bins: int, *, sample_rate: int) -> np.ndarray:
    """Weights float64 [bins, mel_bins]: triangles that are linear in Hz, without normalisation."""
    nyquist = sample_rate / 2
    hz = np.linspace(0.0, nyquist, bins)[1:, None]
    edges = _hz(_moved_edges(mel_bins, nyquist, least_hz=_LEAST_WIDTH * nyquist / bins))
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.minimum((hz - lower) / (centre - lower), (upper - hz) / (upper - centre))
    matrix = np.vstack([np.zeros(mel_bins), np.maximum(0.0, slopes)])
    matrix.flags.writeable = False
    return matrix


@lru_cache(maxsize=8)
def inverse_mel_matrix(bins: int, mel_bins: int, *, sample_rate: int) -> np.ndarray:
    """The transpose with scaled columns, float64 [mel_bins, bins]."""
    matrix = mel_matrix(bins, mel_bins, sample_rate=sample_rate)
    sums = (matrix @ matrix.T).sum(axis=0)
    inverse = matrix.T / np.where(np.abs(sums) > _LEAST_SUM, sums, 1.0)
    inverse.flags.writeable = False
    return inverse


@dataclass(frozen=True)
class MelMap:
    """Multiplication by the two matrices, of which only a few weights per column are not 0."""

    bins: int
    mel_bins: int
    sample_rate: int

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Multiply [..., bins] by the mel matrix: [..., mel_bins]."""
        return _gather(values, _columns(self, inverse=False))

    def backward(self, values: np.ndarray) -> np.ndarray:
        """Multiply [..., mel_bins] by the inverse: [..., bins]."""
        return _gather(values, _columns(self, inverse=True))


@lru_cache(maxsize=16)
def _columns(sizes: MelMap, *, inverse: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and weights of the first, second ... entry of each column, [columns] each.

    Columns with fewer entries have weights 0.
    """
    matrix = (inverse_mel_matrix if inverse else mel_matrix)(sizes.bins, sizes.mel_bins, sample_rate=sizes.sample_rate)
    most = int(np.count_nonzero(matrix, axis=0).max())
    rows = np.argsort(matrix == 0, axis=0, kind="stable")[:most]
    return [(row, np.take_along_axis(matrix, row[None], axis=0)[0]) for row in rows]


def _gather(values: np.ndarray, columns: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return sum((values[..., rows] * weights for rows, weights in columns), start=np.zeros(()))


def _mel(hz: np.ndarray | float) -> np.ndarray:
    return _HIGH_Q * np.log(1.0 + np.asarray(hz) / _BREAK_HZ)


def _hz(mel: np.ndarray | float) -> np.ndarray:
    return _BREAK_HZ * (np.exp(np.asarray(mel) / _HIGH_Q) - 1.0)


def _moved_edges(mel_bins: int, nyquist: float, *, least_hz: float) -> np.ndarray:
    """Edges in mel [mel_bins + 2]; narrow bands are widened one after another, in place."""
    edges = np.linspace(_mel(0.0), _mel(nyquist), mel_bins + 2)
    for band in range(mel_bins):
        lower, centre, upper = _hz(edges[band : band + 3])
        if upper - lower < least_hz:
            ratio = 0.5 * least_hz / (centre + _BREAK_HZ)
            width = _HIGH_Q * np.log(ratio + np.sqrt(1.0 + ratio**2))
            middle = edges[band + 1]
            edges[band], edges[band + 2] = middle - width, middle + width
    return edges
