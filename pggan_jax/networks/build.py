"""From a configuration to the pair of networks at one resolution, and their first parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from pggan_jax.config import Config
from pggan_jax.networks.discriminator import Discriminator
from pggan_jax.networks.generator import Generator, latent_size


@dataclass(frozen=True)
class Networks:
    """Generator and discriminator of one resolution."""

    generator: Generator
    discriminator: Discriminator
    latent_size: int

    @property
    def resolution(self) -> int:
        """Side of the images."""
        return self.generator.resolution


def build_networks(
    config: Config, resolution: int, *, channels: int, label_size: int, axis_name: str | None = None
) -> Networks:
    """The pair of modules for `resolution`; holds no parameters.

    Args:
        config: the run's settings.
        resolution: side of the images, 4*2^k, from `schedule.start_resolution` up.
        channels: colour channels.
        label_size: number of classes trained with, 0 for none.
        axis_name: the device axis that the critic's batch is spread over, if any.
    """
    start = config.schedule.start_resolution
    return Networks(
        generator=Generator(config.generator, resolution, channels, label_size, start),
        discriminator=Discriminator(config.discriminator, resolution, label_size, start, axis_name),
        latent_size=latent_size(config.generator),
    )


def initialize(networks: Networks, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters of generator and discriminator.

    A leaf's value depends on the seed and its path alone, so a layer starts the same whenever it is grown.
    """
    generator_key, discriminator_key = jax.random.split(jax.random.key(seed))
    generator, discriminator = networks.generator, networks.discriminator.clone(axis_name=None)
    size = networks.resolution

    @jax.jit
    def draw() -> tuple[dict[str, Any], dict[str, Any]]:
        latents = jnp.zeros((1, networks.latent_size))
        labels = jnp.zeros((1, generator.label_size))
        images = jnp.zeros((1, size, size, generator.channels))
        of_generator = generator.init(generator_key, latents, labels)["params"]
        return of_generator, discriminator.init(discriminator_key, images)["params"]

    return draw()
