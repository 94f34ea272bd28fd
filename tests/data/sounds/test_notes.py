"""The built-in notes: the formula, and their way through settings, cache and loader."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.config import Config, DataConfig
from pggan_jax.config.io import from_json, load_config, to_json
from pggan_jax.config.sound import SoundConfig, parse_pitches
from pggan_jax.config.validation import validate
from pggan_jax.data.open_loader import open_configured, open_loader
from pggan_jax.data.preparation.prepare import prepare
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.sounds.notes import NotesSource, note
from pggan_jax.data.sounds.spectrogram_source import differences
from pggan_jax.errors import ConfigError, UserError
from pggan_jax.images import fitting_base
from pggan_jax.sound.representations import Representation

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/sound_reference_values.json").read_text())["notes_source"]
DATA = DataConfig("notes:60", 64, "2x8", labels=True)


@pytest.mark.parametrize("number", [name for name in GOLDEN if name.isdecimal()])
def test_notes_have_the_reference_values(number):
    wave, golden = note(int(number), sample_rate=8000, samples=4096), GOLDEN[number]
    np.testing.assert_allclose(wave[1:4], golden["first_samples"], rtol=1e-8)
    assert wave[2000] == pytest.approx(golden["sample_2000"], rel=1e-8)
    assert np.sqrt(np.mean(wave**2)) == pytest.approx(golden["rms"], rel=1e-8)


def test_classes_are_pitches_or_families():
    source = NotesSource("60", SoundConfig())
    assert source.class_names == tuple(str(pitch) for pitch in range(60, 73))
    assert [source.label(index) for index in range(14)] == [*range(13), 0]
    families = NotesSource("60", SoundConfig(label_by="family"))
    assert families.class_names == ("organ", "pluck", "reed", "brass")
    assert [families.label(index) for index in (0, 12, 13, 26, 39, 52)] == [0, 0, 1, 2, 3, 0]


def test_chosen_pitches_are_the_same_notes_as_among_all():
    source = NotesSource("60", SoundConfig(pitches="60,64-65"))
    assert source.class_names == ("60", "64", "65")
    assert [source.item_name(index) for index in range(4)] == ["note 0", "note 4", "note 5", "note 13"]
    np.testing.assert_array_equal(source.read(3), note(13, sample_rate=8000, samples=4096))
    with pytest.raises(UserError, match=r"sound.pitches = '20-30': notes has 60 to 72"):
        NotesSource("", SoundConfig(pitches="20-30"))


def test_notes_of_equal_level():
    kept, equal = NotesSource("60", SoundConfig()), NotesSource("60", SoundConfig(level="peak"))
    assert np.abs(equal.read(5)).max() == pytest.approx(0.9)
    np.testing.assert_allclose(equal.read(5) / 0.9, kept.read(5) / np.abs(kept.read(5)).max(), atol=1e-12)
    assert equal.fingerprint() != kept.fingerprint()


def test_cached_and_prepared_notes_are_equal_and_carry_the_fitted_representation(tmp_path, monkeypatch):
    monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
    cached = open_loader(DATA, seed=0, progress=False)
    prepare(open_configured(DATA), PreparationSpec.from_config(DATA), folder=tmp_path / "p", progress=False)
    prepared = open_loader(DataConfig(f"prepared:{tmp_path / 'p'}", 64, "2x8", labels=True), seed=0)
    assert cached.representation == prepared.representation
    assert cached.representation.is_fitted
    np.testing.assert_array_equal(cached.level(64), prepared.level(64))
    wave = cached.representation.decode(cached.level(64)[17])
    error = wave - note(17, sample_rate=8000, samples=4096)
    assert np.mean(error**2) < 1e-3 * np.mean(wave**2)
    other = DataConfig(f"prepared:{tmp_path / 'p'}", 64, "2x8", sound=SoundConfig(hop=64))
    with pytest.raises(UserError, match="was prepared with hop 128, asked for 64"):
        open_loader(other, seed=0)


def test_fitting_does_not_depend_on_order_or_workers():
    source = open_configured(DATA)
    forwards = source.fitted(np.arange(60), workers=0, progress=False).representation
    assert source.fitted(np.arange(60)[::-1], workers=2, progress=False).representation == forwards
    fixed = open_configured(DataConfig("notes:60", 64, "2x8", sound=SoundConfig(magnitude_range="-6.9,4")))
    assert fixed.fitted(np.arange(60)) is fixed


def test_sound_settings_have_a_section_of_their_own():
    loaded = load_config("experiments/notes.py", ["sound.hop=64", "sound.take=loudest"]).config
    assert (loaded.data.sound.hop, loaded.data.sound.take) == (64, "loudest")
    assert from_json(to_json(loaded), "config.json") == loaded
    with pytest.raises(ConfigError, match=r"sound\.hop"):
        load_config("experiments/notes.py", ["sound.hopp=64"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataConfig("notes"), r"data.resolution = 32.*set data.base_shape=2x8 and data.resolution=64"),
        (DataConfig("notes", 64, "2x8", mirror=True), "data.mirror = True.*no meaning for sound; set false"),
        (DataConfig("notes", 64, "2x8", crop="pad"), "data.crop.*set center"),
        (DataConfig("notes", 64, "2x8", channels=3), "data.channels = 3.*has 2; set 0"),
        (DataConfig("notes", 64, "2x8", sound=SoundConfig(n_fft=300)), "sound.n_fft = 300.*256 and 512"),
        (DataConfig("notes", 64, "2x8", sound=SoundConfig(hop=100)), "sound.hop = 100.*divide.*64 and 128"),
        (DataConfig("notes", 64, "2x8", sound=SoundConfig(length=9000)), "sound.length = 9000.*4,224 samples at most"),
        (DataConfig("notes", 64, "2x8", sound=SoundConfig(frames=33)), "no base shape"),
        (DataConfig("notes", 64, "2x8", sound=SoundConfig(magnitude_range="4,1")), "sound.magnitude_range.*LOW,HIGH"),
        (DataConfig("notes", 64, "2x8", sound=SoundConfig(pitches="84-24")), "sound.pitches.*24-84"),
    ],
)
def test_impossible_settings_are_refused_with_what_to_set(data, message):
    with pytest.raises(ConfigError) as caught:
        validate(Config(data=data))
    assert "\n" not in str(caught.value)
    assert re.search(message, str(caught.value)), caught.value


def test_base_shapes_of_the_presets():
    shapes = {(32, 128): ("2x8", 64), (128, 1024): ("2x16", 256), (256, 512): ("4x8", 256), (512, 512): ("4x4", 512)}
    for (frames, bins), fitting in shapes.items():
        assert fitting_base(frames, bins) == fitting
    assert fitting_base(33, 128) is None
    assert parse_pitches("24-26,30") == {24, 25, 26, 30}


def test_a_zero_is_the_number_it_stands_for():
    form = Representation("if_mel", eps=1e-6)
    assert differences(form, dataclasses.replace(form, length=4096, mel_bins=128)) == ""
    assert differences(form, dataclasses.replace(form, length=4000)) == "length 4096, asked for 4000"
