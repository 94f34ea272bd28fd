"""Bins of timbre that differ between two sets of waves: NDB (Richardson, Weiss 2018).

The bins are clusters of the reals; a bin differs if its shares of both sets do by more than chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_BINS, LEAST_PER_BIN = 50, 20
SIGNIFICANCE = 0.05
_STARTS, _SEED = 3, 0


@dataclass(frozen=True)
class BinComparison:
    """Shares of two sets in the bins of one of them.

    Attributes:
        different: number of bins whose shares differ.
        bins: number of bins.
        divergence: Jensen-Shannon divergence of the shares, in nats.
        z: the difference of each bin in standard errors; 0 for a bin that is empty in both sets.
        p: probability of a difference at least as large by chance.
    """

    different: int
    bins: int
    divergence: float
    z: np.ndarray
    p: np.ndarray


def compare_counts(reals: np.ndarray, fakes: np.ndarray) -> BinComparison:
    """Compare the numbers of reals and fakes in each bin, int `[bins]`."""
    from scipy.special import ndtr

    (first, first_total), (second, second_total) = ((np.asarray(one, np.float64), np.sum(one)) for one in (reals, fakes))
    shares, others = first / first_total, second / second_total
    pooled = (first + second) / (first_total + second_total)
    errors = np.sqrt(pooled * (1 - pooled) * (1 / first_total + 1 / second_total))
    z = np.where(errors > 0, (shares - others) / np.where(errors > 0, errors, 1), 0.0)
    p = 2 * ndtr(-np.abs(z))
    mean = (shares + others) / 2
    divergence = (_relative_entropy(shares, mean) + _relative_entropy(others, mean)) / 2
    return BinComparison(int((p < SIGNIFICANCE).sum()), len(z), divergence, z, p)


def _relative_entropy(shares: np.ndarray, reference: np.ndarray) -> float:
    present = shares > 0
    return float((shares[present] * np.log(shares[present] / reference[present])).sum())


class TimbreBins:
    """Bins of the timbres of reals.

    Args:
        timbres: float `[count, ...]`, as `features.timbre` gives them.
    """

    def __init__(self, timbres: np.ndarray):
        from sklearn.cluster import KMeans

        rows = timbres.reshape(len(timbres), -1)
        bins = max(1, min(MOST_BINS, len(rows) // LEAST_PER_BIN, len(np.unique(rows, axis=0))))
        self._means = KMeans(bins, n_init=_STARTS, random_state=_SEED).fit(rows)
        self._counts = np.bincount(self._means.labels_, minlength=bins)

    def compare(self, timbres: np.ndarray) -> BinComparison:
        """Compare the reals with another set."""
        nearest = self._means.predict(timbres.reshape(len(timbres), -1))
        return compare_counts(self._counts, np.bincount(nearest, minlength=len(self._counts)))
