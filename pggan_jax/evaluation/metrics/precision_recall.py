"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

The manifold of a set is the union of balls around its points; the radius of each is the distance to the k-th nearest neighbour.
"""

from __future__ import annotations

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.knn import count_within, nearest
from pggan_jax.evaluation.metric import Metric
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.metric_kinds import MetricKind

K_PRECISION_RECALL, K_DENSITY_COVERAGE = 3, 5


def precision_recall(reals: np.ndarray, fakes: np.ndarray) -> MetricResult:
    """Compare the manifolds of two sets of features.

    Args:
        reals, fakes: float32 `[count, size]`.

    Returns:
        `precision`: share of fakes inside a ball of the reals; `recall`: share of reals inside a ball of the fakes, both with
        k = 3. `density`: mean number of balls of the reals that contain a fake, divided by k; `coverage`: share of reals whose
        ball contains a fake, both with k = 5. Uncertainties are those of a mean over so many images.

    Raises:
        UserError: there are fewer than 6 images on a side.
    """
    fewest = K_DENSITY_COVERAGE + 1
    if min(len(reals), len(fakes)) < fewest:
        raise UserError(f"precision_recall needs at least {fewest} images on each side, not {min(len(reals), len(fakes))}")
    of_reals = nearest(reals, reals, count=K_DENSITY_COVERAGE, own=np.arange(len(reals)))[0]
    of_fakes = nearest(fakes, fakes, count=K_PRECISION_RECALL, own=np.arange(len(fakes)))[0]
    wide = of_reals[:, K_DENSITY_COVERAGE - 1]
    shares: dict[str, np.ndarray] = {
        "precision": count_within(fakes, reals, radii=of_reals[:, K_PRECISION_RECALL - 1]) > 0,
        "recall": count_within(reals, fakes, radii=of_fakes[:, K_PRECISION_RECALL - 1]) > 0,
        "density": count_within(fakes, reals, radii=wide) / K_DENSITY_COVERAGE,
        "coverage": nearest(reals, fakes, count=1)[0][:, 0] <= wide,
    }
    values = {name: float(np.mean(share)) for name, share in shares.items()}
    return MetricResult(values, {name: float(np.std(share) / np.sqrt(len(share))) for name, share in shares.items()})


METRIC = Metric(
    MetricKind(
        "precision_recall",
        help="precision and recall, density and coverage in Inception features",
        headline="precision",
        default_images=50000,
        larger_is_better=True,
        needs_equal_counts=True,
        needs_inception=True,
    ),
    compute=lambda reals, fakes, context: precision_recall(reals["inception"].features, fakes["inception"].features),
    inception=frozenset({"features"}),
    details={"k_precision_recall": K_PRECISION_RECALL, "k_density_coverage": K_DENSITY_COVERAGE},
)
