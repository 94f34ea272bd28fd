"""The games: what generator and critic minimise (spec 3). Pure functions of scores and of a critic to differentiate."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from pggan_jax.config import LossConfig

LSGAN_FAKE_WEIGHT = 0.1
LSGAN_NOISE_GAIN = 0.2
LSGAN_NOISE_THRESHOLD = 0.5
LSGAN_AVERAGE_DECAY = 0.9

Critic = Callable[[jax.Array], tuple[jax.Array, jax.Array]]
"""Images `[batch, h, w, c]` to (scores `[batch]`, label logits `[batch, labels]`)."""


class CriticTerms(NamedTuple):
    """The critic's loss and what is worth plotting of it; all scalars, means over the batch.

    `gradient_penalty` is the penalty before its weight: mean (norm - target)^2 for WGAN-GP, mean norm^2 for R1, else 0.
    R1's norm is that at the current resolution; StyleGAN's code takes the full one, ratio^2 times smaller a penalty (spec 3.7).
    """

    loss: jax.Array
    real_score: jax.Array
    fake_score: jax.Array
    gradient_penalty: jax.Array


def generator_loss(config: LossConfig, scores: jax.Array, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean loss of the generator for the critic's view of its images (spec 3.2, 3.6).

    Args:
        config: which game, and the weight of the classifier term.
        scores: critic's scores of generated images `[batch]`.
        logits: label logits `[batch, label_size]`.
        labels: the labels given to the generator, one-hot `[batch, label_size]`.
    """
    match config.name:
        case "lsgan":
            loss = jnp.square(scores).mean()
        case "logistic":
            loss = jax.nn.softplus(-scores).mean()
        case _:
            loss = -scores.mean()
    return loss + config.label_weight * _classification(logits, labels)


def critic_loss(
    config: LossConfig,
    critic: Critic,
    reals: jax.Array,
    fakes: jax.Array,
    labels: jax.Array,
    mixing: jax.Array,
    *,
    resolution_ratio: float,
) -> CriticTerms:
    """Mean loss of the critic (spec 3.3-3.6).

    Args:
        config: which game, and its constants.
        critic: the critic with its parameters bound.
        reals: real images `[batch, h, w, c]` in [-1, 1], already faded.
        fakes: generated images of the same shape, made for the same labels.
        labels: one-hot `[batch, label_size]`.
        mixing: one number in [0, 1) per sample `[batch]`; how far the penalised image lies from the real to the fake.
        resolution_ratio: full resolution over current resolution.
    """
    real_scores, real_logits = critic(reals)
    fake_scores, fake_logits = critic(fakes)
    real_score, fake_score = real_scores.mean(), fake_scores.mean()
    penalty = jnp.zeros((), jnp.float32)
    match config.name:
        case "wgan_gp":
            penalty = _norm_penalty(config, critic, reals, fakes, mixing, resolution_ratio)
            loss = fake_score - real_score + config.gp_weight / config.gp_target**2 * penalty
            loss += config.drift * jnp.square(real_scores).mean()
        case "lsgan":
            # The official target is 0 for reals and 1 for fakes.
            loss = jnp.square(real_scores).mean() + LSGAN_FAKE_WEIGHT * jnp.square(fake_scores - 1.0).mean()
        case "logistic":
            loss = jax.nn.softplus(fake_scores).mean() + jax.nn.softplus(-real_scores).mean()
        case "hinge":
            loss = jax.nn.relu(1.0 + fake_scores).mean() + jax.nn.relu(1.0 - real_scores).mean()
    if config.name in ("logistic", "hinge") and config.r1_gamma:
        penalty = jnp.square(gradient_norms(critic, reals)).mean()
        loss += 0.5 * config.r1_gamma * penalty
    loss += config.label_weight * (_classification(real_logits, labels) + _classification(fake_logits, labels))
    return CriticTerms(loss, real_score, fake_score, penalty)


def gradient_norms(critic: Critic, images: jax.Array) -> jax.Array:
    """L2 norm of the gradient of the summed scores with respect to each image, `[batch]`.

    The sum is differentiated, not each score: through minibatch stddev a sample also moves its group's scores (spec 3.4).
    """
    gradients = jax.grad(lambda x: critic(x)[0].sum())(images)
    squares = jnp.square(gradients.astype(jnp.float32)).sum(axis=(1, 2, 3))
    # The root has no derivative at 0, where a dead critic sits; the official code has no epsilon, so only that point is moved.
    is_zero = squares == 0.0
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, squares)))


def _norm_penalty(
    config: LossConfig, critic: Critic, reals: jax.Array, fakes: jax.Array, mixing: jax.Array, resolution_ratio: float
) -> jax.Array:
    """Mean (norm - target)^2 over images between real and fake.

    The official code measures the norm on images upscaled to the full resolution, where the same gradient is spread over
    ratio^2 pixels and its norm is `ratio` times smaller.
    """
    mixed = reals + (fakes - reals) * mixing[:, None, None, None]
    norms = gradient_norms(critic, mixed)
    if config.gradient_norm == "full_resolution":
        norms = norms / resolution_ratio
    return jnp.square(norms - config.gp_target).mean()


def _classification(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean softmax cross entropy, 0 without labels."""
    if not logits.shape[-1]:
        return jnp.zeros((), jnp.float32)
    return optax.softmax_cross_entropy(logits, labels).mean()


def lsgan_noise_strength(average: jax.Array) -> jax.Array:
    """Strength of the critic's input noise for the running average of its loss (spec 3.6)."""
    return LSGAN_NOISE_GAIN * jnp.square(jnp.maximum(average - LSGAN_NOISE_THRESHOLD, 0.0))


def update_lsgan_average(average: jax.Array, loss: jax.Array) -> jax.Array:
    """Running average that drives the noise. The authors' code feeds it the critic's loss, clipped to [0, 1] (spec 3.6)."""
    # A loss that is not a number would make every later one so.
    signal = jnp.where(jnp.isnan(loss), average, jnp.clip(loss, 0.0, 1.0))
    return LSGAN_AVERAGE_DECAY * average + (1.0 - LSGAN_AVERAGE_DECAY) * signal
