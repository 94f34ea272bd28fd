"""Inception score (Salimans et al. 2016), for images of ImageNet's classes only."""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.metric import Metric
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.metric_kinds import MetricKind

SPLITS = 10


def inception_score(scores: np.ndarray, splits: int = SPLITS) -> MetricResult:
    """Compute exp of the mean KL divergence of class distributions from that of their split.

    Args:
        scores: class scores without bias `[count, classes]`, in the order of the images.
        splits: number of consecutive splits.

    Returns:
        `inception_score`: the mean over the splits; its uncertainty is the standard deviation over the splits, as is customary.
    """
    logits = scores.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    values = []
    for split in range(splits):
        own = log_p[split * len(log_p) // splits : (split + 1) * len(log_p) // splits]
        p = np.exp(own)
        log_q = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
        values.append(np.exp((p * (own - log_q)).sum(axis=1).mean()))
    return MetricResult({"inception_score": float(np.mean(values))}, {"inception_score": float(np.std(values))})


METRIC = Metric(
    MetricKind(
        "inception_score",
        help="Inception score; for images like those of ImageNet only",
        headline="inception_score",
        counterpart="judge",
        default_images=50000,
        larger_is_better=True,
        needs_reals=False,
        has_floor=False,
        needs_inception=True,
    ),
    compute=lambda reals, fakes, context: inception_score(fakes["inception"].scores),
    inception=frozenset({"scores"}),
)
