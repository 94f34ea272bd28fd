"""The state of a run as one plain pytree: parameters, moments, the generator's moving average, and counters.

Everything random and the order of the data follow from `(seed, step, images_seen)`, so this is all that resume needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from pggan_jax.config import Config, OptimizerConfig
from pggan_jax.distributed import devices
from pggan_jax.networks.build import Networks, build_networks, initialize, parameter_shapes
from pggan_jax.networks.growth import GrowthReport, transfer
from pggan_jax.training.optimizer import AdamMoments, official_adam


class TrainState(flax.struct.PyTreeNode):
    """What a checkpoint holds.

    Attributes:
        step: iterations so far (int32).
        images_seen: real images shown to the critic so far (int32).
        generator, discriminator: parameters.
        generator_ema: moving average of the generator, the network that pictures are made with.
        generator_moments, discriminator_moments: Adam's.
        lsgan_average: running average that drives LSGAN's noise, 0 in other games.
        skipped_generator, skipped_discriminator: updates left out because a gradient was not finite (int32).
        bad_leaf_generator, bad_leaf_discriminator: number of the leaf that made the last such update be left out, the first
            one in the order of the tree; -1 if there was none since the last iteration without (int32).
        skipped_in_a_row: iterations up to this one in which an update was left out (int32).
    """

    step: jax.Array
    images_seen: jax.Array
    generator: Mapping[str, Any]
    discriminator: Mapping[str, Any]
    generator_ema: Mapping[str, Any]
    generator_moments: AdamMoments
    discriminator_moments: AdamMoments
    lsgan_average: jax.Array
    skipped_generator: jax.Array
    skipped_discriminator: jax.Array
    bad_leaf_generator: jax.Array
    bad_leaf_discriminator: jax.Array
    skipped_in_a_row: jax.Array


def create_train_state(config: OptimizerConfig, networks: Networks, seed: int) -> TrainState:
    """The state before the first step, on the host: there zeros need no program for each shape they come in."""
    generator, discriminator = initialize(networks, seed)
    shapes = jax.eval_shape(partial(_with_parameters, config), generator, discriminator)
    none = np.full((), -1, np.int32)
    return _zeros(shapes).replace(
        generator=generator,
        discriminator=discriminator,
        generator_ema=jax.tree.map(np.copy, generator),
        bad_leaf_generator=none,
        bad_leaf_discriminator=none.copy(),
    )


def _zeros(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)


def abstract_train_state(config: OptimizerConfig, networks: Networks) -> TrainState:
    """Shapes and types of the state, without drawing or allocating anything."""
    return jax.eval_shape(partial(_with_parameters, config), *parameter_shapes(networks))


def _with_parameters(config: OptimizerConfig, generator: dict[str, Any], discriminator: dict[str, Any]) -> TrainState:
    optimizer = official_adam(config)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        images_seen=jnp.zeros((), jnp.int32),
        generator=generator,
        discriminator=discriminator,
        generator_ema=jax.tree.map(jnp.copy, generator),
        generator_moments=optimizer.init(generator),
        discriminator_moments=optimizer.init(discriminator),
        lsgan_average=jnp.zeros((), jnp.float32),
        skipped_generator=jnp.zeros((), jnp.int32),
        skipped_discriminator=jnp.zeros((), jnp.int32),
        bad_leaf_generator=jnp.full((), -1, jnp.int32),
        bad_leaf_discriminator=jnp.full((), -1, jnp.int32),
        skipped_in_a_row=jnp.zeros((), jnp.int32),
    )


def grow_train_state(
    state: TrainState, config: OptimizerConfig, networks: Networks, seed: int
) -> tuple[TrainState, GrowthReport, GrowthReport]:
    """Move a state into the networks of the next resolution.

    New layers start from their initialisation in the generator and its average alike, as if they had been there, idle, from
    the first step (spec 2.9); their moments start at 0.

    Returns:
        The grown state, and what became of the leaves of generator and discriminator.
    """
    fresh = create_train_state(config, networks, seed)
    generator, generator_report = transfer(state.generator, fresh.generator)
    discriminator, discriminator_report = transfer(state.discriminator, fresh.discriminator)
    ema, _ = transfer(state.generator_ema, fresh.generator_ema)
    grown = state.replace(
        generator=generator,
        discriminator=discriminator,
        generator_ema=ema,
        generator_moments=_grow_moments(state.generator_moments, fresh.generator_moments),
        discriminator_moments=_grow_moments(state.discriminator_moments, fresh.discriminator_moments),
    )
    return grown, generator_report, discriminator_report


def _grow_moments(old: AdamMoments, fresh: AdamMoments) -> AdamMoments:
    return AdamMoments(old.count, transfer(old.first, fresh.first)[0], transfer(old.second, fresh.second)[0])


def reset_moments(state: TrainState) -> TrainState:
    """Forget both networks' moments and their bias-correction counters (spec 2.7); the new ones are on the host."""
    return state.replace(
        generator_moments=_zeros(state.generator_moments), discriminator_moments=_zeros(state.discriminator_moments)
    )


def networks_for(config: Config, resolution: int, loader: Any) -> Networks:
    """The modules for `resolution` and the loader's data."""
    sizes = {"channels": loader.channels, "label_size": loader.label_size}
    return build_networks(config, resolution, **sizes, axis_name=devices.AXIS)


def leaf_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shapes by paths such as 'generator/block_4x4/conv/kernel', the same for dataclasses, named tuples and dicts."""
    named = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(str(getattr(key, "name", getattr(key, "key", key))) for key in path): leaf.shape for path, leaf in named}
