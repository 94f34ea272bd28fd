"""What belongs to one resolution of a run: the modules and the functions made from them."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.generation.sampling import Sampler
from pggan_jax.networks.build import Networks, build_networks
from pggan_jax.training import parallel
from pggan_jax.training.planning import choose_parts
from pggan_jax.training.step import make_train_call


@dataclass(frozen=True)
class Program:
    """The modules, the mapped train call, the parts that a device works through its share of a batch in, and the compiled
    generator."""

    networks: Networks
    train_call: jax.stages.Wrapped
    parts: int
    sampler: Sampler


def networks_for(config: Config, resolution: int, loader: Loader) -> Networks:
    """The modules for `resolution` and the loader's data."""
    sizes = {"channels": loader.channels, "label_size": loader.label_size}
    return build_networks(config, resolution, **sizes, axis_name=parallel.AXIS)


def build_program(config: Config, resolution: int, loader: Loader) -> Program:
    """Modules and functions for `resolution`; unless memory may be short, nothing is compiled before it is called."""
    networks = networks_for(config, resolution, loader)
    parts = choose_parts(config, networks)
    train_call = parallel.map_over_devices(make_train_call(config, networks, parts=parts))
    return Program(networks, train_call, parts, Sampler(networks.generator))
