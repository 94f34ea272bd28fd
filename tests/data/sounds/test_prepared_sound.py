"""Prepared sound as the data of a run: presets are accepted, and settings are checked as for unprepared sound."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pggan_jax.config import Config, DataConfig
from pggan_jax.config.presets import apply_preset
from pggan_jax.config.sound import SoundConfig
from pggan_jax.config.validation import validate
from pggan_jax.data.open_loader import open_configured, open_loader
from pggan_jax.data.preparation.prepare import prepare
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.sources.open_source import open_source
from pggan_jax.errors import ConfigError, UserError
from pggan_jax.loop.run_setup import open_run, start_run
from tests.helpers.array_source import ArraySource, noise

SOUND = SoundConfig(sample_rate=4000, n_fft=64, hop=32, frames=8)


def prepared(folder, sound=SOUND, *, resolution=16, base_shape="2x8"):
    """Prepare 26 notes; the data of a run on them."""
    data = DataConfig("notes:26", resolution, base_shape, sound=sound)
    prepare(open_configured(data), PreparationSpec.from_config(data), folder=folder, progress=False)
    return replace(data, source=f"prepared:{folder}")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("prepared") / "notes")


def refusal(data):
    with pytest.raises(UserError) as caught:
        open_loader(data, seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_is_opened_with_its_representation(data):
    loader = open_loader(data, seed=0)
    assert len(loader) == 26
    assert loader.representation.shape == (8, 32, 2)


def test_a_preset_for_sound_takes_it(tmp_path):
    config = apply_preset(Config(data=DataConfig("notes:26")), "gansynth")
    sound = replace(config.data.sound, sample_rate=1000, n_fft=64, hop=16, frames=4, length=96, mel_bins=32)
    config = replace(config, data=replace(config.data, resolution=8, sound=sound))
    data = replace(config.data, source=prepared(tmp_path / "mel", sound, resolution=8, base_shape="2x16").source)
    validate(replace(config, data=data))
    loader = open_loader(data, seed=0)
    assert (loader.representation.name, loader.label_size) == ("if_mel", 13)


def test_a_preset_for_sound_refuses_prepared_images(tmp_path):
    prepare(ArraySource(noise(20, 8)), PreparationSpec(8), folder=tmp_path / "images", progress=False)
    data = DataConfig(f"prepared:{tmp_path / 'images'}", 8)
    config = replace(Config(data=data), preset="gansynth")
    validate(config)
    with (
        open_run(tmp_path / "run", config) as opened,
        pytest.raises(ConfigError, match="preset=gansynth is for sound"),
        start_run(opened, open_loader(data, seed=0), allow_data_change=False),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mirror": True}, "data.mirror = True: has no meaning for sound"),
        ({"augment": ("cutout",)}, "has no meaning for sound; set it to nothing"),
        ({"range": "0,1"}, "data.range = '0,1': has no meaning for sound"),
        ({"resolution": 8}, "data.resolution = 8: with data.base_shape=2x8 makes images of 4x16"),
    ],
)
def test_settings_of_images_are_refused(data, change, words):
    assert words in refusal(replace(data, **change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_fft": 300}, "sound.n_fft = 300: must be a power of two"),
        ({"magnitude_range": "x"}, "sound.magnitude_range = 'x': must be fit, or two finite numbers"),
        ({"sample_rate": 8000}, "was prepared with sample_rate 4000, asked for 8000"),
        ({"magnitude_range": "-9,9"}, "was prepared with scale "),
    ],
)
def test_another_representation_is_refused(data, change, words):
    assert words in refusal(replace(data, sound=replace(SOUND, **change)))


def test_settings_of_clips_are_reported_as_without_effect(data):
    lines = []
    open_loader(replace(data, sound=replace(SOUND, level="peak", take="loudest")), seed=0, report=lines.append)
    assert lines == [f"data: {data.source} holds finished clips: sound.take, sound.level without effect"]
    open_loader(data, seed=0, report=lines.append)
    assert len(lines) == 1


def test_sound_is_not_stacked(data):
    for source in ("stacked:notes", "stacked:notes:20", "stacked:sound:here"):
        with pytest.raises(ConfigError, match=r"stacks images, and (notes|sound) gives sound"):
            validate(Config(data=DataConfig(source)))
    with pytest.raises(UserError, match=r"stacks images, and .* holds sound"):
        open_source(f"stacked:{data.source}", resolution=16)
