"""The state of a run as one pytree.

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

from pggan_jax.config import OptimizerConfig
from pggan_jax.networks.build import Networks, initialize, parameter_shapes
from pggan_jax.networks.growth import GrowthReport, transfer
from pggan_jax.training.freezing import keep_frozen
from pggan_jax.training.optimizer import AdamMoments, leaf_paths, official_adam, update_if_finite


class TrainState(flax.struct.PyTreeNode):
    """What a checkpoint holds.

    Attributes:
        step: iterations so far (int32).
        images_seen: real images shown to the discriminator so far (int32).
        generator, discriminator: parameters.
        generator_ema: exponential moving average of the generator, the network that images are generated with.
        generator_moments, discriminator_moments: Adam's.
        lsgan_average: running average that controls LSGAN's noise, 0 for other losses.
        skipped_generator, skipped_discriminator: updates skipped because they were not finite (int32).
        skipped_in_a_row: iterations up to this one in which an update was skipped (int32).
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
    skipped_in_a_row: jax.Array

    @property
    def skipped_updates(self) -> jax.Array:
        """Updates of both networks that were skipped."""
        return self.skipped_generator + self.skipped_discriminator


def create_train_state(config: OptimizerConfig, networks: Networks, seed: int) -> TrainState:
    """Create the state before the first step, on the host.

    There zeros need no program for each shape.
    """
    generator, discriminator = initialize(networks, seed)
    shapes = jax.eval_shape(partial(_with_parameters, config), generator, discriminator)
    return _zeros(shapes).replace(
        generator=generator,
        discriminator=discriminator,
        generator_ema=jax.tree.map(np.copy, generator),
    )


def _zeros(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)


def abstract_train_state(config: OptimizerConfig, networks: Networks) -> TrainState:
    """Shapes and types of the state, without sampling or allocating anything."""
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
        skipped_in_a_row=jnp.zeros((), jnp.int32),
    )


def apply_gradients_if_finite(
    state: TrainState, network: str, gradients: Any, *, loss: jax.Array, learning_rate: jax.Array, config: OptimizerConfig
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Update one network, or count a skipped update if it would not be finite (spec 2.7).

    Args:
        state: before the update.
        network: "generator" or "discriminator".
        gradients: of the network's parameters, the same on every device.
        loss: scalar, the same on every device.
        learning_rate: scalar.
        config: of Adam.

    Returns:
        The new state, and which leaves were finite: see `update_if_finite`.
    """
    params, moments, finite = update_if_finite(
        official_adam(config),
        getattr(state, network),
        getattr(state, f"{network}_moments"),
        gradients,
        loss=loss,
        learning_rate=learning_rate,
    )
    if network == "discriminator" and config.freeze_discriminator:
        params, moments = _keep_frozen(state, params, moments, config.freeze_discriminator)
    is_skipped = ~jnp.stack(list(finite.values())).all()
    changes = {
        network: params,
        f"{network}_moments": moments,
        f"skipped_{network}": getattr(state, f"skipped_{network}") + is_skipped,
    }
    return state.replace(**changes), finite


def _keep_frozen(state: TrainState, params: Any, moments: AdamMoments, levels: int) -> tuple[Any, AdamMoments]:
    """Leave the frozen modules of the discriminator and their moments as they were."""
    old = state.discriminator_moments
    first = keep_frozen(moments.first, old.first, levels) if moments.first else moments.first
    kept = AdamMoments(moments.count, first, keep_frozen(moments.second, old.second, levels))
    return keep_frozen(params, state.discriminator, levels), kept


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
    """Set moments and bias-correction counters of both networks to 0, on the host (spec 2.7)."""
    return state.replace(
        generator_moments=_zeros(state.generator_moments), discriminator_moments=_zeros(state.discriminator_moments)
    )


def leaf_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of leaves by their paths; see `leaf_paths`."""
    return {path: leaf.shape for path, leaf in zip(leaf_paths(tree), jax.tree.leaves(tree), strict=True)}
