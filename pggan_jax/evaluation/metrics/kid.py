"""Kernel distance: unbiased squared MMD of features with the kernel (x.y / size + 1)^3 (Binkowski et al. 2018). float64, host.

All that is wanted of two sets, the mean over random subsets, one estimate from everything, the jackknife, are MMDs of parts of
them. Kernels are computed once, block by block, and added up for all parts at the same time: memory does not grow with the
square of the images. Parts are rows of a matrix of 0 and 1, `[parts, count]`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pggan_jax.evaluation.metric_result import Measured

SUBSETS, SUBSET_SIZE = 100, 1000
_JACKKNIFE_PARTS = 20
_BLOCK = 2048


def mmd(first: np.ndarray, second: np.ndarray) -> float:
    """Of all features `[count, size]`, whose counts may differ; may be a little below 0."""
    everything = [np.ones((1, len(points))) for points in (first, second)]
    owns = [_own_mean(points, parts) for points, parts in zip((first, second), everything, strict=True)]
    return float((sum(owns) - 2 * _cross_mean(first, second, *everything))[0])


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    products = first @ second.T
    products /= first.shape[1]
    products += 1.0
    # Not `**3`, which is computed like any other power, twelve times slower.
    cubes = products * products
    cubes *= products
    return cubes


def _own_mean(points: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Mean kernel of two different points of each part, float64 `[parts]`."""
    sums = np.zeros(len(parts))
    for rows in _blocks(points):
        first = points[rows].astype(np.float64)
        for columns in _blocks(points):
            if columns.start < rows.start:
                continue
            kernel = _kernel(first, first if columns == rows else points[columns].astype(np.float64))
            if columns == rows:
                np.fill_diagonal(kernel, 0.0)
            # What is off the diagonal stands for its mirror image, too.
            sums += (1 if columns == rows else 2) * _summed(kernel, parts[:, rows], parts[:, columns])
    sizes = parts.sum(axis=1)
    return sums / (sizes * (sizes - 1))


def _cross_mean(first: np.ndarray, second: np.ndarray, of_first: np.ndarray, of_second: np.ndarray) -> np.ndarray:
    """Mean kernel of a point of each part of one set and a point of the same part of the other, float64 `[parts]`."""
    sums = np.zeros(len(of_first))
    for rows in _blocks(first):
        points = first[rows].astype(np.float64)
        for columns in _blocks(second):
            kernel = _kernel(points, second[columns].astype(np.float64))
            sums += _summed(kernel, of_first[:, rows], of_second[:, columns])
    return sums / (of_first.sum(axis=1) * of_second.sum(axis=1))


def _blocks(points: np.ndarray) -> list[slice]:
    return [slice(start, min(start + _BLOCK, len(points))) for start in range(0, len(points), _BLOCK)]


def _summed(kernel: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The kernel's sum over each part's rows and columns."""
    return np.einsum("pc,pc->p", rows @ kernel, columns)


def _parts(choices: list[np.ndarray], count: int) -> np.ndarray:
    parts = np.zeros((len(choices), count))
    for part, choice in zip(parts, choices, strict=True):
        part[choice] = 1
    return parts


class KernelDistance:
    """Compares features of fakes with those of reals, and remembers what it has computed of the last reals alone.

    Args:
        with_uncertainty: otherwise `kid` and `spread` alone, by what is cheaper.
    """

    def __init__(self, *, with_uncertainty: bool = True):
        self._with_uncertainty = with_uncertainty
        self._known: tuple[np.ndarray, tuple[int, int], np.ndarray] | None = None

    def __call__(self, reals: np.ndarray, fakes: np.ndarray, seed: int) -> Measured:
        """`kid`: mean over 100 random subsets of 1,000; `spread`: standard deviation over subsets, which is what others print;
        `full`: one estimate from all images.

        The uncertainty of `full` is a jackknife over parts of both sets. That of `kid` has the choice of subsets besides, which
        are independent of each other for given images.

        Args:
            reals, fakes: float32 `[count, size]`, 16 or more.
            seed: of the subsets.
        """
        size, random = min(SUBSET_SIZE, len(reals), len(fakes)), np.random.RandomState(seed)
        pairs = [tuple(random.choice(len(points), size, replace=False) for points in (reals, fakes)) for _ in range(SUBSETS)]
        notes = (f"subsets of {size}, as there are no more images",) if size < SUBSET_SIZE else ()
        if not self._with_uncertainty:
            draws = self._of_subsets(reals, fakes, seed, pairs)
            return Measured({"kid": float(draws.mean()), "spread": float(draws.std())}, notes=notes)
        count = min(_JACKKNIFE_PARTS, len(reals), len(fakes))
        choices = []
        for side, points in enumerate((reals, fakes)):
            part = np.arange(len(points)) % count
            left_out = [np.flatnonzero(part != number) for number in range(count)]
            choices.append([*(pair[side] for pair in pairs), *left_out, np.arange(len(points))])
        found = self._mmds(reals, fakes, seed, *choices)
        draws, without, full = found[:SUBSETS], found[SUBSETS:-1], float(found[-1])
        error, spread = float(np.sqrt((count - 1) * np.var(without))), float(draws.std())
        values = {"kid": float(draws.mean()), "spread": spread, "full": full}
        return Measured(values, {"kid": float(np.hypot(error, spread / np.sqrt(len(draws)))), "full": error}, notes)

    def _of_subsets(self, reals: np.ndarray, fakes: np.ndarray, seed: int, pairs: list[tuple[np.ndarray, ...]]) -> np.ndarray:
        """Each by itself where that is less than the kernels of everything."""
        if len(pairs) * len(pairs[0][0]) ** 2 < len(reals) * len(fakes):
            return np.array([mmd(reals[ours], fakes[theirs]) for ours, theirs in pairs])
        return self._mmds(reals, fakes, seed, *map(list, zip(*pairs, strict=True)))

    def _mmds(
        self, reals: np.ndarray, fakes: np.ndarray, seed: int, of_reals: list[np.ndarray], of_fakes: list[np.ndarray]
    ) -> np.ndarray:
        ours, theirs = _parts(of_reals, len(reals)), _parts(of_fakes, len(fakes))
        own = self._remembered(reals, (seed, len(fakes)), lambda: _own_mean(reals, ours))
        return own + _own_mean(fakes, theirs) - 2 * _cross_mean(reals, fakes, ours, theirs)

    def _remembered(self, reals: np.ndarray, drawn_by: tuple[int, int], compute: Callable[[], np.ndarray]) -> np.ndarray:
        if self._known is None or self._known[0] is not reals or self._known[1] != drawn_by:
            self._known = reals, drawn_by, compute()
        return self._known[2]
