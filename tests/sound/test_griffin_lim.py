"""Griffin-Lim and the inconsistency of spectrograms, against golden values; the ways to choose it."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.sound.griffin_lim import griffin_lim
from pggan_jax.sound.representations import Representation
from pggan_jax.sound.stft import ClipTransform
from tests.helpers.sounds import GOLDEN, fitted, reference_signal, spectral_convergence

SMALL = GOLDEN["small"]
WAVE = reference_signal(8000, 4096)
TRANSFORM = ClipTransform(256, 128, 32, 4096)
MAGNITUDE = np.abs(TRANSFORM.stft(WAVE))
PHASE = 2 * np.pi * (0.6180339887498949 * (np.arange(32)[:, None] * 128 + np.arange(128) + 1) % 1) - np.pi


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_golden_values(momentum):
    record: list = []
    wave = griffin_lim(MAGNITUDE, PHASE, transform=TRANSFORM.whole, steps=100, momentum=momentum, record=record)
    golden = SMALL["griffin_lim"][f"momentum_{momentum}"]
    for step, wanted in golden["inconsistency_at_iteration"].items():
        assert record[int(step)] == pytest.approx(wanted, rel=2e-5)
    assert np.linalg.norm(wave[TRANSFORM.padding :]) == pytest.approx(golden["waveform_norm"], rel=5e-6)


def test_inconsistency():
    spectrum, golden = TRANSFORM.stft(WAVE), SMALL["inconsistency"]
    assert TRANSFORM.inconsistency(spectrum) == pytest.approx(golden["of_its_own_stft"], rel=5e-5)
    random = MAGNITUDE * np.exp(1j * PHASE)
    assert TRANSFORM.inconsistency(random) == pytest.approx(golden["with_initial_phase_above"], rel=5e-6)
    assert TRANSFORM.inconsistency(0 * spectrum) == 0
    both = TRANSFORM.inconsistency(np.stack([spectrum, random]))
    assert both == pytest.approx([golden["of_its_own_stft"], golden["with_initial_phase_above"]], rel=5e-5)


def test_inconsistency_of_images():
    representation = fitted(Representation(), WAVE)
    image = representation.encode(WAVE)
    shuffled = image.copy()
    shuffled[..., 1] = np.random.default_rng(0).uniform(-0.8, 0.8, (32, 128))
    assert representation.inconsistency(image) < 0.05
    assert representation.inconsistency(shuffled) > 0.4


def test_silence_stays_silent():
    wave = griffin_lim(0 * MAGNITUDE, PHASE, transform=TRANSFORM, steps=3, record=(record := []))
    assert not wave.any()
    assert record == [0, 0, 0]


def test_phases_come_from_the_seed_of_each_clip():
    representation = fitted(Representation(), WAVE)
    image = representation.encode(np.stack([WAVE, WAVE, 0.5 * WAVE]))
    waves = representation.decode(image, invert="griffin_lim+2", seed=[7, 8, 7])
    assert np.array_equal(representation.decode(image[0], invert="griffin_lim+2", seed=7), waves[0])
    assert not np.allclose(waves[0], waves[1])
    unseeded = representation.decode(image, invert="griffin_lim+2")
    assert np.array_equal(representation.decode(image[2], invert="griffin_lim+2"), unseeded[2])


def test_steps_bring_the_magnitudes_nearer():
    representation = fitted(Representation(), WAVE)
    image = representation.encode(WAVE)
    few, many, usual = (
        spectral_convergence(WAVE, representation.decode(image, invert=invert))
        for invert in ("griffin_lim+2", "griffin_lim+60", "griffin_lim")
    )
    assert usual == many < few
    assert spectral_convergence(WAVE, representation.decode(image, invert="if+5")) < few
    assert np.array_equal(representation.decode(image, invert="if"), representation.decode(image))


@pytest.mark.parametrize(
    ("name", "invert"),
    [
        *(("if", one) for one in ("gl", "if+", "if+0", "if+-1", "if+9999999", "if+²", "griffin_lim+x", "phase")),
        *(("abslog", "if+3"), ("raw", "griffin_lim"), ("reallog", "griffin_lim"), ("raw", "raw+2")),
    ],
)
def test_ways_that_are_refused(name, invert):
    representation = Representation(name).fitted([(0, 1)] * Representation(name).channels)
    with pytest.raises(ValueError, match="choose"):
        representation.decode(np.zeros(representation.shape), invert=invert)


@pytest.mark.parametrize(("name", "invert"), [("phase", "if+1"), ("phase", "phase+1"), ("if_mel", "if")])
def test_if_stands_for_the_inverse_of_all_images_with_phases(name, invert):
    representation = Representation(name).fitted([(-7, 3), (-1, 1)])
    assert representation.decode(np.zeros((2, 8, 2)), invert=invert).shape == (4096,)
