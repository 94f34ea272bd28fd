"""Log magnitude and instantaneous frequency: golden values, round trips, quantization, coarse levels, JSON form."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from pggan_jax.sound.instantaneous_frequency import instantaneous_frequency, phase_from
from pggan_jax.sound.quantization import diffuse_to_bytes, from_bytes, to_bytes
from pggan_jax.sound.representations import Representation
from pggan_jax.sound.stft import ClipTransform, hann
from tests.helpers.sounds import GOLDEN, assert_cells, fitted, reference_signal, snr_db, spectral_convergence

SMALL = GOLDEN["small"]
WAVE = reference_signal(8000, 4096)
CENTRED = Representation()
FROM_START = Representation(phase_reference="start", eps=1e-6)


def test_the_signal_of_the_golden_values():
    golden = GOLDEN["test_signal"]["signals"]["small"]
    assert WAVE.sum() == pytest.approx(golden["sum"], rel=1e-9)
    assert (WAVE**2).sum() == pytest.approx(golden["sum_of_squares"], rel=1e-9)
    assert WAVE[[0, 1, 1000, -1]] == pytest.approx([golden[key] for key in ("x0", "x1", "x1000", "last")], rel=1e-9)


def test_the_window():
    window = hann(256)
    for index, wanted in SMALL["hann_periodic_256"].items():
        if index.isdigit():
            assert window[int(index)] == pytest.approx(wanted, rel=1e-9)
    assert (window.sum(), (window**2).sum()) == pytest.approx((128, 96))


def test_the_transform():
    transform = ClipTransform(256, 128, 32, 4096)
    spectrum = transform.stft(WAVE)
    assert transform.padding == SMALL["config"]["pad_left"]
    assert list(spectrum.shape) == SMALL["shape"]
    assert_cells(spectrum.real, {key: re for key, (re, _) in SMALL["stft"].items()})
    assert_cells(spectrum.imag, {key: im for key, (_, im) in SMALL["stft"].items()})
    assert np.abs(spectrum).sum() == pytest.approx(SMALL["stft_sum_abs"], rel=1e-9)
    assert np.linalg.norm(spectrum) == pytest.approx(SMALL["stft_norm"], rel=1e-9)


def test_magnitude_and_frequency():
    start, centred = FROM_START.analyse(WAVE), CENTRED.analyse(WAVE)
    assert_cells(start[..., 0], SMALL["logmag_eps1e-6"])
    assert_cells(start[..., 1], SMALL["if"], period=2)
    assert_cells(phase_from(start[..., 1]), SMALL["unwrapped_phase"], period=2 * math.pi)
    assert_cells(phase_from(start[..., 1]), SMALL["phase"], period=2 * math.pi)
    assert_cells(centred[..., 0], SMALL["logmag_eps1e-3"])
    assert_cells(centred[..., 1], SMALL["centred_if"], period=2)
    assert_cells(phase_from(centred[..., 1]), SMALL["centred_phase"], period=2 * math.pi)
    stats = SMALL["logmag_eps1e-3_stats"]
    magnitude = centred[..., 0]
    assert (magnitude.min(), magnitude.max(), magnitude.mean()) == pytest.approx(
        (stats["min"], stats["max"], stats["mean"]), rel=1e-9
    )
    assert np.abs(start[1:, :, 1]).mean() == pytest.approx(SMALL["if_abs_mean"], rel=1e-9)
    assert np.abs(centred[1:, :, 1]).mean() == pytest.approx(SMALL["centred_if_abs_mean"], rel=1e-9)


def test_the_difference_of_phases_is_the_difference_of_unwrapped_phases():
    phase = np.random.default_rng(0).uniform(-np.pi, np.pi, (3, 50, 7))
    unwrapped = np.unwrap(phase, axis=-2)
    wanted = np.concatenate([unwrapped[..., :1, :], np.diff(unwrapped, axis=-2)], axis=-2) / np.pi
    np.testing.assert_allclose(instantaneous_frequency(phase), wanted, atol=1e-12)
    assert np.array_equal(instantaneous_frequency(np.array([[0.0], [np.pi], [0.0]]))[:, 0], [0, 1, -1])


@pytest.mark.parametrize(
    ("representation", "golden"), [(FROM_START, "roundtrip_linear"), (CENTRED, "roundtrip_centred_eps1e-3")]
)
def test_round_trip_of_the_signal(representation, golden):
    representation = fitted(representation, WAVE)
    assert snr_db(WAVE, representation.decode(representation.encode(WAVE))) == pytest.approx(SMALL[golden]["snr_db"], abs=1e-4)


def test_the_scale():
    scale = np.array(fitted(CENTRED, WAVE).scale)
    np.testing.assert_allclose(scale[:, 0], SMALL["normalise"]["a"], rtol=1e-7)
    np.testing.assert_allclose(scale[:, 1], SMALL["normalise"]["b"], rtol=1e-7)


def test_bytes():
    representation = fitted(CENTRED, WAVE)
    image = representation.encode(WAVE)
    stored = representation.to_bytes(image)
    golden = SMALL["uint8_diffused"]
    for key, wanted in golden["cells"].items():
        frame, cell = map(int, key.split(","))
        assert stored[frame, cell].tolist() == wanted, key
    assert stored[..., 0].sum() == golden["magnitude_sum"]
    assert snr_db(WAVE, representation.decode(stored)) == pytest.approx(golden["snr_db"], abs=2e-3)
    plain = SMALL["uint8_plain"]
    assert snr_db(WAVE, representation.decode(to_bytes(image))) == pytest.approx(plain["snr_db"], abs=2e-3)


def test_the_phase_of_bytes_is_never_off_by_more_than_half_a_level():
    image = np.random.default_rng(1).uniform(-1, 1, (4, 40, 6))
    error = np.cumsum(from_bytes(diffuse_to_bytes(image)) - image, axis=-2)
    assert np.abs(error).max() <= 0.5 / 127.5 + 1e-12
    assert np.abs(np.cumsum(from_bytes(to_bytes(image)) - image, axis=-2)).max() > 1 / 127.5


@pytest.mark.parametrize(("reference", "name"), [("centre", "centred"), ("start", "frame_start")])
def test_box_means_and_back(reference, name):
    representation = dataclasses.replace(CENTRED, phase_reference=reference)
    representation = fitted(representation, WAVE)
    image = representation.encode(WAVE)
    for level, wanted in SMALL["box_down_and_up"][name].items():
        factor = 2 ** int(level)
        coarse = image.reshape(32 // factor, factor, 128 // factor, factor, 2).mean(axis=(1, 3))
        assert spectral_convergence(WAVE, representation.decode(coarse)) == pytest.approx(wanted, rel=2e-4), level


def test_sizes():
    representation = Representation(sample_rate=16000, n_fft=2048, hop=512, frames=128, length=64000)
    assert representation.shape == (128, 1024, 2)
    assert (representation.samples, representation.seconds) == (64000, 4.0)
    assert Representation().samples == 4096
    wave = reference_signal(16000, 64000)
    assert fitted(representation, wave).encode(wave).shape == (128, 1024, 2)


def test_several_clips_at_once_equal_one_after_another():
    waves = np.stack([WAVE, 0.1 * WAVE[::-1], 0 * WAVE])
    representation = fitted(CENTRED, waves)
    together = representation.encode(waves)
    for wave, image in zip(waves, together, strict=True):
        np.testing.assert_array_equal(representation.encode(wave), image)
    np.testing.assert_array_equal(representation.to_bytes(together)[1], representation.to_bytes(together[1]))
    np.testing.assert_allclose(representation.decode(together)[1], representation.decode(together[1]), atol=1e-12)


def test_ranges_merge_in_any_order():
    ranges = [CENTRED.measure(factor * WAVE) for factor in (0.1, 1.0, 0.5)]
    together = CENTRED.measure(np.stack([0.1 * WAVE, WAVE, 0.5 * WAVE]))
    merged = [(min(low), max(high)) for low, high in (zip(*channel, strict=True) for channel in zip(*ranges, strict=True))]
    assert merged == together


def test_json():
    representation = fitted(CENTRED, WAVE)
    assert Representation.from_json(json.loads(json.dumps(representation.to_json()))) == representation
    assert Representation.from_json({}) == Representation()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "object"),
        ({"name": "iff"}, "one of"),
        ({"window": 3}, "no field 'window'"),
        ({"n_fft": 256.5}, "n_fft"),
        ({"hop": True}, "hop"),
        ({"eps": "small"}, "eps"),
        ({"scale": [1, 2]}, "scale"),
        ({"scale": [[1, 0]]}, "scale"),
    ],
)
def test_json_that_is_refused(values, reason):
    with pytest.raises(ValueError, match=reason):
        Representation.from_json(values)


def test_what_is_refused():
    with pytest.raises(ValueError, match="no scale"):
        CENTRED.encode(WAVE)
    with pytest.raises(ValueError, match="4096 samples"):
        CENTRED.analyse(WAVE[:-1])
    with pytest.raises(ValueError, match="divide"):
        fitted(CENTRED, WAVE).decode(np.zeros((5, 128, 2)))
    with pytest.raises(ValueError, match="shape"):
        fitted(CENTRED, WAVE).decode(np.zeros((32, 128, 1)))


def test_generated_cells_are_at_most_as_loud_as_the_data():
    """Floats are generated images; bytes hold reals, whose range is known."""
    form = Representation().fitted([(np.log(1e-3), 4.0), (-1.0, 1.0)])
    image = np.zeros((*form.shape[:2], 2))
    image[..., 0] = 0.79
    image[3, 7, 0] = 0.99
    louder, limit = form.features(image)[3, 7, 0], 4.0
    assert louder == pytest.approx(limit)
    assert form.features(form.to_bytes(image))[3, 7, 0] > limit + 1
    image[3, 7, 0] = -0.99
    assert form.features(image)[3, 7, 0] < np.log(1e-3), "quiet cells are as they are"
