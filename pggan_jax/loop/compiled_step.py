"""What belongs to one resolution of a run: the modules and the functions made from them."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.distributed import devices
from pggan_jax.generation.sampling import Sampler
from pggan_jax.loop.step_cost import choose_parts
from pggan_jax.networks.build import Networks
from pggan_jax.training.train_state import networks_for
from pggan_jax.training.train_step import make_train_call


@dataclass(frozen=True)
class Program:
    """The modules, the mapped train call, the parts that a device works through its share of a batch in, and the compiled
    generator."""

    networks: Networks
    train_call: jax.stages.Wrapped
    parts: int
    sampler: Sampler


def build_program(config: Config, resolution: int, loader: Loader) -> Program:
    """Modules and functions for `resolution`; unless memory may be short, nothing is compiled before it is called."""
    networks = networks_for(config, resolution, loader)
    parts = choose_parts(config, networks)
    train_call = devices.map_over_devices(make_train_call(config, networks, parts=parts))
    return Program(networks, train_call, parts, Sampler(networks.generator))
