"""What DCGAN and the tiny networks refuse, and what to set instead."""

from __future__ import annotations

import pytest

from pggan_jax.config import Config
from pggan_jax.config.io import replace_setting
from pggan_jax.config.validation import validate
from pggan_jax.errors import ConfigError

FITTING = {
    "networks.name": "dcgan",
    "data.resolution": 32,
    "schedule.start_resolution": 32,
    "discriminator.minibatch_stddev": "none",
    "loss.name": "logistic",
}


def config_of(**changes) -> Config:
    config = Config()
    for path, value in (FITTING | {path.replace("__", "."): value for path, value in changes.items()}).items():
        config = replace_setting(config, path, value)
    return config


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data__resolution": 16, "schedule__start_resolution": 16},
        {"networks__kernel_size": 4, "generator__latents": "uniform", "generator__normalize_latents": False},
        {"networks__name": "dcgan_mnist", "data__labels": True},
        {"generator__dtype": "bfloat16", "discriminator__fmap_base": 512, "loss__name": "wgan_gp"},
    ],
)
def test_accepted(changes):
    validate(config_of(**changes))


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("schedule.start_resolution", 4, "networks.name=dcgan does not grow; set data.resolution, which is 32"),
        ("loss.name", "lsgan", "needs noise on the discriminator's layers"),
        ("discriminator.minibatch_stddev", "strided", "networks.name=dcgan has no such channel; set none"),
        ("generator.use_wscale", False, "has no effect with networks.name=dcgan; leave it at true"),
        ("generator.output_activation", "tanh", "leave it at linear"),
        ("discriminator.mbstd_group_size", 8, "leave it at 4"),
    ],
)
def test_refused(path, value, rule):
    with pytest.raises(ConfigError) as caught:
        validate(config_of(**{path.replace(".", "__"): value}))
    assert (caught.value.path, caught.value.value) == (path, value)
    assert rule in caught.value.rule


def test_images_of_8x8_are_too_small():
    with pytest.raises(ConfigError, match="at least 16"):
        validate(config_of(data__resolution=8, schedule__start_resolution=8))


def test_the_conditional_network_needs_labels():
    with pytest.raises(ConfigError, match=r"data\.labels=true"):
        validate(config_of(networks__name="dcgan_mnist"))


TINY = {"networks__name": "tiny", "schedule__start_resolution": 4}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"discriminator__minibatch_stddev": "whole_batch", "data__resolution": 64},
        {"generator__normalization": "batch", "discriminator__normalization": "batch", "generator__use_wscale": False},
        {"discriminator__minibatch_stddev": "strided", "discriminator__mbstd_group_size": 8, "schedule__batch_size": 8},
        {"generator__output_activation": "tanh", "discriminator__use_wscale": False, "data__resolution": 4},
    ],
)
def test_accepted_by_the_tiny_networks(changes):
    validate(config_of(**TINY, **changes))


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("loss.name", "lsgan", "which networks.name=tiny lacks"),
        ("generator.use_leakyrelu", False, "has no effect with networks.name=tiny; leave it at true"),
        ("generator.blur", True, "leave it at false"),
        ("discriminator.fused_scale", False, "leave it at true"),
        ("discriminator.normalization", "layer", "is not for networks.name=tiny; set none or batch"),
        ("discriminator.minibatch_discrimination", 10, "leave it at 0"),
        ("networks.kernel_size", 4, "is for networks.name=dcgan; leave it at 5"),
    ],
)
def test_refused_by_the_tiny_networks(path, value, rule):
    with pytest.raises(ConfigError) as caught:
        validate(config_of(**TINY, **{path.replace(".", "__"): value}))
    assert (caught.value.path, caught.value.value) == (path, value)
    assert rule in caught.value.rule


@pytest.mark.parametrize(("name", "allowed"), [("pggan", "none or layer"), ("dcgan", "none")])
def test_batch_norm_in_the_discriminator_belongs_to_the_tiny_networks(name, allowed):
    with pytest.raises(ConfigError, match=f"is not for networks.name={name}; set {allowed}"):
        validate(config_of(networks__name=name, discriminator__normalization="batch"))


@pytest.mark.parametrize(("path", "value"), [("networks.kernel_size", 4), ("networks.outer_biases", True)])
def test_options_of_dcgan_are_refused_for_progressive_networks(path, value):
    with pytest.raises(ConfigError, match=r"is for networks\.name=dcgan"):
        validate(replace_setting(Config(), path, value))
