"""How well 100 notes survive each way through an image, at full size and at half of it."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest

from pggan_jax.sound.quantization import to_bytes
from pggan_jax.sound.representations import Representation
from tests.helpers.notes_formula import note
from tests.helpers.sounds import GOLDEN, fitted, snr_db, spectral_convergence

USUAL, SMOOTH = Representation(), Representation(hop=64, frames=64)


@cache
def notes() -> np.ndarray:
    """100 notes of all pitches and families."""
    return np.array([note(17 * index) for index in range(100)])


@pytest.mark.parametrize("number", [0, 7, 13, 26, 39])
def test_the_notes_are_those_of_the_golden_values(number):
    golden, wave = GOLDEN["notes_source"][str(number)], note(number)
    assert wave[2000] == pytest.approx(golden["sample_2000"], rel=1e-9)
    assert np.sqrt((wave**2).mean()) == pytest.approx(golden["rms"], rel=1e-9)


@pytest.mark.parametrize(("representation", "least"), [(USUAL, 46), (SMOOTH, 37)])
def test_100_notes(representation, least):
    representation = fitted(representation, notes())
    images = representation.encode(notes())
    waves = representation.decode(images)
    assert snr_db(notes(), waves).min() >= least
    assert spectral_convergence(notes(), waves).max() <= 0.003
    diffused = snr_db(notes(), representation.decode(representation.to_bytes(images)))
    assert np.median(diffused) >= 35
    assert diffused.min() >= 31
    assert np.median(snr_db(notes(), representation.decode(to_bytes(images)))) <= 24


def test_float32_is_enough_for_generated_images():
    representation = fitted(USUAL, notes())
    images = representation.encode(notes())
    assert snr_db(representation.decode(images), representation.decode(images.astype(np.float32))).min() > 90


@pytest.mark.parametrize(("reference", "least", "most"), [("start", 0.7, 1.0), ("centre", 0.0, 0.45)])
def test_half_the_resolution(reference, least, most):
    waves = notes()[:20]
    representation = fitted(dataclasses.replace(USUAL, phase_reference=reference), waves)
    images = representation.encode(waves)
    coarse = images.reshape(20, 16, 2, 64, 2, 2).mean(axis=(2, 4))
    assert least <= np.median(spectral_convergence(waves, representation.decode(coarse))) <= most
