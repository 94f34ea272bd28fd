"""Losses of generator and discriminator (spec 3), as pure functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import lax

from pggan_jax.config import LossConfig
from pggan_jax.networks.layers import InputNoise

LSGAN_FAKE_WEIGHT = 0.1
LSGAN_NOISE_GAIN = 0.2
LSGAN_NOISE_THRESHOLD = 0.5
LSGAN_AVERAGE_DECAY = 0.9

BoundDiscriminator = Callable[..., tuple[jax.Array, jax.Array]]
"""A discriminator with its parameters: images `[batch, h, w, c]` to scores `[batch]` and label logits `[batch, label_size]`.

Its keyword `pass_number` chooses the random numbers of noise and augmentation: `REALS` (the default) or `FAKES`.
"""
REALS, FAKES = 0, 1


def generator_loss(config: LossConfig, scores: jax.Array, real_scores: jax.Array | None = None) -> jax.Array:
    """Mean adversarial loss of the generator (spec 3.2, 3.6, 3.7).

    Args:
        config: which loss.
        scores: the discriminator's scores of generated images `[batch]`.
        real_scores: scores of the real images that they are paired with, for `PAIRED_LOSSES`.

    Raises:
        ValueError: the loss has no formula here.
    """
    match config.name:
        case "lsgan":
            return jnp.square(scores).mean()
        case "logistic":
            return jax.nn.softplus(-scores).mean()
        case "wgan_gp" | "hinge":
            return -scores.mean()
        case "rpgan":
            if real_scores is None:
                raise ValueError("the loss 'rpgan' compares pairs: generator_loss needs real_scores")
            return jax.nn.softplus(lax.stop_gradient(real_scores) - scores).mean()
        case _:
            raise ValueError(f"generator_loss has no case for the loss {config.name!r}; add one")


def discriminator_loss(
    config: LossConfig,
    real_scores: jax.Array,
    fake_scores: jax.Array,
    penalty: jax.Array,
    *,
    penalty_weight: jax.Array | None = None,
) -> jax.Array:
    """Mean adversarial loss of the discriminator, with its gradient penalty (spec 3.3-3.7).

    Args:
        config: which loss, and its constants.
        real_scores: scores of real images `[batch]`.
        fake_scores: scores of generated images `[batch]`.
        penalty: what `gradient_penalty` returns.
        penalty_weight: scalar instead of `config.r1_gamma`, while a schedule moves it.

    Raises:
        ValueError: the loss has no formula here.
    """
    match config.name:
        case "wgan_gp":
            loss = fake_scores.mean() - real_scores.mean() + config.gp_weight / config.gp_target**2 * penalty
            return loss + config.drift * jnp.square(real_scores).mean()
        case "lsgan":
            # The official target is 0 for reals and 1 for fakes.
            return jnp.square(real_scores).mean() + LSGAN_FAKE_WEIGHT * jnp.square(fake_scores - 1.0).mean()
        case "logistic":
            loss = jax.nn.softplus(fake_scores).mean() + jax.nn.softplus(-real_scores).mean()
        case "hinge":
            loss = jax.nn.relu(1.0 + fake_scores).mean() + jax.nn.relu(1.0 - real_scores).mean()
        case "rpgan":
            loss = jax.nn.softplus(fake_scores - real_scores).mean()
        case _:
            raise ValueError(f"discriminator_loss has no case for the loss {config.name!r}; add one")
    if penalty_weight is not None:
        return loss + 0.5 * penalty_weight * penalty
    return loss + 0.5 * config.r1_gamma * penalty if config.r1_gamma else loss


def gradient_penalty(
    config: LossConfig,
    discriminator: BoundDiscriminator,
    reals: jax.Array,
    fakes: jax.Array,
    mixing: jax.Array,
    *,
    resolution_ratio: float,
) -> jax.Array:
    """Mean gradient penalty before its weight (spec 3.4, 3.7).

    It is (norm - target)^2 for WGAN-GP and 0 for LSGAN. For all other losses it is norm^2 at reals (R1), at fakes (R2), or the
    sum of both, as `penalize` says; 0 if `r1_gamma` is 0.

    With `gp_channel_scale`, WGAN-GP's norm is that with respect to data x of which the images are scale * x + constant.

    On images upscaled to the full resolution the same gradient is spread over ratio^2 pixels, and its norm is `ratio` times
    smaller. The official code of WGAN-GP measures it there, and StyleGAN's does so for R1 and R2; `penalty_scale` chooses.

    The gradient is that at the images before augmentation, with the numbers of the pass that scores them. WGAN-GP's point gets
    those of its real image.

    Args:
        config: which loss, and its constants.
        discriminator: with its parameters bound.
        reals: real images `[batch, h, w, c]`.
        fakes: generated images of the same shape.
        mixing: in [0, 1] `[batch]`; how far the penalised image of WGAN-GP lies from the real to the fake.
        resolution_ratio: full resolution over current resolution.
    """
    ratio = resolution_ratio if config.penalty_scale == "full_resolution" else 1.0
    if config.name == "wgan_gp":
        mixed = reals + (fakes - reals) * mixing[:, None, None, None]
        norms = gradient_norms(discriminator, mixed, channel_scale=config.gp_channel_scale) / ratio
        return jnp.square(norms - config.gp_target).mean()
    if config.name == "lsgan" or not config.r1_gamma:
        return jnp.zeros((), jnp.float32)
    penalty = jnp.zeros((), jnp.float32)
    if config.penalizes_reals:
        penalty += squared_gradient_norms(discriminator, reals).mean()
    if config.penalizes_fakes:
        penalty += squared_gradient_norms(partial(discriminator, pass_number=FAKES), fakes).mean()
    return penalty / ratio**2


def gradient_norms(discriminator: BoundDiscriminator, images: jax.Array, *, channel_scale: tuple[float, ...] = ()) -> jax.Array:
    """L2 norm of the gradient of the summed scores with respect to each image, `[batch]`.

    Args:
        discriminator: with its parameters bound.
        images: where the gradient is taken `[batch, h, w, c]`.
        channel_scale: factor per channel on the gradient; empty means 1.
    """
    squares = squared_gradient_norms(discriminator, images, channel_scale=channel_scale)
    # The root has no derivative at 0, the gradient of a constant discriminator; the official code has no epsilon, so only that
    # point is moved.
    is_zero = squares == 0.0
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, squares)))


def squared_gradient_norms(
    discriminator: BoundDiscriminator, images: jax.Array, *, channel_scale: tuple[float, ...] = ()
) -> jax.Array:
    """Squares of `gradient_norms`, without a root.

    The sum is differentiated, not each score: through minibatch stddev a sample also moves its group's scores (spec 3.4).
    """
    gradients = jax.grad(lambda x: discriminator(x)[0].sum())(images).astype(jnp.float32)
    if channel_scale:
        gradients = gradients * jnp.asarray(channel_scale, jnp.float32)
    return jnp.square(gradients).sum(axis=(1, 2, 3))


def classification_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean softmax cross entropy of logits and labels `[batch, label_size]`; 0 without labels."""
    if not logits.shape[-1]:
        return jnp.zeros((), jnp.float32)
    return optax.softmax_cross_entropy(logits, labels).mean()


def discriminator_noise(
    config: LossConfig, lsgan_average: jax.Array, keys: jax.Array, *, pass_number: int
) -> InputNoise | None:
    """LSGAN's input noise of one discriminator pass; None for other losses (spec 3.6).

    Args:
        config: which loss.
        lsgan_average: running average of the discriminator's loss.
        keys: one random key per sample `[batch]`.
        pass_number: which pass of the update; each perturbs its images independently.
    """
    if config.name != "lsgan":
        return None
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, pass_number)
    return InputNoise(lsgan_noise_strength(lsgan_average), keys)


def lsgan_noise_strength(average: jax.Array) -> jax.Array:
    """Strength of LSGAN's input noise for the running average of the loss (spec 3.6)."""
    return LSGAN_NOISE_GAIN * jnp.square(jnp.maximum(average - LSGAN_NOISE_THRESHOLD, 0.0))


def update_lsgan_average(average: jax.Array, loss: jax.Array) -> jax.Array:
    """Update the running average of the discriminator's loss, clipped to [0, 1] (spec 3.6)."""
    # A loss that is not a number would make every later average so.
    signal = jnp.where(jnp.isnan(loss), average, jnp.clip(loss, 0.0, 1.0))
    return LSGAN_AVERAGE_DECAY * average + (1.0 - LSGAN_AVERAGE_DECAY) * signal
