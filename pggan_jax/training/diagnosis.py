"""Which gradient is not finite: asked once, when a run has diverged."""

from __future__ import annotations

from typing import Any

import jax

from pggan_jax.config import Config
from pggan_jax.distributed import devices
from pggan_jax.networks.build import Networks
from pggan_jax.training.rng import sample_noise
from pggan_jax.training.step_inputs import Batch, SharedInputs, TracedSchedulePoint
from pggan_jax.training.train_state import TrainState
from pggan_jax.training.train_step import discriminator_step, generator_batch, generator_step


def first_nonfinite_gradient(
    state: TrainState,
    batch: Batch,
    schedule_points: TracedSchedulePoint,
    shared: SharedInputs,
    *,
    config: Config,
    networks: Networks,
) -> str:
    """Repeat the first step of a call and name what is not finite in the update of each network.

    Compiles a program of its own. Every process of a run has to call it.

    Args:
        state, batch, schedule_points, shared: as the mapped `multi_step` takes them; the state is not donated.
        config: the run's settings.
        networks: of the resolution of `state`.

    Returns:
        Such as "discriminator/block_4x4/conv/kernel and generator/loss": per network the first leaf, in the order of their
        paths, whose gradient, moment or new value is not finite, or "loss" if it is only the loss. Empty if all are finite.
    """

    def check(
        state: TrainState, batch: Batch, schedule_points: TracedSchedulePoint, shared: SharedInputs
    ) -> dict[str, dict[str, jax.Array]]:
        own_batch = jax.tree.map(lambda leaf: leaf[0, 0], batch)
        point = jax.tree.map(lambda leaf: leaf[0], schedule_points)
        sizes: dict[str, Any] = {"updates": config.schedule.critic_steps + 1, "latent_size": networks.latent_size}
        noise, *_, generator_noise = sample_noise(shared.noise_seed, state.step, own_batch.sample_index, **sizes)
        of_run: dict[str, Any] = {"config": config, "networks": networks}
        state, _, of_discriminator = discriminator_step(state, own_batch, noise, point, **of_run)
        own_batch = generator_batch(own_batch, generator_noise, shared.class_table, **of_run)
        _, _, of_generator = generator_step(state, own_batch, generator_noise, point, **of_run)
        return {"discriminator": of_discriminator, "generator": of_generator}

    finite = devices.map_over_devices(check, donate=False)(state, batch, schedule_points, shared)
    found = []
    for network, by_path in jax.device_get(finite).items():
        bad = sorted((path == "loss", path) for path, is_finite in by_path.items() if not is_finite)
        found += [f"{network}/{path}" for _, path in bad[:1]]
    return " and ".join(found)
