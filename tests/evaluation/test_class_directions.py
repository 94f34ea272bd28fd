"""Class directions: that they lead to their classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pggan_jax as pg
from pggan_jax.evaluation.class_directions import classifier_of, find_class_directions, measure_effect, open_labelled

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.mark.slow
def test_a_direction_moves_the_samples_to_its_class(learned):
    model = pg.load(learned)
    classifier = classifier_of(open_labelled(model, ""), 8, seed=0)
    found = find_class_directions(model, classifier, num_samples=4000, progress=lambda _count: None)
    effect = measure_effect(model, classifier, found)
    start, best = effect[:, 0], effect.max(axis=1)
    assert len(found.numbers) >= 8, found.members
    moves = (best >= 0.5) & (best >= start + 0.3)
    assert moves.sum() >= 0.8 * len(moves), effect
    # The direction towards another class does not lead there.
    exchanged = replace(found, directions=np.roll(found.directions, 1, axis=0))
    assert measure_effect(model, classifier, exchanged).max() < 0.5
