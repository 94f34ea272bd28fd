"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

Are fakes where reals are, and reals where fakes are? A set's manifold is made of balls about its points, each as large as the
distance to its k-th neighbour.
"""

from __future__ import annotations

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.knn import count_within, nearest
from pggan_jax.evaluation.metric_result import Measured

NEIGHBORS_PR, NEIGHBORS_DC = 3, 5


def precision_recall(reals: np.ndarray, fakes: np.ndarray) -> Measured:
    """`precision`: share of fakes inside some ball of the reals; `recall`: share of reals inside some ball of the fakes;
    `density`: how many balls of the reals a fake lies in, over k; `coverage`: share of reals with a fake in their ball.

    k is 3 for the first two and 5 for the others. Uncertainties are those of a share of so many images.

    Raises:
        UserError: too few images to have so many neighbours.
    """
    fewest = NEIGHBORS_DC + 1
    if min(len(reals), len(fakes)) < fewest:
        raise UserError(f"precision_recall needs {fewest} images or more on each side, not {min(len(reals), len(fakes))}")
    of_reals = nearest(reals, reals, NEIGHBORS_DC, own=np.arange(len(reals)))[0]
    of_fakes = nearest(fakes, fakes, NEIGHBORS_PR, own=np.arange(len(fakes)))[0]
    wide = of_reals[:, NEIGHBORS_DC - 1]
    in_wide = count_within(fakes, reals, wide)
    shares: dict[str, np.ndarray] = {
        "precision": count_within(fakes, reals, of_reals[:, NEIGHBORS_PR - 1]) > 0,
        "recall": count_within(reals, fakes, of_fakes[:, NEIGHBORS_PR - 1]) > 0,
        "density": in_wide / NEIGHBORS_DC,
        "coverage": nearest(reals, fakes, 1)[0][:, 0] <= wide,
    }
    values = {name: float(np.mean(share)) for name, share in shares.items()}
    return Measured(values, {name: float(np.std(share) / np.sqrt(len(share))) for name, share in shares.items()})
