"""Measures of notes, against golden values and properties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.sound import measures
from tests.helpers.notes_formula import note

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "sound_reference_values.json").read_text(encoding="utf-8"))
RATE = 8000
NUMBERS = [0, 13, 26, 39, 7]


@pytest.fixture(scope="module")
def golden_notes():
    values = [GOLDEN["notes_source"][str(number)] for number in NUMBERS]
    return np.stack([note(number) for number in NUMBERS]), np.array([one["pitch"] for one in values]), values


def test_the_pitch_that_is_found(golden_notes):
    waves, pitches, golden = golden_notes
    found = measures.find_pitch(waves, RATE)
    np.testing.assert_allclose(found, [one["yin_hz"] for one in golden], atol=6e-5)
    assert np.abs(measures.cents_off(found, pitches)).max() < 1


def test_harmonics_to_noise(golden_notes):
    waves, pitches, golden = golden_notes
    asked, higher = (measures.harmonics_to_noise(waves, pitches + step, sample_rate=RATE) for step in (0, 1))
    np.testing.assert_allclose(asked, [one["hnr_db"] for one in golden], atol=6e-5)
    np.testing.assert_allclose(higher, [one["hnr_db_semitone_off"] for one in golden], atol=6e-5)


def test_coherence(golden_notes):
    waves, pitches, golden = golden_notes
    found = measures.coherence(waves, pitches, sample_rate=RATE)
    np.testing.assert_allclose(found, [one["period_correlation"] for one in golden], atol=6e-8)


def test_noise():
    golden = GOLDEN["notes_source"]["noise RandomState(0)*0.1"]
    noise, pitch = 0.1 * np.random.RandomState(0).standard_normal((1, 4096)), np.array([60])
    assert measures.harmonics_to_noise(noise, pitch, sample_rate=RATE)[0] == pytest.approx(golden["hnr_db"], abs=6e-5)
    assert measures.coherence(noise, pitch, sample_rate=RATE)[0] == pytest.approx(golden["period_correlation"], abs=6e-8)


def test_silence_and_constants_are_no_notes():
    waves, pitches = np.stack([np.zeros(4096), np.full(4096, 0.5)]), np.array([60, 60])
    assert measures.find_pitch(waves, RATE)[0] == 0
    assert np.isinf(measures.cents_off(measures.find_pitch(waves, RATE), pitches)[0])
    assert measures.harmonics_to_noise(waves, pitches, sample_rate=RATE)[0] == -60
    assert measures.coherence(waves, pitches, sample_rate=RATE)[0] == 0


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("frequency", [70.0, 261.63, 1100.0])
def test_pure_tones_at_other_rates(rate, frequency):
    waves = np.sin(2 * np.pi * frequency * np.arange(rate // 2) / rate)[None]
    assert measures.find_pitch(waves, rate)[0] == pytest.approx(frequency, rel=1e-3)
    pitch = np.array([69 + 12 * np.log2(frequency / 440)])
    assert measures.harmonics_to_noise(waves, pitch, sample_rate=rate)[0] == 60
    assert measures.coherence(waves, pitch, sample_rate=rate)[0] > 0.9999


@pytest.mark.parametrize("samples", [16, 100, 200, 600])
def test_short_clips(samples):
    waves, pitches = np.random.RandomState(0).standard_normal((3, samples)), np.array([60, 61, 72])
    assert measures.find_pitch(waves, RATE).shape == (3,)
    for measure in (measures.harmonics_to_noise, measures.coherence):
        assert np.isfinite(measure(waves, pitches, sample_rate=RATE)).all()


def test_loudness_does_not_matter(golden_notes):
    waves, pitches, _ = golden_notes
    np.testing.assert_allclose(measures.find_pitch(waves / 1000, RATE), measures.find_pitch(waves, RATE), rtol=1e-5)
    loud, quiet = (measures.coherence(waves * factor, pitches, sample_rate=RATE) for factor in (1, 1e-3))
    np.testing.assert_allclose(loud, quiet, atol=1e-4)


def test_pitches_that_are_not_searched_do_not_count():
    """YIN searches from 60 to 1,200 Hz: MIDI pitches 35 to 86."""
    assert measures.can_be_found(np.array([24, 34, 35, 60, 86, 87])).tolist() == [False, False, True, True, True, False]
    waves, shares = np.stack([note(0), note(0)]), {"sample_rate": RATE}
    alone = measures.pitch_shares(waves[:1], np.array([60]), **shares)
    assert alone["within_50_cents"] == 1
    assert measures.pitch_shares(waves, np.array([60, 30]), **shares) == alone
    assert np.isnan(list(measures.pitch_shares(waves, np.array([30, 30]), **shares).values())).all()
