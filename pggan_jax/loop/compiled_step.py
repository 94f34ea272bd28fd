"""What belongs to one resolution of a run: the modules and the functions made from them."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.distributed import devices
from pggan_jax.generation.sampling import Sampler
from pggan_jax.loop.step_cost import choose_microbatches, with_microbatches
from pggan_jax.networks.build import Networks, build_networks
from pggan_jax.training.multi_step import make_multi_step


@dataclass(frozen=True)
class Program:
    """What belongs to one resolution.

    Attributes:
        config: the run's settings, with the number of microbatches set.
        networks: the modules.
        multi_step: the mapped `run_steps`.
        microbatches: that a device splits its samples of a batch into.
        sampler: the compiled generator.
    """

    config: Config
    networks: Networks
    multi_step: jax.stages.Wrapped
    microbatches: int
    sampler: Sampler


def build_program(config: Config, resolution: int, loader: Loader) -> Program:
    """Modules and functions for `resolution`; unless memory may be short, nothing is compiled before it is called."""
    networks = build_networks(config, resolution, image_spec=loader.image_spec, axis_name=devices.AXIS)
    microbatches = choose_microbatches(config, networks)
    config = with_microbatches(config, resolution, microbatches)
    multi_step = devices.map_over_devices(make_multi_step(config, networks))
    return Program(config, networks, multi_step, microbatches, Sampler(networks.generator))
