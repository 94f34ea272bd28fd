"""Frechet distance of two sets of features, as if each were normal (Heusel et al. 2017; docs/metrics.md). float64, host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.measured import Measured

_PARTS = 10


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features.

    Attributes:
        mean: float64 `[size]`.
        covariance: float64 `[size, size]`, divided by count - 1.
        count: images; 0 if a foreign file does not tell.
        fingerprint: of weights and resizing; empty if a foreign file does not tell.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int = 0
    fingerprint: str = ""

    @classmethod
    def of(cls, features: np.ndarray, fingerprint: str = "") -> Moments:
        """Of features `[count, size]`, at least two."""
        features = features.astype(np.float64)
        return cls(features.mean(axis=0), np.cov(features, rowvar=False), len(features), fingerprint)


class MomentsCollector:
    """Adds features up as they come, for sets that do not fit in memory.

    Sums are taken about the first batch's mean: squares of numbers far from 0 would lose the digits that matter.
    """

    def __init__(self) -> None:
        self._count = 0

    def add(self, features: np.ndarray) -> None:
        """Take features `[batch, size]`."""
        features = features.astype(np.float64)
        if not self._count:
            size = features.shape[1]
            self._centre, self._sum, self._products = features.mean(axis=0), np.zeros(size), np.zeros((size, size))
        features = features - self._centre
        self._count += len(features)
        self._sum += features.sum(axis=0)
        self._products += features.T @ features

    def finish(self, fingerprint: str = "") -> Moments:
        """Of everything that came, at least two."""
        shift = self._sum / self._count
        covariance = (self._products - self._count * np.outer(shift, shift)) / (self._count - 1)
        return Moments(self._centre + shift, covariance, self._count, fingerprint)


def frechet_distance(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), the last as the sum of singular values of S1^(1/2) S2^(1/2).

    Raises:
        UserError: the two are of different networks or ways of resizing.
    """
    if first.fingerprint and second.fingerprint and first.fingerprint != second.fingerprint:
        raise UserError(
            f"features of {first.fingerprint!r} and of {second.fingerprint!r} do not compare: use the same weights and --resize"
        )
    overlap = np.linalg.svd(_root(first.covariance).T @ _root(second.covariance), compute_uv=False).sum()
    return _distance(first, second, overlap)


def frechet_distance_of_features(first: np.ndarray, second: np.ndarray) -> float:
    """The same of features `[count, size]`: faster, and exact, where there are fewer images than features."""
    if max(len(first), len(second)) >= first.shape[1]:
        return frechet_distance(Moments.of(first), Moments.of(second))
    centred = [features.astype(np.float64) - features.mean(axis=0, dtype=np.float64) for features in (first, second)]
    scale = np.sqrt((len(first) - 1) * (len(second) - 1))
    overlap = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum() / scale
    traces = [np.square(part).sum() / (len(part) - 1) for part in centred]
    shift = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    return _not_negative(shift @ shift + sum(traces) - 2 * overlap, sum(traces))


def _distance(first: Moments, second: Moments, overlap: float) -> float:
    shift, traces = first.mean - second.mean, np.trace(first.covariance) + np.trace(second.covariance)
    return _not_negative(shift @ shift + traces - 2 * overlap, traces)


def _not_negative(distance: float, scale: float) -> float:
    """Rounding may leave a little less than 0; much less would be a mistake."""
    if distance < -1e-3 * scale:
        raise ValueError(f"a Frechet distance of {distance} cannot be")
    return float(max(distance, 0.0))


def _root(covariance: np.ndarray) -> np.ndarray:
    """L with L L^T = covariance, without the directions in which there is nothing but rounding."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * values.max(initial=0.0)
    return vectors[:, kept] * np.sqrt(values[kept])


def fid(reals: np.ndarray, fakes: np.ndarray) -> Measured:
    """Of features; the uncertainty is a jackknife over ten parts of the fakes."""
    value = frechet_distance_of_features(reals, fakes)
    notes = ()
    if min(len(reals), len(fakes)) < reals.shape[1]:
        notes = (f"with fewer images than the {reals.shape[1]} features the value is strongly biased upwards",)
    if len(fakes) < 2 * _PARTS:
        return Measured({"fid": value}, notes=notes)
    parts = np.arange(len(fakes)) % _PARTS
    without = [frechet_distance_of_features(reals, fakes[parts != part]) for part in range(_PARTS)]
    error = np.sqrt((_PARTS - 1) * np.var(without))
    return Measured({"fid": value}, {"fid": float(error)}, notes)


def write_moments(path: Path, moments: Moments) -> None:
    """Save as .npz with the names `mu` and `sigma` that other programs use, and our own beside them."""
    with path.open("wb") as file:
        np.savez(file, mu=moments.mean, sigma=moments.covariance, count=moments.count, fingerprint=moments.fingerprint)


def read_moments(path: Path) -> Moments:
    """Read what `write_moments` or another program has saved; theirs tell neither count nor network.

    Raises:
        UserError: not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            known = {name: archive[name] for name in archive.files}
        mean, covariance = known["mu"].astype(np.float64), known["sigma"].astype(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: is no file of feature statistics with mu and sigma ({error})") from None
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UserError(f"{path}: mu {mean.shape} and sigma {covariance.shape} do not fit each other")
    return Moments(mean, covariance, int(known.get("count", 0)), str(known.get("fingerprint", "")))
