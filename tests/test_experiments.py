"""The experiment files: each can be run as it stands, and says how and at what cost."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pggan_jax.config import PRESETS, SOUND_PRESETS, Config
from pggan_jax.config.io import load_config
from pggan_jax.config.presets import apply_preset
from pggan_jax.images import ImageSpec, parse_crop
from pggan_jax.networks.build import build_networks
from pggan_jax.networks.layers import feature_maps
from pggan_jax.schedule import Schedule

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "experiments").glob("*.py"))
TREES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
CONFIGS = [
    name
    for name, tree in TREES.items()
    if any(isinstance(node, ast.FunctionDef) and node.name == "get_config" for node in tree.body)
]
OF_THE_PAPER = ("mnist", "stacked_mnist", "cifar10", "cifar100", "svhn", "lsun", "celeba", "celebahq_1024")


def config_of(name, overrides=()) -> Config:
    return load_config(str(ROOT / "experiments" / f"{name}.py"), overrides).config


def stages_of(name, overrides=()):
    config = config_of(name, overrides)
    return Schedule(config.schedule, config.data.resolution).stages


def test_the_promised_files_are_there():
    assert {"digits", "photos_64", "smoke", "folder", *OF_THE_PAPER} <= set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_is_valid(name):
    assert stages_of(name)[-1].resolution == config_of(name).data.resolution


@pytest.mark.parametrize("name", TREES)
def test_docstring_gives_the_command(name):
    text = ast.get_docstring(TREES[name]) or ""
    if name == "digits":
        assert "python launch.py\n" in f"{text}\n"
    elif name in CONFIGS:
        assert f"python launch.py --config=experiments/{name}.py" in text
    else:
        assert f"python experiments/{name}.py" in text


@pytest.mark.parametrize("name", CONFIGS)
def test_docstring_gives_cost_and_result(name):
    text = ast.get_docstring(TREES[name]) or ""
    assert "Cost: " in text
    assert "Expect: " in text
    assert "COST_" not in text, "a placeholder"


def test_smoke_grows_to_sixteen_with_two_fades():
    stages = stages_of("smoke")
    assert [(stage.resolution, stage.fading) for stage in stages] == [
        (4, False),
        (8, True),
        (8, False),
        (16, True),
        (16, False),
    ]


def test_digits_goes_from_four_to_thirty_two():
    assert [stage.resolution for stage in stages_of("digits") if not stage.fading] == [4, 8, 16, 32]


@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset not in SOUND_PRESETS])
def test_celebahq_takes_every_official_preset(preset):
    stages = stages_of("celebahq_1024", [f"preset={preset}"])
    assert {stage.resolution for stage in stages} == {4, 8, 16, 32, 64, 128, 256, 512, 1024}


# The data sets of the paper: spec 4.2 for mirroring, 4.3 for images, labels and order


@pytest.mark.parametrize(
    ("name", "source", "resolution", "channels"),
    [
        ("mnist", "tfds:mnist", 32, 1),
        ("stacked_mnist", "stacked:tfds:mnist", 32, 3),
        ("cifar10", "tfds:cifar10", 32, 3),
        ("cifar100", "tfds:cifar100", 32, 3),
        ("svhn", "tfds:svhn_cropped", 32, 3),
        ("lsun", "tfds:lsun/bedroom", 256, 3),
        ("celeba", "tfds:celeb_a:train+validation+test", 128, 3),
        ("celebahq_1024", "folder:celeba_hq", 1024, 3),
    ],
)
def test_images_of_the_paper(name, source, resolution, channels):
    data = config_of(name).data
    assert (data.source, data.resolution, data.channels) == (source, resolution, channels)
    assert data.resample == "lanczos"


def test_faces_and_lsun_are_mirrored_and_nothing_else():
    assert {name for name in OF_THE_PAPER if config_of(name).data.mirror} == {"lsun", "celeba", "celebahq_1024"}


def test_labels_are_used_where_the_set_has_classes_but_not_for_the_inception_score():
    assert {name for name in OF_THE_PAPER if config_of(name).data.labels} == {"mnist", "cifar100", "svhn"}


def test_all_but_lsun_and_stacked_images_are_shuffled_like_the_authors_files():
    seeds = {name: config_of(name).data.shuffle_seed for name in OF_THE_PAPER}
    assert {name for name, seed in seeds.items() if seed == -1} == {"lsun", "stacked_mnist"}
    assert set(seeds.values()) == {123, -1}


def test_celeba_window_is_the_authors(reference):
    (top, bottom), (left, right) = reference["golden_data"]["celeba_crop_row_range_col_range_half_open"]
    assert parse_crop(config_of("celeba").data.crop) == (left, top, right - left, bottom - top)


def test_other_sets_are_padded_or_cropped_in_the_middle():
    crops = {name: config_of(name).data.crop for name in OF_THE_PAPER if name != "celeba"}
    assert {name for name, crop in crops.items() if crop == "pad"} == {"mnist", "stacked_mnist"}
    assert set(crops.values()) == {"pad", "center"}


def test_number_of_images(reference):
    counts = {name: config_of(name).data.max_images for name in OF_THE_PAPER}
    assert {name: count for name, count in counts.items() if count} == {
        "lsun": 100_000,
        "stacked_mnist": reference["golden_data"]["dataset_images"]["mnistrgb_default"],
    }


@pytest.mark.parametrize("name", [name for name in OF_THE_PAPER if name not in ("cifar10", "stacked_mnist")])
def test_official_schedule_and_networks(name):
    config = config_of(name)
    assert config == apply_preset(Config(data=config.data), "v2-1gpu")


def test_cifar10_is_the_setup_of_the_inception_score():
    config = config_of("cifar10")
    schedule = config.schedule
    assert config.loss.gp_target == 750
    assert (schedule.stable_kimg, schedule.fade_kimg, schedule.total_kimg) == (400, 400, 20000)
    assert {stage.batch_size for stage in stages_of("cifar10")} == {16}
    assert (schedule.learning_rate, schedule.rampup_kimg) == (0.001, 0)
    assert config.discriminator.minibatch_stddev == "whole_batch"
    assert not config.generator.fused_scale
    assert not config.discriminator.fused_scale


def network_sizes(name):
    """(latent size, the generator's feature maps from 4x4 up, the discriminator's)."""
    config = config_of(name)
    resolution = config.data.resolution
    networks = build_networks(config, resolution, image_spec=ImageSpec(resolution, resolution, config.data.channels))
    stages = range(1, config.data.resolution.bit_length() - 1)
    generator, discriminator = (
        [feature_maps(stage, fmap_base=of.fmap_base, fmap_decay=of.fmap_decay, fmap_max=of.fmap_max) for stage in stages]
        for of in (config.generator, config.discriminator)
    )
    return networks.latent_size, generator, discriminator


def test_cifar10_networks():
    assert network_sizes("cifar10") == (128, [128, 128, 128, 128], [128, 128, 128, 128])


def test_stacked_mnist_is_the_column_with_progression():
    config = config_of("stacked_mnist")
    schedule = config.schedule
    assert (schedule.stable_kimg, schedule.fade_kimg, schedule.total_kimg) == (500, 2000, 15000)
    assert (schedule.critic_steps, schedule.rampup_kimg, config.loss.drift) == (5, 40, 0)
    assert {stage.batch_size for stage in stages_of("stacked_mnist")} == {64}
    assert network_sizes("stacked_mnist") == (64, [64, 32, 16, 8], [16, 16, 8, 4])


def test_overrides_that_the_docstrings_name_are_valid():
    larger = ["generator.fmap_base=8192", "generator.fmap_max=512", "generator.latent_size=512"]
    wider = ["discriminator.fmap_base=8192", "discriminator.fmap_max=512"]
    assert stages_of("cifar10", [*larger, *wider])[-1].resolution == 32
    assert config_of("celebahq_1024", ["data.source=tfds:celeb_a_hq/1024"]).data.mirror
    longer = ["preset=v1-1gpu", "schedule.total_kimg=20000", "schedule.batch_size_at=256:16"]
    assert {stage.batch_size for stage in stages_of("lsun", longer)} == {16}
    separate = ["generator.fused_scale=false", "discriminator.fused_scale=false", "discriminator.minibatch_stddev=whole_batch"]
    smaller = ["generator.fmap_base=2048", "discriminator.fmap_base=2048"]
    row_g = stages_of("celeba", ["preset=v1-1gpu", "schedule.total_kimg=10000", *smaller, *separate])
    assert row_g[-1].end >= 10_000_000


# Sound: sound.md 3.3


@pytest.mark.parametrize(("name", "preset"), [("gansynth", "gansynth"), ("deepsound", "deepsound-abslog")])
def test_presets_of_sound(name, preset):
    config = config_of(name)
    assert config == apply_preset(Config(data=config.data), preset)
    assert config.data.source.startswith("sound:")


@pytest.mark.parametrize(
    ("name", "seconds", "levels"),
    [
        ("sounds", 1.024, "4x8 8x16 16x32 32x64 64x128 128x256"),
        ("notes_smooth", 0.512, "2x4 4x8 8x16 16x32 32x64 64x128"),
    ],
)
def test_sound_of_75_percent_overlap(name, seconds, levels):
    data = config_of(name).data
    assert data.sound.n_fft == 4 * data.sound.hop
    assert data.sound.samples / data.sound.sample_rate == seconds
    schedule = Schedule.of(config_of(name))
    assert " ".join(str(data.shape_at(resolution)) for resolution in schedule.resolutions) == levels


def test_phases_of_sounds_take_200_kimg_each():
    stages = stages_of("sounds")
    assert [stage.end - stage.start for stage in stages] == pytest.approx([200_000] * 11, abs=128)
    assert {stage.batch_size for stage in stages} == {16}
