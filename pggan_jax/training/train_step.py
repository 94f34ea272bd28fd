"""One iteration of progressive GAN training as a per-device function (spec 2.7, 3).

To change what is trained, edit a `loss_fn`. Every entry of the `metrics` that it returns appears in `stats.jsonl`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from pggan_jax.config import Config
from pggan_jax.config.training import PAIRED_LOSSES
from pggan_jax.distributed.batch_sharding import microbatch_indices
from pggan_jax.networks.build import Networks
from pggan_jax.networks.resample import downscale, upscale
from pggan_jax.training import losses
from pggan_jax.training.augmentation import augment
from pggan_jax.training.freezing import stop_gradients
from pggan_jax.training.microbatches import accumulate_gradients
from pggan_jax.training.rng import NoiseBatch, sample_labels, sample_noise
from pggan_jax.training.step_inputs import Batch, SharedInputs, TracedSchedulePoint
from pggan_jax.training.step_metrics import check_metric_names
from pggan_jax.training.train_state import TrainState, apply_gradients_if_finite

Metrics = dict[str, jax.Array]
"""Scalars by the name that they have in `stats.jsonl`."""


def train_step(
    state: TrainState,
    batch: Batch,
    schedule_point: TracedSchedulePoint,
    shared: SharedInputs,
    *,
    config: Config,
    networks: Networks,
) -> tuple[TrainState, Metrics]:
    """Run one iteration: n_critic discriminator steps, then one generator step (spec 2.7).

    Each discriminator step is followed by the EMA update, as in the official code.

    Args:
        state: before the step.
        batch: real images, `[n_critic, samples, ...]`.
        schedule_point: alpha, learning rate and EMA decay.
        shared: noise seed and class table.
        config: the run's settings.
        networks: of the current resolution.

    Returns:
        The new state, and metrics averaged over the discriminator steps.
    """
    n_critic = config.schedule.critic_steps
    *noises, generator_noise = sample_noise(
        shared.noise_seed, state.step, batch.sample_index[0], updates=n_critic + 1, latent_size=networks.latent_size
    )
    skipped_before = state.skipped_updates
    metrics = []
    for number, noise in enumerate(noises):
        own_batch = jax.tree.map(lambda leaf: leaf[number], batch)  # noqa: B023
        state, own_metrics, _ = discriminator_step(state, own_batch, noise, schedule_point, config=config, networks=networks)
        state = update_ema(state, schedule_point.ema_decay)
        metrics.append(own_metrics)
    mean_metrics = jax.tree.map(lambda *values: sum(values) / n_critic, *metrics)
    own_batch = generator_batch(own_batch, generator_noise, shared.class_table, config=config, networks=networks)
    state, generator_metrics, _ = generator_step(
        state, own_batch, generator_noise, schedule_point, config=config, networks=networks
    )
    state = state.replace(
        step=state.step + 1,
        images_seen=state.images_seen + n_critic * config.schedule.batch_size_for(networks.resolution),
        skipped_in_a_row=jnp.where(state.skipped_updates > skipped_before, state.skipped_in_a_row + 1, 0),
    )
    check_metric_names(mean_metrics, generator_metrics)
    return state, mean_metrics | generator_metrics


def discriminator_step(
    state: TrainState,
    batch: Batch,
    noise: NoiseBatch,
    schedule_point: TracedSchedulePoint,
    *,
    config: Config,
    networks: Networks,
) -> tuple[TrainState, Metrics, Metrics]:
    """Update the discriminator once (spec 3.3-3.6).

    Returns:
        The new state, metrics, and which leaves were finite: see `update_if_finite`.
    """
    alpha = schedule_point.alpha

    def loss_fn(params, batch, noise):
        params = stop_gradients(params, config.optimizer.freeze_discriminator)

        def discriminator(images, pass_number=losses.REALS):
            images = augment(images, config.data.augment, noise.keys, pass_number=pass_number)
            input_noise = losses.discriminator_noise(config.loss, state.lsgan_average, noise.keys, pass_number=pass_number)
            return networks.discriminator.apply({"params": params}, images, alpha, input_noise, batch.labels)

        fakes = networks.generator.apply({"params": state.generator}, noise.latents, batch.labels, alpha)
        reals = _reals(batch, noise, alpha, config=config, networks=networks)
        real_scores, real_logits = discriminator(reals)
        fake_scores, fake_logits = discriminator(fakes, pass_number=losses.FAKES)
        mixing, ratio = noise.uniforms[:, 0], config.data.resolution / networks.resolution
        penalty = losses.gradient_penalty(config.loss, discriminator, reals, fakes, mixing, resolution_ratio=ratio)
        weight = schedule_point.penalty_weight
        loss = losses.discriminator_loss(config.loss, real_scores, fake_scores, penalty, penalty_weight=weight)
        classification = losses.classification_loss(real_logits, batch.labels)
        if config.loss.label_fakes:
            classification += losses.classification_loss(fake_logits, batch.labels)
        loss += config.loss.label_weight * classification
        metrics = {
            "loss_d": loss,
            "real_score": real_scores.mean(),
            "fake_score": fake_scores.mean(),
            "gradient_penalty": penalty,
        }
        if config.loss.name in PAIRED_LOSSES:
            metrics["score_difference"] = (real_scores - fake_scores).mean()
        return loss, metrics

    microbatches = _microbatches(config, networks, noise)
    (loss, metrics), grads = accumulate_gradients(loss_fn, state.discriminator, (batch, noise), microbatches)
    new_state, finite = apply_gradients_if_finite(
        state, "discriminator", grads, loss=loss, learning_rate=schedule_point.learning_rate, config=config.optimizer
    )
    if config.loss.name == "lsgan":
        is_skipped = new_state.skipped_updates > state.skipped_updates
        average = losses.update_lsgan_average(state.lsgan_average, loss)
        new_state = new_state.replace(lsgan_average=jnp.where(is_skipped, state.lsgan_average, average))
    return new_state, metrics, finite


def generator_batch(batch: Batch, noise: NoiseBatch, class_table: jax.Array, *, config: Config, networks: Networks) -> Batch:
    """Labels of a generator step, and the real images that it compares with.

    Only `PAIRED_LOSSES` compare. They take images and labels of the last discriminator step. For other losses, labels are
    sampled with the frequencies of the data.

    Args:
        batch: of the last discriminator step.
        noise: of the generator step.
        class_table: see `SharedInputs`.
        config: the run's settings.
        networks: of the current resolution.

    Returns:
        The batch, without images where no loss looks at them.
    """
    if config.loss.name in PAIRED_LOSSES:
        return batch
    labels = sample_labels(noise.uniforms[:, 0], class_table, networks.generator.label_size)
    return batch._replace(images=None, labels=labels)


def generator_step(
    state: TrainState,
    batch: Batch,
    noise: NoiseBatch,
    schedule_point: TracedSchedulePoint,
    *,
    config: Config,
    networks: Networks,
) -> tuple[TrainState, Metrics, Metrics]:
    """Update the generator once, on what `generator_batch` returns (spec 3.2, 3.7).

    Returns:
        As `discriminator_step`.
    """
    alpha = schedule_point.alpha

    def loss_fn(params, batch, noise):
        def discriminator(images, pass_number):
            images = augment(images, config.data.augment, noise.keys, pass_number=pass_number)
            input_noise = losses.discriminator_noise(config.loss, state.lsgan_average, noise.keys, pass_number=pass_number)
            return networks.discriminator.apply({"params": state.discriminator}, images, alpha, input_noise, batch.labels)

        fakes = networks.generator.apply({"params": params}, noise.latents, batch.labels, alpha)
        # The keys are those of this update: its first pass is that of the fakes.
        scores, logits = discriminator(fakes, pass_number=0)
        real_scores = None
        if config.loss.name in PAIRED_LOSSES:
            reals = _reals(batch, noise, alpha, config=config, networks=networks)
            real_scores, _ = discriminator(reals, pass_number=1)
        loss = losses.generator_loss(config.loss, scores, real_scores)
        loss += config.loss.label_weight * losses.classification_loss(logits, batch.labels)
        return loss, {"loss_g": loss}

    microbatches = _microbatches(config, networks, noise)
    (loss, metrics), grads = accumulate_gradients(loss_fn, state.generator, (batch, noise), microbatches)
    new_state, finite = apply_gradients_if_finite(
        state, "generator", grads, loss=loss, learning_rate=schedule_point.learning_rate, config=config.optimizer
    )
    return new_state, metrics, finite


def update_ema(state: TrainState, decay: jax.Array) -> TrainState:
    """Move the generator's exponential moving average towards the generator."""
    ema = jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, state.generator_ema, state.generator)
    return state.replace(generator_ema=ema)


def prepare_reals(images: jax.Array, *, flip: jax.Array | None, alpha: jax.Array | None) -> jax.Array:
    """Real images as the discriminator sees them (spec 3.1).

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


def _reals(batch: Batch, noise: NoiseBatch, alpha: jax.Array, *, config: Config, networks: Networks) -> jax.Array:
    """Prepare the images of a batch, mirrored and faded as the settings say."""
    return prepare_reals(
        batch.images,
        flip=noise.uniforms[:, 1] < 0.5 if config.data.mirror else None,
        alpha=alpha if networks.resolution > config.schedule.start_resolution else None,
    )


def _microbatches(config: Config, networks: Networks, noise: NoiseBatch) -> np.ndarray:
    """Sample indices of the microbatches that this device works on one after another."""
    most = config.run.microbatch_for(networks.resolution)
    return microbatch_indices(len(noise.latents), most, config.microbatch_groups)
