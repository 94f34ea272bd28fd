"""Kernel Inception distance (Binkowski et al. 2018).

Unbiased squared MMD with the kernel (x.y / size + 1)^3, in float64 on the host. All values (the mean over random subsets, the
estimate from all images, the jackknife) are MMDs of subsets of two sets. Kernels are computed once, block by block, and summed
for all subsets at the same time, so memory does not grow with the square of the number of images. Subsets are rows of a matrix
of 0 and 1, `[subsets, count]`.
"""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.metric import Metric, MetricContext
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.metric_kinds import MetricKind

SUBSETS, SUBSET_SIZE = 100, 1000
_JACKKNIFE_GROUPS = 20
_BLOCK = 2048


def mmd(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the squared MMD of features `[count, size]`; unbiased, so possibly negative."""
    subsets = [np.ones((1, len(points))) for points in (first, second)]
    own = [_own_mean(points, whole) for points, whole in zip((first, second), subsets, strict=True)]
    return float((sum(own) - 2 * _cross_mean(first, second, *subsets))[0])


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    products = first @ second.T
    products /= first.shape[1]
    products += 1.0
    # Twelve times faster than `products**3`.
    cubes = products * products
    cubes *= products
    return cubes


def _own_mean(points: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """Return the mean kernel of two different points of each subset, float64 `[subsets]`."""
    sums = np.zeros(len(subsets))
    for rows in _blocks(points):
        first = points[rows].astype(np.float64)
        for columns in _blocks(points):
            if columns.start < rows.start:
                continue
            kernel = _kernel(first, first if columns == rows else points[columns].astype(np.float64))
            if columns == rows:
                np.fill_diagonal(kernel, 0.0)
            # The kernel is symmetric: blocks off the diagonal count twice.
            sums += (1 if columns == rows else 2) * _sums(kernel, subsets[:, rows], subsets[:, columns])
    sizes = subsets.sum(axis=1)
    return sums / (sizes * (sizes - 1))


def _cross_mean(first: np.ndarray, second: np.ndarray, of_first: np.ndarray, of_second: np.ndarray) -> np.ndarray:
    """Return the mean kernel over pairs from subset i of both sets, float64 `[subsets]`."""
    sums = np.zeros(len(of_first))
    for rows in _blocks(first):
        points = first[rows].astype(np.float64)
        for columns in _blocks(second):
            kernel = _kernel(points, second[columns].astype(np.float64))
            sums += _sums(kernel, of_first[:, rows], of_second[:, columns])
    return sums / (of_first.sum(axis=1) * of_second.sum(axis=1))


def _blocks(points: np.ndarray) -> list[slice]:
    return [slice(start, min(start + _BLOCK, len(points))) for start in range(0, len(points), _BLOCK)]


def _sums(kernel: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the sum of the kernel over the rows and columns of each subset."""
    return np.einsum("pc,pc->p", rows @ kernel, columns)


def _indicators(choices: list[np.ndarray], count: int) -> np.ndarray:
    subsets = np.zeros((len(choices), count))
    for subset, choice in zip(subsets, choices, strict=True):
        subset[choice] = 1
    return subsets


class KernelDistance:
    """Compares features of fakes with those of reals; the mean kernel of the reals is kept.

    Args:
        with_uncertainty: otherwise only `kid` and `spread` are computed, in the cheaper way.
    """

    def __init__(self, *, with_uncertainty: bool = True):
        self._with_uncertainty = with_uncertainty
        self._kept: tuple[np.ndarray, tuple[int, int], np.ndarray] | None = None

    def __call__(self, reals: np.ndarray, fakes: np.ndarray, *, seed: int) -> MetricResult:
        """Compute the distance.

        Args:
            reals, fakes: float32 `[count, size]`, at least 16 each.
            seed: of the subsets.

        Returns:
            `kid`: mean over 100 random subsets of 1,000; `spread`: standard deviation over the subsets, which is what other
            programs print; `full`: one estimate from all images. The uncertainty of `full` is a jackknife over groups of both
            sets; that of `kid` also contains the choice of the subsets, which are independent given the images.
        """
        size, random = min(SUBSET_SIZE, len(reals), len(fakes)), np.random.RandomState(seed)
        pairs = [tuple(random.choice(len(points), size, replace=False) for points in (reals, fakes)) for _ in range(SUBSETS)]
        notes = (f"subsets of {size} images, as there are no more",) if size < SUBSET_SIZE else ()
        if not self._with_uncertainty:
            draws = self._of_subsets(reals, fakes, seed=seed, pairs=pairs)
            return MetricResult({"kid": float(draws.mean()), "spread": float(draws.std())}, notes=notes)
        count = min(_JACKKNIFE_GROUPS, len(reals), len(fakes))
        choices = []
        for side, points in enumerate((reals, fakes)):
            group = np.arange(len(points)) % count
            without = [np.flatnonzero(group != number) for number in range(count)]
            choices.append([*(pair[side] for pair in pairs), *without, np.arange(len(points))])
        found = self._mmds(reals, fakes, seed=seed, choices=choices)
        draws, jackknife, full = found[:SUBSETS], found[SUBSETS:-1], float(found[-1])
        error, spread = float(np.sqrt((count - 1) * np.var(jackknife))), float(draws.std())
        values = {"kid": float(draws.mean()), "spread": spread, "full": full}
        return MetricResult(values, {"kid": float(np.hypot(error, spread / np.sqrt(len(draws)))), "full": error}, notes)

    def _of_subsets(
        self, reals: np.ndarray, fakes: np.ndarray, *, seed: int, pairs: list[tuple[np.ndarray, ...]]
    ) -> np.ndarray:
        """Compute the MMD of each pair of subsets; one by one if that needs fewer kernels."""
        if len(pairs) * len(pairs[0][0]) ** 2 < len(reals) * len(fakes):
            return np.array([mmd(reals[of_reals], fakes[of_fakes]) for of_reals, of_fakes in pairs])
        return self._mmds(reals, fakes, seed=seed, choices=list(map(list, zip(*pairs, strict=True))))

    def _mmds(self, reals: np.ndarray, fakes: np.ndarray, *, seed: int, choices: list[list[np.ndarray]]) -> np.ndarray:
        of_reals, of_fakes = _indicators(choices[0], len(reals)), _indicators(choices[1], len(fakes))
        key = seed, len(fakes)  # the subsets of the reals depend on these
        if self._kept is None or self._kept[0] is not reals or self._kept[1] != key:
            self._kept = reals, key, _own_mean(reals, of_reals)
        return self._kept[2] + _own_mean(fakes, of_fakes) - 2 * _cross_mean(reals, fakes, of_reals, of_fakes)


def _distance(context: MetricContext) -> KernelDistance:
    return context.once("kid", lambda: KernelDistance(with_uncertainty=context.with_uncertainty))


METRIC = Metric(
    MetricKind(
        "kid",
        help="kernel distance of Inception features",
        headline="kid",
        counterpart="fid_sound",
        default_images=50000,
        max_reals=200000,
        needs_inception=True,
        during_training=True,
    ),
    compute=lambda reals, fakes, context: _distance(context)(
        reals["inception"].features, fakes["inception"].features, seed=context.seed
    ),
    inception=frozenset({"features"}),
)
