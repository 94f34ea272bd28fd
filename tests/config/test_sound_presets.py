"""The presets for sound, against what the two programs publish (sound.md 3.1, 3.2)."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pggan_jax.config import SOUND_PRESETS, Config, DataConfig, LossConfig, OptimizerConfig, ScheduleConfig
from pggan_jax.config.io import load_config
from pggan_jax.config.presets import apply_preset
from pggan_jax.config.sound import SoundConfig
from pggan_jax.config.validation import validate
from pggan_jax.data.sounds.open_waves import chosen_representation
from pggan_jax.errors import ConfigError
from pggan_jax.images import ImageSpec, image_shape, parse_base_shape
from pggan_jax.networks.build import build_networks, parameter_shapes
from pggan_jax.networks.generator import generator_features
from pggan_jax.schedule import Schedule, ramp

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "sound_reference_values.json").read_text(encoding="utf-8"))
GANSYNTH = ("gansynth", "gansynth-low")
DEEPSOUND = ("deepsound-abslog", "deepsound-reallog", "deepsound-raw")


def preset(name: str, source: str = "notes") -> Config:
    return apply_preset(Config(data=DataConfig(source=source)), name)


def test_names():
    assert (*GANSYNTH, *DEEPSOUND) == SOUND_PRESETS


@pytest.mark.parametrize("name", SOUND_PRESETS)
def test_runs_on_sound_alone(name):
    validate(preset(name))
    with pytest.raises(ConfigError, match=r"data\.source.*digits") as caught:
        validate(preset(name, "digits"))
    assert name in caught.value.rule


@pytest.mark.parametrize("name", SOUND_PRESETS)
def test_sections_are_replaced_and_the_source_is_kept(name):
    data = DataConfig(
        source="sound:here", max_images=7, shuffle_seed=3, mirror=True, labels=True, sound=SoundConfig(take="slices")
    )
    changed = apply_preset(
        Config(data=data, loss=LossConfig(drift=5.0), schedule=ScheduleConfig(repeats=9), optimizer=OptimizerConfig(beta1=0.5)),
        name,
    )
    expected = preset(name, "sound:here")
    assert changed == replace(expected, data=replace(expected.data, max_images=7, shuffle_seed=3))
    for other in SOUND_PRESETS:
        assert apply_preset(apply_preset(changed, other), name) == changed


@pytest.mark.parametrize("name", SOUND_PRESETS)
def test_single_settings_override_it_from_the_command_line(name):
    overrides = ["schedule.batch_size=32", "sound.take=loudest", f"preset={name}", "data.source=notes"]
    config = load_config("experiments/smoke.py", overrides).config
    smoke = load_config("experiments/smoke.py").config
    expected = replace(preset(name), run=smoke.run)
    expected = replace(expected, schedule=replace(expected.schedule, batch_size=32))
    sound = replace(expected.data.sound, take="loudest")
    assert config == replace(expected, data=replace(expected.data, sound=sound))


@pytest.mark.parametrize("name", SOUND_PRESETS)
def test_a_preset_that_is_only_named_is_refused(name, tmp_path):
    path = tmp_path / "named.py"
    path.write_text(f"from pggan_jax.config import Config\ndef get_config():\n    return Config(preset={name!r})\n")
    with pytest.raises(ConfigError, match="apply_preset"):
        load_config(str(path), ["data.source=notes"])


# GANSynth


@pytest.mark.parametrize(("name", "base_shape"), [("gansynth", "2x16"), ("gansynth-low", "4x8")])
def test_gansynth_has_the_published_levels_and_number_of_parameters(name, base_shape):
    golden, config = GOLDEN["gansynth_networks"], preset(name)
    assert config.data.base_shape == base_shape
    found: tuple[dict, dict] = ({}, {})
    levels = []
    for resolution in Schedule.of(config).resolutions:
        networks = build_networks(config, resolution, image_spec=ImageSpec(0, 0, 2, 61))
        levels.append([networks.shape.height, networks.shape.width])
        for parameters, tree in zip(found, parameter_shapes(networks), strict=True):
            parameters |= flatten_dict(tree, sep="/")
    assert levels == golden[f"levels_{base_shape}"]
    # The authors' networks hold the layers from and to colours of all levels at once.
    counts = [sum(math.prod(leaf.shape) for leaf in parameters.values()) for parameters in found]
    assert counts == [golden[f"start_{base_shape}"][network] for network in "GD"]
    channels = {stage: generator_features(config.generator, 2 ** (stage + 1)) for stage in range(8)}
    assert channels == {int(block): count for block, count in golden["channels_of_block"].items()}
    assert found[1][f"block_{base_shape}/dense0/kernel"].shape[-1] == channels[0]
    assert networks.latent_size + 61 == found[0][f"block_{base_shape}/dense/kernel"].shape[0] == 317


def test_gansynth_starts_with_the_published_gain():
    """Their convolution on a padded pixel is a dense layer: kernel and input meet once at each position."""
    config = preset("gansynth")
    networks = build_networks(config, 4, image_spec=ImageSpec(0, 0, 2, 61))
    gain = math.sqrt(2) / math.sqrt(2 * 16) / math.sqrt(317)
    assert gain == pytest.approx(GOLDEN["gansynth_networks"]["runtime_gain_start_dense_2x16"], rel=1e-9)
    params = jax.tree.map(lambda leaf: jax.numpy.ones(leaf.shape), parameter_shapes(networks)[0])
    latents, labels = jax.numpy.zeros((1, 256)).at[0, 0].set(1.0), jax.numpy.zeros((1, 61))
    _, seen = networks.generator.apply({"params": params}, latents, labels, capture_intermediates=True)
    (dense,) = seen["intermediates"]["block_2x16"]["dense"]["__call__"]
    assert dense.shape == (1, 2, 16, 256)
    # The latent's one number becomes sqrt(317) when all 317 are normalised together; the bias is 1.
    assert float(dense[0, 1, 15, 7]) == pytest.approx(1.0 + gain * math.sqrt(317), rel=1e-5)


@pytest.mark.parametrize("name", GANSYNTH)
def test_gansynth_schedule(name):
    golden, config = GOLDEN["gansynth_schedule"], preset(name)
    schedule = Schedule.of(config)
    assert schedule.total_images == golden["total_images"]
    for image, progress in golden["progress_at_image"].items():
        point = schedule.look(int(image))
        assert 6.0 - schedule.official_lod(point) == pytest.approx(progress, abs=1e-12)
        assert (point.batch_size, point.learning_rate) == (8, 8e-4)
    ends = golden["end_of_stages"].values()
    assert len(schedule.stages) == len(ends) == 13
    for stage, end in zip(schedule.stages, ends, strict=True):
        assert 0 <= stage.end - end <= 8  # a fade begins with the first batch after its start
    assert {stage.critic_steps for stage in schedule.stages} == {1}
    assert config.optimizer == OptimizerConfig(beta1=0.0, beta2=0.99, ema_decay=0.999, on_new_phase="reset")


@pytest.mark.parametrize("name", GANSYNTH)
def test_gansynth_normalisation_and_penalty_are_the_published_ones(name):
    config = preset(name)
    (a, b), phase = chosen_representation(config.data.sound).scale
    assert (a, b) == pytest.approx((0.0661371661726, 0.113718730221), abs=1e-12)
    assert phase == pytest.approx((0.8, 0.0))
    assert config.loss.gp_channel_scale == pytest.approx((a, phase[0]), abs=1e-12)
    assert (config.loss.label_weight, config.loss.label_fakes) == (10.0, False)
    assert (config.loss.gp_weight, config.loss.gp_target, config.loss.drift) == (10.0, 1.0, 0.001)
    assert config.generator.output_activation == "tanh"


@pytest.mark.parametrize("text", ["docs/sound.md", "experiments/gansynth.py"])
def test_the_linear_variant_has_the_penalty_of_its_own_range(text):
    content = " ".join((ROOT / text).read_text(encoding="utf-8").split())
    words = content.partition("--set sound.representation=if ")[2]
    changes = ["sound.representation=if", *re.findall(r"--set ([\w.]+=[-\d.,]+)", words)[:3]]
    config = load_config(str(ROOT / "experiments" / "gansynth.py"), changes).config
    validate(config)
    form = chosen_representation(config.data.sound)
    assert config.loss.gp_channel_scale == pytest.approx([a for a, _ in form.scale], rel=1e-4)
    loudest = form.analyse((-1.0) ** np.arange(form.samples))[..., 0].max()
    assert form.fitted([(-13.8155, float(loudest)), (-1.0, 1.0)]).scale[0] == pytest.approx(form.scale[0], rel=1e-4)


# deepsound


@pytest.mark.parametrize("name", DEEPSOUND)
def test_deepsound_schedule(name):
    config = preset(name)
    schedule = Schedule.of(config)
    assert schedule.total_images == pytest.approx(3e6, abs=16)
    batches = {stage.resolution: stage.batch_size for stage in schedule.stages}
    assert batches == dict.fromkeys((4, 8, 16, 32, 64, 128), 16) | {256: 14, 512: 6}
    assert config.schedule.batch_size_for(1024) == 3
    lengths = [stage.end - stage.start for stage in schedule.stages[:-1]]
    assert lengths == pytest.approx([100_000] * 14, abs=32)
    for images in (0, 10_000, 39_999, 40_000, 2_000_000):
        x = min(images / 40_000, 1.0)
        assert schedule.look(images).learning_rate == pytest.approx(1e-3 * math.exp(-5 * (1 - x) ** 2), rel=1e-12)
    assert ramp(20.0, 40.0) == pytest.approx(math.exp(-1.25))


@pytest.mark.parametrize("name", DEEPSOUND)
def test_deepsound_networks_and_loss(name):
    config = preset(name)
    networks = build_networks(config, 512, image_spec=ImageSpec(512, 512, 1, 0))
    assert networks.latent_size == 512
    channels = [generator_features(config.generator, 2**level) for level in range(1, 10)]
    assert channels == [512, 512, 512, 512, 256, 128, 64, 32, 16]
    assert config.loss == LossConfig(gp_weight=10.0, gp_target=1.0, drift=0.001, penalty_scale="current")
    assert not config.data.labels
    assert (config.optimizer.beta1, config.optimizer.beta2) == (0.0, 0.99)


@pytest.mark.parametrize("name", SOUND_PRESETS)
def test_images_have_the_shape_of_the_representation(name):
    data = preset(name).data
    representation = chosen_representation(data.sound)
    shape = image_shape(data.resolution, parse_base_shape(data.base_shape))
    assert representation.shape[:2] == (shape.height, shape.width)
    assert representation.channels == data.sound.channels
