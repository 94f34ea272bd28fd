"""Inception score (Salimans et al. 2016): sharp and varied classes score high. Says nothing far from ImageNet's classes."""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.metric_result import Measured

SPLITS = 10


def inception_score(scores: np.ndarray, splits: int = SPLITS) -> Measured:
    """exp of the mean KL divergence of each image's classes from those of its split.

    Args:
        scores: class scores without bias `[count, classes]`, in the order of the images.
        splits: parts of that order.

    Returns:
        `inception_score`: mean over the splits, and their standard deviation as its uncertainty, as everyone prints it.
    """
    logits = scores.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    values = []
    for part in range(splits):
        ours = log_p[part * len(log_p) // splits : (part + 1) * len(log_p) // splits]
        p = np.exp(ours)
        log_q = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
        values.append(np.exp((p * (ours - log_q)).sum(axis=1).mean()))
    return Measured({"inception_score": float(np.mean(values))}, {"inception_score": float(np.std(values))})
