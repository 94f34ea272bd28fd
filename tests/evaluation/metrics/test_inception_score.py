"""Inception score of known distributions."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.evaluation.metrics.inception_score import inception_score


def score(logits, splits=1):
    return inception_score(np.asarray(logits, np.float32), splits).values["inception_score"]


def test_equal_distributions_score_1():
    assert score(np.zeros((20, 7))) == pytest.approx(1)
    assert score(np.tile([5.0, 0, 0], (20, 1))) == pytest.approx(1)


def test_certain_and_balanced_scores_are_the_number_of_classes():
    assert score(1000 * np.eye(8)[np.arange(64) % 8]) == pytest.approx(8)


def test_scores_are_shift_invariant():
    logits = np.random.RandomState(0).standard_normal((50, 5))
    assert score(logits + 30) == pytest.approx(score(logits), rel=1e-4)
    assert np.isfinite(score(1e30 * logits))


def test_splits_are_consecutive():
    logits = 1000 * np.eye(4)[np.repeat(np.arange(4), 10)]
    assert score(logits, splits=1) == pytest.approx(4)
    assert score(logits, splits=4) == pytest.approx(1)
    uneven = inception_score(np.random.RandomState(0).standard_normal((23, 5)), 10)
    parts = [np.random.RandomState(0).standard_normal((23, 5))[part * 23 // 10 : (part + 1) * 23 // 10] for part in range(10)]
    expected = [score(part) for part in parts]
    assert uneven.values["inception_score"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert uneven.uncertainty["inception_score"] == pytest.approx(np.std(expected), rel=1e-4)
