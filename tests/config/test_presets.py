"""The official schedules, against counts from simulating the official loop (spec 2.5)."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from pggan_jax.config import PRESETS, SOUND_PRESETS, Config, DataConfig, ScheduleConfig
from pggan_jax.config.presets import apply_preset
from pggan_jax.config.validation import validate
from pggan_jax.errors import UserError
from pggan_jax.schedule import Schedule

NAMES = ("v1-1gpu", "v2-1gpu", "v2-2gpus", "v2-4gpus", "v2-8gpus")


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture
def official(reference, name):
    return reference["preset_simulation_1024_fp32"][name]


@pytest.fixture
def schedule(name) -> Schedule:
    return Schedule(apply_preset(Config(), name).schedule, 1024)


def test_names(reference):
    assert (*NAMES, *SOUND_PRESETS) == PRESETS
    assert set(reference["preset_simulation_1024_fp32"]) == {"note", *NAMES}
    (choices,) = [field.metadata["choices"] for field in fields(Config) if field.name == "preset"]
    assert choices == ("", *PRESETS)


def test_totals(schedule, official):
    steps = sum(stage.steps for stage in schedule.stages)
    critic_steps = sum(stage.steps * stage.critic_steps for stage in schedule.stages)
    assert steps == official["total_G_steps"]
    assert critic_steps == official["total_D_steps"]
    assert schedule.total_images == official["final_images"]


def test_ticks(schedule, official):
    assert len(schedule.ticks) == official["ticks"]
    snapshots = sum(tick.index % 10 == 0 for tick in schedule.ticks)
    assert snapshots == official["network_snapshots_excluding_final"]


def test_each_resolution(schedule, official):
    assert schedule.resolutions == tuple(int(resolution) for resolution in official["per_resolution"])
    for resolution in schedule.resolutions:
        expected = official["per_resolution"][str(resolution)]
        stages = [stage for stage in schedule.stages if stage.resolution == resolution]
        assert {
            "first_image": stages[0].start,
            "images": sum(stage.end - stage.start for stage in stages),
            "steps": sum(stage.steps for stage in stages),
        } == {key: expected[key] for key in ("first_image", "images", "steps")}
        for stage in stages:
            assert stage.batch_size == expected["minibatch"]
            for images_seen in (stage.start, (stage.start + stage.end) // 2, stage.end - 1):
                point = schedule.at(images_seen)
                assert point.batch_size == expected["minibatch"]
                assert point.learning_rate == pytest.approx(expected["lrate"], rel=1e-12)


def test_optimizer_resets_are_the_starts_of_the_stages(schedule, official):
    assert len(schedule.stages) == len(official["optimizer_resets"]) == 17
    for stage, reset in zip(schedule.stages, official["optimizer_resets"], strict=True):
        point = schedule.at(stage.start)
        assert (stage.start, stage.resolution) == (reset["images"], reset["resolution"])
        assert (point.images_seen, point.resolution) == (reset["images"], reset["resolution"])
        assert schedule.official_lod(point) == pytest.approx(reset["lod"], abs=5e-6)
        assert point.fading == (reset["lod"] % 1 != 0)


def test_whole_schedule_is_replaced(name):
    other = ScheduleConfig(
        start_resolution=8,
        stable_kimg=1.0,
        stable_kimg_at={4: 2.0},
        fade_kimg=3.0,
        fade_kimg_at={8: 4.0},
        total_kimg=5.0,
        batch_size=6,
        batch_size_at={4: 7},
        learning_rate=8.0,
        learning_rate_at={4: 9.0},
        rampup_kimg=10.0,
        critic_steps=11,
        repeats=12,
        tick_kimg=13.0,
        tick_kimg_at={4: 14.0},
        learning_rate_end=15.0,
        r1_gamma_end=16.0,
        ema_half_life_kimg_end=17.0,
        anneal_kimg=18.0,
        total_minutes=19.0,
    )
    assert all(getattr(other, field.name) != getattr(ScheduleConfig(), field.name) for field in fields(other))
    changed = apply_preset(replace(Config(), schedule=other), name)
    assert changed == apply_preset(Config(), name)
    assert changed.preset == name


def test_everything_else_is_kept(name):
    config = Config(data=DataConfig(source="photos", resolution=64))
    changed = apply_preset(config, name)
    assert changed.discriminator == replace(config.discriminator, mbstd_group_size=16 if name == "v1-1gpu" else 4)
    assert replace(changed, preset="", schedule=config.schedule, discriminator=config.discriminator) == config


def test_one_preset_over_another_leaves_no_trace(name):
    for other in NAMES:
        assert apply_preset(apply_preset(Config(), other), name) == apply_preset(Config(), name)


def test_presets_share_no_mapping(name):
    apply_preset(Config(), name).schedule.tick_kimg_at.clear()
    assert apply_preset(Config(), name).schedule.tick_kimg_at


@pytest.mark.parametrize("resolution", [4, 32, 128, 256, 512, 1024])
def test_presets_are_possible_at_any_resolution(name, resolution):
    validate(replace(apply_preset(Config(), name), data=DataConfig(resolution=resolution)))


@pytest.mark.parametrize("unknown", ["", "v1", "v2-3gpus"])
def test_unknown_preset(unknown):
    with pytest.raises(UserError) as caught:
        apply_preset(Config(), unknown)
    assert repr(unknown) in str(caught.value)
    assert ", ".join(PRESETS) in str(caught.value)
