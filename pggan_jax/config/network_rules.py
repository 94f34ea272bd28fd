"""Rules between the settings of the networks, and between them and others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields

from pggan_jax.config import Config, DiscriminatorConfig, GeneratorConfig, NetworksConfig
from pggan_jax.errors import ConfigError

_SMALLEST = 16
_MAPS = ("fmap_base", "fmap_decay", "fmap_max", "dtype")
_OPTIONS_OF_DCGAN = {
    "generator": {*_MAPS, "latent_size", "latents", "normalize_latents", "pixelnorm_epsilon"},
    "discriminator": {*_MAPS, "minibatch_stddev"},
}
"""All others have no effect with DCGAN."""
_NORMS = {"use_wscale", "normalization"}
_OPTIONS_OF_TINY = {
    "generator": _OPTIONS_OF_DCGAN["generator"] | _NORMS | {"use_pixelnorm", "output_activation"},
    "discriminator": _OPTIONS_OF_DCGAN["discriminator"] | _NORMS | {"mbstd_group_size"},
}
"""All others have no effect with the tiny networks."""


def check_networks(config: Config) -> None:
    """Refuse options of the networks that do not fit together.

    Raises:
        ConfigError: for the first setting that is wrong.
    """
    discriminator = config.discriminator
    if discriminator.minibatch_discrimination and discriminator.minibatch_stddev not in ("none", "whole_batch"):
        rule = (
            f"compares all images of the batch, but discriminator.minibatch_stddev={discriminator.minibatch_stddev} has "
            "groups; set that to none, or to whole_batch for both"
        )
        raise ConfigError("discriminator.minibatch_discrimination", discriminator.minibatch_discrimination, rule)
    if config.generator.first_bias == "position" and config.generator.normalization == "batch":
        rule = "has no effect with generator.normalization=batch, which replaces biases; leave it at channel"
        raise ConfigError("generator.first_bias", "position", rule)
    name, norm = config.networks.name, discriminator.normalization
    if norm != "none" and (norm == "batch") != (name == "tiny"):
        allowed = "none or batch" if name == "tiny" else "none or layer" if name == "pggan" else "none"
        raise ConfigError("discriminator.normalization", norm, f"is not for networks.name={name}; set {allowed}")
    if name in ("pggan", "tiny"):
        for one in fields(NetworksConfig):
            value, default = getattr(config.networks, one.name), one.default
            if one.name != "name" and value != default:
                rule = f"is for networks.name=dcgan; leave it at {_written(default)}"
                raise ConfigError(f"networks.{one.name}", value, rule)
    if name == "tiny":
        _check_options(config, _OPTIONS_OF_TINY)
    elif name != "pggan":
        _check_dcgan(config)


def _check_dcgan(config: Config) -> None:
    """Refuse settings that DCGAN cannot be trained with, or that have no effect on it.

    Raises:
        ConfigError: for the first of them.
    """
    name, resolution, start = config.networks.name, config.data.resolution, config.schedule.start_resolution
    it = f"networks.name={name}"
    if start != resolution:
        raise ConfigError("schedule.start_resolution", start, f"{it} does not grow; set data.resolution, which is {resolution}")
    if resolution < _SMALLEST:
        rule = f"{it} needs at least {_SMALLEST}; set data.resolution and schedule.start_resolution to {_SMALLEST}"
        raise ConfigError("data.resolution", resolution, rule)
    if name == "dcgan_mnist" and not config.data.labels:
        rule = f"{it} is given the class of each image; set data.labels=true, or networks.name=dcgan"
        raise ConfigError("data.labels", False, rule)
    if config.discriminator.minibatch_stddev != "none":
        value = config.discriminator.minibatch_stddev
        raise ConfigError("discriminator.minibatch_stddev", value, f"{it} has no such channel; set none")
    _check_options(config, _OPTIONS_OF_DCGAN)


def _check_options(config: Config, usable: Mapping[str, Collection[str]]) -> None:
    """Refuse options that have no effect, and the loss of the progressive networks alone.

    Args:
        config: the whole configuration.
        usable: options of generator and discriminator that have an effect.

    Raises:
        ConfigError: for the first setting that is wrong.
    """
    it = f"networks.name={config.networks.name}"
    if config.loss.name == "lsgan":
        raise ConfigError("loss.name", "lsgan", f"needs noise on the discriminator's layers, which {it} lacks; set logistic")
    for section, defaults in (("generator", GeneratorConfig()), ("discriminator", DiscriminatorConfig())):
        for one in fields(defaults):
            value, default = getattr(getattr(config, section), one.name), getattr(defaults, one.name)
            if one.name not in usable[section] and value != default:
                raise ConfigError(f"{section}.{one.name}", value, f"has no effect with {it}; leave it at {_written(default)}")


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
