"""WAV files: rounding, scaling, joining."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from pggan_jax.sound.wave_files import encode_wave, is_joined_wave, one_after_another, scale_to_fit, to_int16, write_wave

GOLDEN = Path(__file__).parents[1] / "golden" / "sound_reference_values.json"


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())["write_int16"]["cases"]


def test_rounding_to_16_bits(golden):
    given = np.array([float(text) for text in golden])
    np.testing.assert_array_equal(to_int16(given), list(golden.values()))
    assert to_int16(np.array([-1.5, np.inf, -np.inf])).tolist() == [-32768, 32767, -32768]


def test_a_file_of_16_bits(tmp_path):
    wave = np.sin(np.arange(500) / 7)
    assert write_wave(tmp_path / "a.wav", wave, 8000) == 1
    rate, values = wavfile.read(tmp_path / "a.wav")
    assert (rate, values.dtype) == (8000, np.int16)
    np.testing.assert_array_equal(values, np.rint(wave * 32767))
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_loud_file_is_scaled_as_a_whole(tmp_path):
    wave = 2.5 * np.sin(np.arange(5000) / 7)
    factor = write_wave(tmp_path / "a.wav", wave, 8000)
    assert factor == pytest.approx(0.99 / np.abs(wave).max())
    values = wavfile.read(tmp_path / "a.wav")[1] / 32767
    np.testing.assert_allclose(values, wave * factor, atol=0.51 / 32767)
    # A negative peak counts, too.
    assert scale_to_fit(np.array([-2.0, 1.0]))[1] == 0.99 / 2
    assert scale_to_fit(np.array([1.0, -1.0]))[1] == 1


def test_several_files_by_the_factor_of_the_loudest():
    quiet, factor = scale_to_fit(np.array([0.5]), peak=2.0)
    assert (quiet.tolist(), factor) == ([0.5 * 0.99 / 2], 0.99 / 2)


@pytest.mark.parametrize("as_float", [False, True])
def test_several_sounds_are_marked(as_float):
    wave = np.sin(np.arange(501) / 7)
    plain, marked = (encode_wave(wave, 8000, as_float=as_float, is_joined=joined) for joined in (False, True))
    assert (is_joined_wave(plain), is_joined_wave(marked), is_joined_wave(marked[:128])) == (False, True, True)
    assert int.from_bytes(marked[4:8], "little") + 8 == len(marked)
    for one, other in zip(wavfile.read(io.BytesIO(plain)), wavfile.read(io.BytesIO(marked)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_floats_keep_their_values(tmp_path):
    wave = np.array([0.1, -3.0, 1e-9])
    assert write_wave(tmp_path / "a.wav", wave, 16000, as_float=True) == 1
    rate, values = wavfile.read(tmp_path / "a.wav")
    assert (rate, values.dtype) == (16000, np.float32)
    np.testing.assert_array_equal(values, wave.astype(np.float32))


@pytest.mark.parametrize("as_float", [False, True])
def test_the_header_has_the_true_size(as_float):
    content = encode_wave(np.zeros(7), 8000, as_float=as_float)
    assert int.from_bytes(content[4:8], "little") + 8 == len(content)


def test_waves_one_after_another():
    joined = one_after_another([np.ones(3), np.full(2, 0.5)], 100)
    assert joined.tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0.5, 0.5]
    assert one_after_another([], 8000).shape == (0,)


def test_nothing_half_written_stays(tmp_path):
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(IsADirectoryError):
        write_wave(tmp_path / "a.wav", np.zeros(3), 8000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
