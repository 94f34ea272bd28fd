"""Features of the judge and of timbres, against golden values and properties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.evaluation.sounds import features
from tests.helpers.notes_formula import note, notes

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "sound_reference_values.json").read_text(encoding="utf-8"))
RATE = 8000


@pytest.mark.parametrize("number", [0, 13])
def test_features_of_the_judge(number):
    golden, wave = GOLDEN["judge_features"][str(number)], note(number)[None]
    timbre, tonal = features.timbre(wave, RATE)[0], features.tonal(wave, RATE)[0]
    assert timbre.sum() == pytest.approx(golden["timbre_sum"], rel=1e-9)
    np.testing.assert_allclose(timbre[0, :4], golden["timbre_first_row_0_4"], rtol=1e-8)
    assert tonal.sum() == pytest.approx(golden["tonal_sum"], rel=1e-9)
    assert tonal.argmax() == golden["tonal_argmax"]
    for cell, value in golden["tonal_cells"].items():
        assert tonal[int(cell)] == pytest.approx(value, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("feature", [features.tonal, features.timbre])
def test_loudness_does_not_matter_and_silence_is_zero(feature):
    waves, _ = notes([0, 13, 26])
    np.testing.assert_allclose(feature(waves / 1000, RATE), feature(waves, RATE), atol=1e-9)
    assert not feature(0 * waves, RATE).any()


@pytest.mark.parametrize(("rate", "bins"), [(4000, 512), (8000, 512), (16000, 1024), (44100, 2048)])
@pytest.mark.parametrize("samples", [16, 3000])
def test_shapes(rate, bins, samples):
    waves = np.random.RandomState(0).standard_normal((3, samples))
    assert features.tonal(waves, rate).shape == (3, bins)
    assert features.timbre(waves, rate).shape == (3, 8, 32)
