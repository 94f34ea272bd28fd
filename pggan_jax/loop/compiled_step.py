"""The networks of one resolution, and the functions that are compiled from them."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.distributed import devices
from pggan_jax.generation.sampling import Sampler
from pggan_jax.loop.step_cost import choose_microbatches, with_microbatches
from pggan_jax.networks.build import Networks, build_networks
from pggan_jax.training.multi_step import make_multi_step


@dataclass(frozen=True)
class Program:
    """The networks of one resolution, and the functions that are compiled from them.

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


def build_program(config: Config, resolution: int, *, loader: Loader) -> Program:
    """Build the program of a resolution.

    Nothing is compiled yet, unless the memory may be too small for a whole batch.
    """
    networks = build_networks(config, resolution, image_spec=loader.image_spec, axis_name=devices.AXIS)
    microbatches = choose_microbatches(config, networks)
    config = with_microbatches(config, resolution, count=microbatches)
    counts = np.bincount(loader.class_table(), minlength=loader.label_size).tolist() if loader.label_size else ()
    multi_step = devices.map_over_devices(make_multi_step(config, networks))
    return Program(config, networks, multi_step, microbatches, Sampler(networks.generator, counts))
