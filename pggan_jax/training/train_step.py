"""One iteration as one per-device function: critic update(s), the generator's moving average, generator update (spec 2.7).

Alpha, learning rate and the rest of `Controls` are traced, so a fade-in runs one program from its first step to its last.
Everything random comes from (seed, step, sample's place in the global batch), whatever the number of devices.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pggan_jax.config import Config
from pggan_jax.distributed import devices
from pggan_jax.distributed.batch_sharding import deal
from pggan_jax.networks.build import Networks
from pggan_jax.networks.layers import InputNoise
from pggan_jax.networks.resample import downscale, upscale
from pggan_jax.training import losses
from pggan_jax.training.microbatches import mean_over_parts
from pggan_jax.training.optimizer import guarded_update, official_adam
from pggan_jax.training.rng import Draws, draw_iteration
from pggan_jax.training.train_state import TrainState

METRICS = ("loss_d", "real_score", "fake_score", "gradient_penalty", "loss_g")
"""What a call returns, in this order: sums of means over the batch, over its iterations without a skipped update. Behind them
`TROUBLE`."""
TROUBLE = ("skipped_in_a_row", "longest", "leaf_discriminator", "leaf_generator", "left_out")
"""Iterations in a row with a skipped update: so many at the end of the call, so many at most in it, and what was not finite
when there were most: numbers of leaves, as `guarded_update` gives them. Last, iterations that the sums leave out."""


MeanOverParts = Callable[[Callable[[Any], Any], Any], Any]
"""`mean_over_parts` with the parts given: function and samples to the function's mean."""


Placed = Any
"""A `jax.Array` inside the step and on devices, a `np.ndarray` on the host, or, to compile ahead, a `jax.ShapeDtypeStruct`."""


class Batch(NamedTuple):
    """One device's share of the data. Leading axes: `[steps, critic_steps, samples]`.

    Attributes:
        images: uint8 `[..., r, r, c]`.
        labels: one-hot float32 `[..., label_size]`.
        places: each sample's index in the global batch, uint32.
    """

    images: Placed
    labels: Placed
    places: Placed


class Controls(NamedTuple):
    """What the schedule says, traced.

    Attributes:
        alpha, learning_rate, ema_decay: float32 `[steps]`.
        noise_seed: uint32.
    """

    alpha: Placed
    learning_rate: Placed
    ema_decay: Placed
    noise_seed: Placed


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


def make_train_call(config: Config, networks: Networks, *, parts: int = 1) -> Callable[..., tuple[TrainState, jax.Array]]:
    """The per-device function `call(state, batch, class_table, controls, count) -> (state, metric sums)`.

    `class_table` int32 `[rows]` holds the classes the generator draws from; `count` says how many of the batch's steps
    are real, so that a short last call needs no second program. The metric sums are float32, as `METRICS` says.

    Args:
        config: the run's settings.
        networks: of one resolution.
        parts: how many a device works through its share of a batch in; one of `dealing.possible_parts`.
    """
    one_iteration = partial(_iteration, config, networks, parts)

    def call(
        state: TrainState, batch: Batch, class_table: jax.Array, controls: Controls, count: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        def body(
            index: jax.Array | int, carry: tuple[TrainState, jax.Array, jax.Array, jax.Array]
        ) -> tuple[TrainState, jax.Array, jax.Array, jax.Array]:
            state, sums, worst, left_out = carry
            step_batch = jax.tree.map(lambda leaf: leaf[index], batch)
            alpha, learning_rate, ema_decay = (leaf[index] for leaf in controls[:-1])
            step_controls = Controls(alpha, learning_rate, ema_decay, controls.noise_seed)
            state, metrics = one_iteration(state, step_batch, class_table, step_controls)
            trouble = jnp.stack([state.skipped_in_a_row, state.bad_leaf_discriminator, state.bad_leaf_generator])
            was_skipped = state.skipped_in_a_row > 0
            sums += jnp.where(was_skipped, 0.0, metrics)
            return state, sums, jnp.where(trouble[0] > worst[0], trouble, worst), left_out + was_skipped

        none = jnp.zeros((), jnp.int32)
        start = state, jnp.zeros(len(METRICS), jnp.float32), jnp.array([0, -1, -1], jnp.int32), none
        # No loop where it cannot help: inside one, XLA:CPU convolutions lose their fast path.
        state, sums, worst, left_out = body(0, start) if batch.places.shape[0] == 1 else lax.fori_loop(0, count, body, start)
        trouble = jnp.stack([state.skipped_in_a_row, *worst, left_out])
        return state, jnp.concatenate([sums, trouble.astype(jnp.float32)])

    return call


def _iteration(
    config: Config, networks: Networks, parts: int, state: TrainState, batch: Batch, class_table: jax.Array, controls: Controls
) -> tuple[TrainState, jax.Array]:
    stddev: dict[str, Any] = {
        "form": config.discriminator.minibatch_stddev,
        "group_size": config.discriminator.mbstd_group_size,
    }
    # The samples of a part are to the network as a batch of their own, as a device's are.
    positions = deal(batch.places.shape[-1], **stddev, devices=parts)
    mean = partial(mean_over_parts, parts=positions, unroll=devices.backend() == "cpu")
    *critic_draws, generator_draws = draw_iteration(
        controls.noise_seed,
        state.step,
        batch.places[0],
        updates=config.schedule.critic_steps + 1,
        latent_size=networks.latent_size,
    )
    skipped_before = state.skipped_discriminator + state.skipped_generator
    critic_metrics = jnp.zeros(len(METRICS) - 1, jnp.float32)
    for repeat, draws in enumerate(critic_draws):
        images, labels = batch.images[repeat], batch.labels[repeat]
        state, terms = _update_critic(config, networks, mean, state, images, labels, draws, controls)
        critic_metrics += jnp.stack(terms)
    state, generator_loss = _update_generator(config, networks, mean, state, class_table, generator_draws, controls)
    metrics = jnp.append(critic_metrics / config.schedule.critic_steps, generator_loss)
    was_skipped = state.skipped_discriminator + state.skipped_generator > skipped_before
    # What went wrong once and passed must not be told as the cause of what goes wrong later.
    state = state.replace(
        step=state.step + 1,
        skipped_in_a_row=jnp.where(was_skipped, state.skipped_in_a_row + 1, 0),
        bad_leaf_discriminator=jnp.where(was_skipped, state.bad_leaf_discriminator, -1),
        bad_leaf_generator=jnp.where(was_skipped, state.bad_leaf_generator, -1),
    )
    return state, devices.mean_over_devices(metrics)


def _update_critic(
    config: Config,
    networks: Networks,
    mean: MeanOverParts,
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    draws: Draws,
    controls: Controls,
) -> tuple[TrainState, losses.CriticTerms]:
    """One critic update, then the generator's moving average, as the official code orders them."""
    has_fade = networks.resolution > config.schedule.start_resolution

    def gradients_and_terms(samples: tuple[jax.Array, jax.Array, Draws]) -> tuple[Any, losses.CriticTerms]:
        images, labels, draws = samples
        mixing, coin = draws.uniforms[:, 0], draws.uniforms[:, 1]
        fakes = networks.generator.apply({"params": state.generator}, draws.latents, labels, controls.alpha)
        flip = coin < 0.5 if config.data.mirror else None
        reals = prepare_reals(images, flip, controls.alpha if has_fade else None)

        def loss(params):
            passes = itertools.count()
            terms = losses.critic_loss(
                config.loss,
                lambda x: networks.discriminator.apply(
                    {"params": params}, x, controls.alpha, _critic_noise(config, state, draws.keys, next(passes))
                ),
                reals,
                fakes,
                labels,
                mixing,
                resolution_ratio=config.data.resolution / networks.resolution,
            )
            return terms.loss, terms

        return jax.grad(loss, has_aux=True)(state.discriminator)

    gradients, terms = mean(gradients_and_terms, (images, labels, draws))
    gradients, mean_loss = devices.mean_over_devices((gradients, terms.loss))
    params, moments, bad_leaf = guarded_update(
        official_adam(config.optimizer),
        state.discriminator,
        state.discriminator_moments,
        gradients,
        controls.learning_rate,
        loss=mean_loss,
    )
    ema = jax.tree.map(
        lambda average, new: controls.ema_decay * average + (1.0 - controls.ema_decay) * new,
        state.generator_ema,
        state.generator,
    )
    average = state.lsgan_average
    if config.loss.name == "lsgan":
        average = jnp.where(bad_leaf < 0, losses.update_lsgan_average(average, mean_loss), average)
    state = state.replace(
        images_seen=state.images_seen + config.schedule.batch_size_for(networks.resolution),
        discriminator=params,
        discriminator_moments=moments,
        generator_ema=ema,
        lsgan_average=average,
        skipped_discriminator=state.skipped_discriminator + (bad_leaf >= 0),
        bad_leaf_discriminator=jnp.where(bad_leaf >= 0, bad_leaf, state.bad_leaf_discriminator),
    )
    return state, terms


def _update_generator(
    config: Config,
    networks: Networks,
    mean: MeanOverParts,
    state: TrainState,
    class_table: jax.Array,
    draws: Draws,
    controls: Controls,
) -> tuple[TrainState, jax.Array]:
    """One generator update with latents and labels of its own."""

    def value_and_gradients(draws: Draws) -> tuple[jax.Array, Any]:
        rows = (draws.uniforms[:, 0] * class_table.shape[0]).astype(jnp.int32)
        # A uniform number may round up to 1.
        classes = class_table[jnp.minimum(rows, class_table.shape[0] - 1)]
        labels = jax.nn.one_hot(classes, networks.generator.label_size, dtype=jnp.float32)
        noise = _critic_noise(config, state, draws.keys, 0)

        def loss(params):
            fakes = networks.generator.apply({"params": params}, draws.latents, labels, controls.alpha)
            scores, logits = networks.discriminator.apply({"params": state.discriminator}, fakes, controls.alpha, noise)
            return losses.generator_loss(config.loss, scores, logits, labels)

        return jax.value_and_grad(loss)(state.generator)

    value, gradients = mean(value_and_gradients, draws)
    gradients, mean_loss = devices.mean_over_devices((gradients, value))
    params, moments, bad_leaf = guarded_update(
        official_adam(config.optimizer),
        state.generator,
        state.generator_moments,
        gradients,
        controls.learning_rate,
        loss=mean_loss,
    )
    state = state.replace(
        generator=params,
        generator_moments=moments,
        skipped_generator=state.skipped_generator + (bad_leaf >= 0),
        bad_leaf_generator=jnp.where(bad_leaf >= 0, bad_leaf, state.bad_leaf_generator),
    )
    return state, value


def _critic_noise(config: Config, state: TrainState, keys: jax.Array, pass_number: int) -> InputNoise | None:
    """LSGAN's noise for one of the critic's passes in an update: reals and fakes are perturbed independently."""
    if config.loss.name != "lsgan":
        return None
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, pass_number)
    return InputNoise(losses.lsgan_noise_strength(state.lsgan_average), keys)
