"""One iteration as one per-device function: critic update(s), the generator's moving average, generator update (spec 2.7).

Alpha, learning rate and the rest of `Controls` are traced, so a fade-in runs one program from its first step to its last.
Everything random comes from (seed, step, sample's place in the global batch), whatever the number of devices.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pggan_jax.config import Config
from pggan_jax.networks.build import Networks
from pggan_jax.networks.layers import InputNoise
from pggan_jax.networks.resample import downscale, upscale
from pggan_jax.training import losses
from pggan_jax.training.optimizer import guarded_update, official_adam
from pggan_jax.training.parallel import mean_over_devices
from pggan_jax.training.state import TrainState

METRICS = ("loss_d", "real_score", "fake_score", "gradient_penalty", "loss_g")
"""What a call returns, in this order: sums over its iterations of means over the batch."""


class Batch(NamedTuple):
    """One device's share of the data. Leading axes: `[steps, critic_steps, samples]`.

    Attributes:
        images: uint8 `[..., r, r, c]`.
        labels: one-hot float32 `[..., label_size]`.
        places: each sample's index in the global batch, uint32.
    """

    images: jax.Array
    labels: jax.Array
    places: jax.Array


class Controls(NamedTuple):
    """What the schedule says, traced.

    Attributes:
        alpha, learning_rate, ema_decay: float32 `[steps]`.
        noise_seed: uint32.
    """

    alpha: jax.Array
    learning_rate: jax.Array
    ema_decay: jax.Array
    noise_seed: jax.Array


class Draw(IntEnum):
    """What a random number is for; each purpose has its own stream."""

    CRITIC_LATENT = 0
    MIRROR = 1
    MIXING = 2
    CRITIC_NOISE = 3
    GENERATOR_LATENT = 4
    GENERATOR_LABEL = 5
    GENERATOR_NOISE = 6


def sample_keys(step_key: jax.Array, purpose: Draw, repeat: int, places: jax.Array) -> jax.Array:
    """One key per sample `[samples]` for one purpose in the critic's update number `repeat` of a step."""
    key = jax.random.fold_in(jax.random.fold_in(step_key, purpose), repeat)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, places)


def prepare_reals(images: jax.Array, flip: jax.Array | None, alpha: jax.Array | None) -> jax.Array:
    """Real images as the critic sees them (spec 3.1).

    Args:
        images: uint8 `[batch, r, r, c]`.
        flip: bool `[batch]`, which images to mirror, or None.
        alpha: weight of the full detail; below 1 the image is blended with its half-resolution self. None means no fade.

    Returns:
        float32 `[batch, r, r, c]` in [-1, 1].
    """
    reals = images.astype(jnp.float32) * (2.0 / 255.0) - 1.0
    if flip is not None:
        reals = jnp.where(flip[:, None, None, None], reals[:, :, ::-1], reals)
    if alpha is not None:
        reals = upscale(downscale(reals)) * (1.0 - alpha) + reals * alpha
    return reals


def make_train_call(config: Config, networks: Networks) -> Callable[..., tuple[TrainState, jax.Array]]:
    """The per-device function `call(state, batch, label_table, controls, count) -> (state, metric sums)`.

    `label_table` `[rows, label_size]` holds the labels the generator draws from; `count` says how many of the batch's steps
    are real, so that a short last call needs no second program. The metric sums are float32, in the order of `METRICS`.
    """
    one_iteration = partial(_iteration, config, networks)

    def call(
        state: TrainState, batch: Batch, label_table: jax.Array, controls: Controls, count: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        def body(index: jax.Array | int, carry: tuple[TrainState, jax.Array]) -> tuple[TrainState, jax.Array]:
            state, sums = carry
            step_batch = jax.tree.map(lambda leaf: leaf[index], batch)
            step_controls = Controls(*(leaf[index] for leaf in controls[:-1]), controls.noise_seed)
            state, metrics = one_iteration(state, step_batch, label_table, step_controls)
            return state, sums + metrics

        start = state, jnp.zeros(len(METRICS))
        if batch.places.shape[0] == 1:
            # No loop where it cannot help: inside one, XLA:CPU convolutions lose their fast path.
            return body(0, start)
        return lax.fori_loop(0, count, body, start)

    return call


def _iteration(
    config: Config, networks: Networks, state: TrainState, batch: Batch, label_table: jax.Array, controls: Controls
) -> tuple[TrainState, jax.Array]:
    step_key = jax.random.fold_in(jax.random.key(controls.noise_seed), state.step)
    critic_metrics = jnp.zeros(len(METRICS) - 1)
    for repeat in range(config.schedule.critic_steps):
        repeat_batch = jax.tree.map(lambda leaf: leaf[repeat], batch)  # noqa: B023
        state, terms = _update_critic(config, networks, state, repeat_batch, step_key, repeat, controls)
        critic_metrics += jnp.stack(terms)
    state, generator_loss = _update_generator(config, networks, state, batch.places[0], label_table, step_key, controls)
    metrics = jnp.append(critic_metrics / config.schedule.critic_steps, generator_loss)
    return state.replace(step=state.step + 1), mean_over_devices(metrics)


def _update_critic(
    config: Config,
    networks: Networks,
    state: TrainState,
    batch: Batch,
    step_key: jax.Array,
    repeat: int,
    controls: Controls,
) -> tuple[TrainState, losses.CriticTerms]:
    """One critic update, then the generator's moving average, as the official code orders them."""
    keys = partial(sample_keys, step_key, repeat=repeat, places=batch.places)
    latents = _normal_rows(keys(Draw.CRITIC_LATENT), networks.latent_size)
    fakes = networks.generator.apply({"params": state.generator}, latents, batch.labels, controls.alpha)
    flip = _coin_flips(keys(Draw.MIRROR)) if config.data.mirror else None
    has_fade = networks.resolution > config.schedule.start_resolution
    reals = prepare_reals(batch.images, flip, controls.alpha if has_fade else None)
    mixing = jax.vmap(jax.random.uniform)(keys(Draw.MIXING))
    noise = _critic_noise(config, state, keys(Draw.CRITIC_NOISE))

    def loss(params):
        terms = losses.critic_loss(
            config.loss,
            lambda images: networks.discriminator.apply({"params": params}, images, controls.alpha, noise),
            reals,
            fakes,
            batch.labels,
            mixing,
            resolution_ratio=config.data.resolution / networks.resolution,
        )
        return terms.loss, terms

    gradients, terms = jax.grad(loss, has_aux=True)(state.discriminator)
    params, moments, skipped = guarded_update(
        official_adam(config.optimizer),
        state.discriminator,
        state.discriminator_moments,
        mean_over_devices(gradients),
        controls.learning_rate,
    )
    ema = jax.tree.map(
        lambda average, new: controls.ema_decay * average + (1.0 - controls.ema_decay) * new,
        state.generator_ema,
        state.generator,
    )
    average = state.lsgan_average
    if config.loss.name == "lsgan":
        average = losses.update_lsgan_average(average, mean_over_devices(terms.loss))
    state = state.replace(
        images_seen=state.images_seen + config.schedule.batch_size_at.get(networks.resolution, config.schedule.batch_size),
        discriminator=params,
        discriminator_moments=moments,
        generator_ema=ema,
        lsgan_average=average,
        skipped_discriminator=state.skipped_discriminator + skipped,
    )
    return state, terms


def _update_generator(
    config: Config,
    networks: Networks,
    state: TrainState,
    places: jax.Array,
    label_table: jax.Array,
    step_key: jax.Array,
    controls: Controls,
) -> tuple[TrainState, jax.Array]:
    """One generator update with latents and labels of its own."""
    keys = partial(sample_keys, step_key, repeat=0, places=places)
    latents = _normal_rows(keys(Draw.GENERATOR_LATENT), networks.latent_size)
    rows = jax.vmap(lambda key: jax.random.randint(key, (), 0, label_table.shape[0]))(keys(Draw.GENERATOR_LABEL))
    labels = label_table[rows]
    noise = _critic_noise(config, state, keys(Draw.GENERATOR_NOISE))

    def loss(params):
        fakes = networks.generator.apply({"params": params}, latents, labels, controls.alpha)
        scores, logits = networks.discriminator.apply({"params": state.discriminator}, fakes, controls.alpha, noise)
        return losses.generator_loss(config.loss, scores, logits, labels)

    value, gradients = jax.value_and_grad(loss)(state.generator)
    params, moments, skipped = guarded_update(
        official_adam(config.optimizer),
        state.generator,
        state.generator_moments,
        mean_over_devices(gradients),
        controls.learning_rate,
    )
    state = state.replace(generator=params, generator_moments=moments, skipped_generator=state.skipped_generator + skipped)
    return state, value


def _normal_rows(keys: jax.Array, size: int) -> jax.Array:
    return jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)


def _coin_flips(keys: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.bernoulli)(keys)


def _critic_noise(config: Config, state: TrainState, keys: jax.Array) -> InputNoise | None:
    if config.loss.name != "lsgan":
        return None
    return InputNoise(losses.lsgan_noise_strength(state.lsgan_average), keys)
