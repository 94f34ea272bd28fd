"""The one-channel images of pggan-pytorch, and their inverses."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.sound.representations import Representation
from tests.helpers.sounds import GOLDEN, fitted, reference_signal, snr_db, spectral_convergence

DEEPSOUND = GOLDEN["deepsound"]
WAVE = reference_signal(16000, 66560)
PRESETS = {
    "abslog": Representation("abslog", 16000, 1024, 128, 512, 66560),
    "reallog": Representation("reallog", 16000, 1024, 128, 512, 66560),
    "raw": Representation("raw", 16000, 1024, 128, 256, 66560),
}


@pytest.mark.parametrize("name", PRESETS)
def test_golden_values(name):
    golden = DEEPSOUND[name]
    features = PRESETS[name].analyse(WAVE)[..., 0]
    low, high = features.min(), features.max()
    assert (low, high) == pytest.approx((golden["min"], golden["max"]), rel=1e-9, abs=1e-11)
    levels = (255 * (features - low) / (high - low)).astype(int)
    if name == "raw":
        assert features.shape == (golden["side"], golden["side"])
    else:
        features, levels = features.T, levels.T
        assert features.shape == (512, 512)
    for key, wanted in golden.get("values", {}).items():
        assert features[tuple(map(int, key.split(",")))] == pytest.approx(wanted, rel=1e-9), key
    for key, wanted in golden["uint8_truncated"].items():
        assert levels[tuple(map(int, key.split(",")))] == wanted, key
    assert levels.sum() == golden["uint8_sum"]


@pytest.mark.parametrize("name", PRESETS)
def test_one_range_for_all_clips(name):
    representation = PRESETS[name]
    ((low, high),) = representation.measure(WAVE)
    assert low == (0 if name == "abslog" else -high)
    ((factor, offset),) = representation.fitted([(low, high)]).scale
    assert (factor * low + offset, factor * high + offset) == pytest.approx((-1, 1))


def test_zero_is_the_middle_of_signed_images():
    for name in ("reallog", "raw"):
        representation = fitted(PRESETS[name], WAVE)
        assert not representation.encode(0 * WAVE).any()
    assert (fitted(PRESETS["abslog"], WAVE).encode(0 * WAVE) == -1).all()


def test_round_trips():
    raw = fitted(PRESETS["raw"], WAVE)
    wave = raw.decode(raw.encode(WAVE))
    np.testing.assert_allclose(wave[: 256**2], WAVE[: 256**2], atol=1e-12)
    assert not wave[256**2 :].any()
    assert snr_db(WAVE[: 256**2], raw.decode(raw.to_bytes(raw.encode(WAVE)))[: 256**2]) > 30
    covered = slice(0, 65408)
    abslog = fitted(PRESETS["abslog"], WAVE)
    wave = abslog.decode(abslog.encode(WAVE), invert="griffin_lim+20")
    assert spectral_convergence(WAVE[covered], wave[covered]) < 0.3
    reallog = fitted(PRESETS["reallog"], WAVE)
    assert spectral_convergence(WAVE[covered], reallog.decode(reallog.encode(WAVE))[covered]) < 0.3


def test_the_transform_is_undone_to_the_last_frame():
    from pggan_jax.sound.deepsound import reflect_transform

    transform = reflect_transform(Representation("abslog", 16000, 64, 16, 33, 520))
    wave = reference_signal(16000, 520)
    again = transform.istft(transform.stft(wave))
    np.testing.assert_allclose(again[:512], wave[:512], atol=1e-12)
    assert np.abs(again[512:]).max() <= 1.01 * np.abs(wave[512:]).max()
