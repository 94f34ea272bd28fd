"""What holds for every representation and every wave: shapes, ranges, shifts, loudness, polarity, silence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pggan_jax.sound.representations import Representation
from tests.helpers.sounds import fitted, reference_signal

PRESETS = {
    "if": Representation(),
    "if from the start of frames": Representation(phase_reference="start", eps=1e-6),
    "if smooth": Representation(hop=64, frames=64),
    "if of a short clip": Representation(length=3000),
    "if of one frame": Representation(frames=1),
    "if_mel": Representation("if_mel", eps=1e-6, phase_reference="start"),
    "if_mel with 64 bands": Representation("if_mel", mel_bins=64),
    "phase": Representation("phase"),
    "abslog": Representation("abslog"),
    "reallog": Representation("reallog"),
    "raw": Representation("raw", length=1100),
}


def hostile_waves(samples: int) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(0).normal(size=samples)
    return {
        "silence": np.zeros(samples),
        "negative zero": -np.zeros(samples),
        "constant": np.ones(samples),
        "one sample": np.eye(1, samples, samples // 3)[0],
        "noise": noise,
        "nearly nothing": 1e-30 * noise,
        "denormal": 5e-324 * np.sign(noise),
        "loud": 1e6 * noise,
        "alternating": (-1.0) ** np.arange(samples),
        "int16": np.int16(30000 * np.tanh(noise)),
        "float32": np.float32(noise),
    }


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("fitted_to", ["noise", "silence"])
@pytest.mark.filterwarnings("error")
def test_every_wave_has_an_image_and_every_image_a_wave(preset, fitted_to):
    representation = PRESETS[preset]
    waves = hostile_waves(representation.samples)
    representation = fitted(representation, waves[fitted_to])
    for name, wave in waves.items():
        image = representation.encode(wave)
        assert image.shape == representation.shape, name
        assert np.abs(image).max() <= 1, name
        stored = representation.to_bytes(image)
        assert (stored.dtype, stored.shape) == (np.uint8, representation.shape), name
        for source in (image, stored, image.astype(np.float32)):
            again = representation.decode(source)
            assert again.shape == (representation.samples,), name
            assert np.isfinite(again).all(), name
    images = np.random.default_rng(1).normal(size=(2, 3, *representation.shape))
    again = representation.decode(images)
    assert np.isfinite(again).all()
    assert again.shape == (2, 3, representation.samples)


@pytest.mark.parametrize("preset", ["if", "if from the start of frames", "if smooth", "phase"])
def test_a_shift_by_a_hop_shifts_the_rows_by_one(preset):
    representation = PRESETS[preset]
    signal = reference_signal(8000, representation.samples + representation.hop)
    early = representation.analyse(signal[representation.hop :])
    late = representation.analyse(signal[: -representation.hop])
    first = representation.n_fft // representation.hop
    difference = late[first + 1 :] - early[first:-1]
    np.testing.assert_allclose(difference[..., 0], 0, atol=1e-9)
    np.testing.assert_allclose(difference[..., 1] - 2 * np.rint(difference[..., 1] / 2), 0, atol=1e-9)


def test_twice_the_amplitude_adds_a_constant():
    wave = reference_signal(8000, 4096)
    one, two = PRESETS["if"].analyse(wave)[..., 0], PRESETS["if"].analyse(2 * wave)[..., 0]
    floor = math.log(1e-3)
    above = one > floor + 8
    assert above.mean() > 0.05
    np.testing.assert_allclose((two - one)[above], math.log(2), atol=1e-3)
    assert (two >= one).all()
    assert (two < one + math.log(2)).all()


@pytest.mark.parametrize("preset", ["if", "if from the start of frames"])
def test_polarity_changes_the_first_row_alone(preset):
    wave = reference_signal(8000, 4096)
    plus, minus = PRESETS[preset].analyse(wave), PRESETS[preset].analyse(-wave)
    np.testing.assert_array_equal(plus[..., 0], minus[..., 0])
    difference = (minus - plus)[..., 1]
    difference -= 2 * np.rint(difference / 2)
    np.testing.assert_allclose(np.abs(difference[0]), 1, atol=1e-9)
    np.testing.assert_allclose(difference[1:], 0, atol=1e-9)


def test_polarity_changes_the_row_of_an_attack():
    wave = np.concatenate([np.zeros(1024), reference_signal(8000, 3072)])
    difference = (PRESETS["if"].analyse(-wave) - PRESETS["if"].analyse(wave))[..., 1]
    difference -= 2 * np.rint(difference / 2)
    changed = np.abs(difference).max(axis=1) > 1e-9
    assert changed.sum() == 1
    assert 7 <= int(np.flatnonzero(changed)[0]) <= 9


def test_silence_has_phase_0():
    for preset in ("if", "if from the start of frames", "phase"):
        assert not PRESETS[preset].analyse(-np.zeros(4096))[..., 1].any()


def test_many_clips_are_the_same_as_few():
    representation = fitted(PRESETS["if"], reference_signal(8000, 4096))
    waves = np.random.default_rng(2).normal(size=(3, 50, 4096))
    images = representation.encode(waves)
    assert images.shape == (3, 50, 32, 128, 2)
    np.testing.assert_array_equal(images[2, 49], representation.encode(waves[2, 49]))
    np.testing.assert_allclose(representation.decode(images)[1, 7], representation.decode(images[1, 7]), atol=1e-12)
    assert representation.decode(images[:0]).shape == (0, 50, 4096)
