"""Rules between the settings of the networks."""

from __future__ import annotations

from pggan_jax.config import Config
from pggan_jax.errors import ConfigError


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
