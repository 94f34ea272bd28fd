"""Rows of Table 1: valid configurations that differ from one another in the published settings alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.paper.rows import PARENTS, ablation_row
from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, ScheduleConfig
from pggan_jax.config.io import difference, settings_of
from pggan_jax.config.validation import validate
from pggan_jax.schedule import Schedule

PAPER = Config(
    data=DataConfig(resolution=128, mirror=True),
    generator=GeneratorConfig(fmap_base=2048),
    discriminator=DiscriminatorConfig(fmap_base=2048),
    schedule=ScheduleConfig(stable_kimg=800, fade_kimg=800, total_kimg=10_000),
)
LATENT = {"generator.latent_size": 512, "generator.normalize_latents": True, "generator.use_leakyrelu": True}
CHANGES = {
    "b": {"schedule.start_resolution": 4},
    "c": {"schedule.batch_size": 16, "optimizer.ema_decay": 0.999},
    "d": {
        "schedule.critic_steps": 1,
        "optimizer.beta2": 0.99,
        "loss.drift": 0.001,
        **LATENT,
        "generator.normalization": "none",
        "generator.output_activation": "linear",
        "discriminator.normalization": "none",
    },
    "e*": {"discriminator.minibatch_discrimination": 100},
    "e": {"discriminator.minibatch_stddev": "whole_batch"},
    "f": {"generator.use_wscale": True, "discriminator.use_wscale": True, "schedule.learning_rate": 0.001},
    "g": {"generator.use_pixelnorm": True},
    "h": {"generator.fmap_base": 8192, "discriminator.fmap_base": 8192},
}


@pytest.mark.parametrize("row", CHANGES)
def test_a_row_differs_from_the_one_before_in_the_published_settings(row):
    before, after = dict(settings_of(ablation_row(PARENTS[row], PAPER))), dict(settings_of(ablation_row(row, PAPER)))
    assert {path: value for path, value in after.items() if before[path] != value} == CHANGES[row]


def test_row_a_is_the_published_baseline():
    values = dict(settings_of(ablation_row("a", PAPER)))
    expected = {
        "schedule.start_resolution": 128,
        "schedule.batch_size": 64,
        "schedule.critic_steps": 5,
        "schedule.learning_rate": 1e-4,
        "optimizer.beta1": 0.0,
        "optimizer.beta2": 0.9,
        "loss.drift": 0.0,
        "generator.latent_size": 128,
        "generator.normalize_latents": False,
        "generator.use_leakyrelu": False,
        "generator.use_wscale": False,
        "generator.use_pixelnorm": False,
        "generator.normalization": "batch",
        "generator.output_activation": "tanh",
        "discriminator.normalization": "layer",
        "discriminator.use_wscale": False,
        "discriminator.minibatch_stddev": "none",
        "discriminator.minibatch_discrimination": 0,
    }
    assert {path: values[path] for path in expected} == expected


@pytest.mark.parametrize("row", PARENTS)
def test_rows_are_valid_and_equally_long(row):
    for config in (PAPER, replace(PAPER, schedule=replace(PAPER.schedule, total_kimg=0.0))):
        made = ablation_row(row, config)
        validate(made)
        assert Schedule.of(made).planned_kimg == pytest.approx(Schedule.of(config).planned_kimg, rel=1e-3)
        assert made.data == config.data


def test_the_average_forgets_as_fast_in_every_row():
    for row in PARENTS:
        made = ablation_row(row, PAPER)
        assert made.optimizer.ema_decay ** (16 / made.schedule.batch_size) == pytest.approx(0.999)


def test_row_g_is_the_default_with_small_batches_and_separate_scaling():
    changed = {line.partition(":")[0] for line in difference(PAPER, ablation_row("g", PAPER))}
    assert changed == {
        *("generator.latent_size", "generator.fused_scale", "discriminator.fused_scale", "discriminator.minibatch_stddev"),
    }
