"""The mel images of GANSynth: matrix, inverse, golden values at both sizes, and the images without differences of phases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pggan_jax.sound.mel import MelMap, inverse_mel_matrix, mel_matrix
from pggan_jax.sound.representations import Representation
from pggan_jax.sound.stft import stft
from tests.helpers.sounds import GOLDEN, assert_cells, fitted, reference_signal, snr_db

SMALL, GANSYNTH = GOLDEN["small"], GOLDEN["gansynth"]
SMALL_MEL = Representation("if_mel", eps=1e-6, phase_reference="start")
LARGE_MEL = Representation("if_mel", 16000, 2048, 512, 128, 64000, eps=1e-6, phase_reference="start")
LARGE_LINEAR = Representation("if", 16000, 2048, 512, 128, 64000, eps=1e-6, phase_reference="start")
SMALL_WAVE, LARGE_WAVE = reference_signal(8000, 4096), reference_signal(16000, 64000)


def plain_mel_matrix(bins: int, bands: int, sample_rate: int, *, in_place: bool) -> np.ndarray:
    """A second implementation, band by band; with `in_place=False` what one would write first."""
    top = 1127 * math.log(1 + sample_rate / 2 / 700)
    edges = [top * index / (bands + 1) for index in range(bands + 2)]
    triples = [[edges[i], edges[i + 1], edges[i + 2]] for i in range(bands)]
    least = 1.5 * sample_rate / 2 / bins
    moved = list(edges)
    for i in range(bands):
        triple = moved[i : i + 3] if in_place else triples[i]
        lower, centre, upper = (700 * (math.exp(one / 1127) - 1) for one in triple)
        if upper - lower < least:
            width = 1127 * math.asinh(0.5 * least / (centre + 700))
            triples[i] = [triple[1] - width, triple[1], triple[1] + width]
            moved[i : i + 3] = triples[i]
    if in_place:
        triples = [moved[i : i + 3] for i in range(bands)]
    result = np.zeros((bins, bands))
    for i, triple in enumerate(triples):
        lower, centre, upper = (700 * (math.exp(one / 1127) - 1) for one in triple)
        for k in range(1, bins):
            f = k * sample_rate / 2 / (bins - 1)
            result[k, i] = max(0.0, min((f - lower) / (centre - lower), (upper - f) / (upper - centre)))
    return result


@pytest.mark.parametrize(("bins", "sample_rate"), [(128, 8000), (1024, 16000)])
def test_the_matrix(bins, sample_rate):
    golden = GOLDEN["mel_matrix"][f"{bins}x{bins} {sample_rate}"]
    matrix = mel_matrix(bins, bins, sample_rate=sample_rate)
    inverse = inverse_mel_matrix(bins, bins, sample_rate=sample_rate)
    assert np.count_nonzero(matrix) == golden["nonzero"] != golden["without_the_aliasing"]["nonzero"]
    assert matrix.sum() == pytest.approx(golden["sum"], rel=1e-9)
    if bins < 1000:
        assert np.linalg.matrix_rank(matrix) == golden["rank"] != golden["without_the_aliasing"]["rank"]
    for name, values in (("column_sums", matrix.sum(axis=0)), ("row_sums", matrix.sum(axis=1))):
        for index, wanted in golden[name].items():
            assert values[int(index)] == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert_cells(matrix, golden["cells"])
    assert inverse.sum() == pytest.approx(golden["inverse_sum"], rel=1e-9)
    assert_cells(inverse, golden["inverse_cells"])


@pytest.mark.parametrize(("bins", "bands", "sample_rate"), [(128, 128, 8000), (128, 64, 8000), (256, 256, 44100)])
def test_the_matrix_is_that_of_the_moved_edges(bins, bands, sample_rate):
    matrix = mel_matrix(bins, bands, sample_rate=sample_rate)
    np.testing.assert_allclose(matrix, plain_mel_matrix(bins, bands, sample_rate, in_place=True), rtol=0, atol=1e-12)
    assert np.abs(matrix - plain_mel_matrix(bins, bands, sample_rate, in_place=False)).max() > 0.1


@pytest.mark.parametrize(("bins", "bands"), [(128, 128), (128, 20), (512, 512)])
def test_the_map_multiplies_by_the_matrices(bins, bands):
    mel, values = MelMap(bins, bands, 8000), np.random.default_rng(0).normal(size=(3, 5, bins))
    matrix, inverse = (make(bins, bands, sample_rate=8000) for make in (mel_matrix, inverse_mel_matrix))
    there = mel.forward(values)
    np.testing.assert_allclose(there, np.einsum("...f,fb->...b", values, matrix), atol=1e-12)
    np.testing.assert_allclose(mel.backward(there), np.einsum("...b,bf->...f", there, inverse), atol=1e-12)


def test_small_mel_images():
    features = SMALL_MEL.analyse(SMALL_WAVE)
    assert_cells(features[..., 0], SMALL["mel"]["logmelmag2"])
    assert_cells(features[..., 1], SMALL["mel"]["mel_if"], period=2)
    representation = fitted(SMALL_MEL, SMALL_WAVE)
    wave = representation.decode(representation.encode(SMALL_WAVE))
    assert snr_db(SMALL_WAVE, wave) == pytest.approx(SMALL["mel"]["roundtrip_snr_db"], abs=1e-4)
    real, fake = (np.abs(stft(one, 256, hop=64)) for one in (SMALL_WAVE, wave))
    golden = SMALL["mel"]["roundtrip_spectral_convergence"]
    assert np.linalg.norm(fake - real) / np.linalg.norm(real) == pytest.approx(golden, rel=1e-5)


def test_gansynth_images():
    linear, mel = LARGE_LINEAR.analyse(LARGE_WAVE), LARGE_MEL.analyse(LARGE_WAVE)
    assert_cells(linear[..., 0], GANSYNTH["logmag"])
    assert_cells(linear[..., 1], GANSYNTH["if"], period=2)
    assert_cells(mel[..., 0], GANSYNTH["logmelmag2"])
    assert_cells(mel[..., 1], GANSYNTH["mel_if"], period=2)
    stats = GANSYNTH["logmelmag2_stats"]
    found = (mel[..., 0].min(), mel[..., 0].max(), mel[..., 0].mean())
    assert found == pytest.approx((stats["min"], stats["max"], stats["mean"]), rel=1e-9)
    normalised = LARGE_MEL.fitted([(-13.815510557964274, 10.376451), (-1.0, 1.0)])
    exact = Representation(**(normalised.to_json() | {"scale": [(0.0661371661726, 0.113718730221), (0.8, 0.0)]}))
    np.testing.assert_allclose(normalised.scale, exact.scale, rtol=1e-4)
    image = exact.encode(LARGE_WAVE)
    assert_cells(image[..., 0], GANSYNTH["normalised"])
    assert (np.abs(image[..., 0]) >= 1).mean() == GANSYNTH["share_clipped"]
    assert snr_db(LARGE_WAVE, exact.decode(image)) == pytest.approx(GANSYNTH["roundtrip_mel_snr_db"], abs=1e-4)


def test_gansynth_round_trip_without_mel():
    representation = fitted(LARGE_LINEAR, LARGE_WAVE)
    error = representation.decode(representation.encode(LARGE_WAVE)) - LARGE_WAVE
    assert np.sqrt((error[4096:-2048] ** 2).mean()) <= 2e-5
    wanted = GANSYNTH["roundtrip_linear_rms_error_before_the_last_window"]
    assert np.sqrt((error[:-2048] ** 2).mean()) == pytest.approx(wanted, rel=1e-3)
    wave = representation.decode(representation.encode(LARGE_WAVE))
    assert snr_db(LARGE_WAVE, wave) == pytest.approx(GANSYNTH["roundtrip_linear_snr_db"], abs=1e-3)


def test_phase_without_differences():
    representation = fitted(Representation("phase", phase_reference="start", eps=1e-6), SMALL_WAVE)
    features = representation.analyse(SMALL_WAVE)
    assert_cells(np.pi * features[..., 1], SMALL["phase"], period=2 * math.pi)
    wave = representation.decode(representation.encode(SMALL_WAVE))
    assert snr_db(SMALL_WAVE, wave) == pytest.approx(SMALL["roundtrip_linear"]["snr_db"], abs=1e-4)


def test_fewer_mel_bands():
    representation = fitted(Representation("if_mel", mel_bins=64), SMALL_WAVE)
    assert representation.shape == (32, 64, 2)
    assert representation.decode(representation.encode(SMALL_WAVE)).shape == (4096,)
