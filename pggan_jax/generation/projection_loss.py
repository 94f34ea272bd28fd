"""Loss and schedules of projection.

The loss has two terms: the mean absolute difference of Laplacian pyramids, and the squared difference of the discriminator's
features. No other network is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.generation.model import Model
from pggan_jax.networks.block_features import block_features
from pggan_jax.networks.laplacian_pyramid import laplacian_pyramid
from pggan_jax.networks.layers import pixel_norm
from pggan_jax.networks.normalization import measure_statistics, statistics_inputs, with_statistics

WARM_UP, COOL_DOWN, NOISE_END = 0.05, 0.25, 0.75
"""Fractions of the steps: linear rise of the learning rate, its fall along a cosine, and the end of the noise."""
_SMALLEST_LEVEL = 4


@dataclass(frozen=True)
class ProjectionSettings:
    """How images are projected.

    Attributes:
        candidates: number of samples, of the seeds 0, 1, 2 ..., among which the starts are chosen.
        starts: number of nearest samples from which the optimisation starts.
        steps: of Adam; 0 keeps the nearest sample.
        learning_rate: the largest one.
        noise: standard deviation of the noise on the latent at the first step.
        seed: of that noise.
    """

    candidates: int = 10_000
    starts: int = 5
    steps: int = 1000
    learning_rate: float = 0.1
    noise: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.starts <= self.candidates:
            raise UserError(
                f"{self.starts} starts of {self.candidates} candidates: choose at least 1 start, and no more than that"
            )


def learning_rate(step: jax.Array | int, settings: ProjectionSettings) -> jax.Array:
    """Return the learning rate of a step: a linear rise, a constant, half a cosine to 0."""
    time = jnp.asarray(step, jnp.float32) / settings.steps
    falling = jnp.clip((time - (1 - COOL_DOWN)) / COOL_DOWN, 0, 1)
    return settings.learning_rate * jnp.minimum(1, time / WARM_UP) * (0.5 + 0.5 * jnp.cos(jnp.pi * falling))


def noise_strength(step: jax.Array | int, settings: ProjectionSettings) -> jax.Array:
    """Return the standard deviation of the noise at a step; the latent's own is 1."""
    time = jnp.asarray(step, jnp.float32) / settings.steps
    return settings.noise * jnp.square(jnp.maximum(0, 1 - time / NOISE_END))


def normalized(latents: jax.Array) -> jax.Array:
    """Scale latents `[count, size]` to unit mean square."""
    return pixel_norm(latents, 1e-12)


def pyramid_rows(images: jax.Array) -> jax.Array:
    """Return Laplacian pyramids as rows whose sums of absolute differences are distances.

    Args:
        images: float `[batch, height, width, channels]`.

    Returns:
        `[batch, numbers]`. The sum over a row weights all levels equally, and all numbers of a level. Pyramids are linear: the
        row of a difference is the difference of the rows.
    """
    height, width = images.shape[1:3]
    while height % 2 == 0 and width % 2 == 0 and min(height, width) // 2 >= _SMALLEST_LEVEL:
        height, width = height // 2, width // 2
    levels = [level.reshape(len(images), -1) for level in laplacian_pyramid(images, height)]
    return jnp.concatenate([level / (len(levels) * level.shape[1]) for level in levels], axis=1)


class LossInputs(NamedTuple):
    """What the losses depend on besides latents; images and features are those of the targets."""

    generator: Any
    discriminator: Any
    labels: jax.Array
    images: jax.Array
    features: list[jax.Array]
    scales: list[jax.Array]


def features_of(model: Model, params: Any, images: jax.Array) -> list[jax.Array]:
    """Return the features of float images `[count, height, width, channels]`."""
    return block_features(model.networks.discriminator, params, images, alpha=jnp.float32(model.alpha))


def feature_parameters(model: Model) -> Any:
    """Return the discriminator's parameters for `features_of`.

    With batch norm, they hold its statistics for generated images, as features must not depend on the batch.
    """
    discriminator = model.networks.discriminator
    if not discriminator.has_batch_norm:
        return model.discriminator
    counts = [number in model.present_classes for number in range(model.label_size)]
    height, width, _ = model.shape
    latents, labels = statistics_inputs(model.latent_size, class_counts=counts, pixels=height * width)
    images = model.floats(latents, labels)
    measured = measure_statistics(discriminator, model.discriminator or {}, images, np.float32(model.alpha), None, None)
    return with_statistics(model.discriminator or {}, measured)


def channel_scales(features: list[jax.Array]) -> list[jax.Array]:
    """Return the divisors of the features: the standard deviation of each channel.

    A channel that hardly varies must not dominate: each variance is raised by a hundredth of the mean of all channels.
    """
    variances = [one.var(axis=(0, 1, 2)) for one in features]
    return [jnp.sqrt(one + 0.01 * one.mean() + 1e-12) for one in variances]


def losses_of(model: Model, latents: jax.Array, inputs: LossInputs) -> jax.Array:
    """Return the loss of each latent, `[count]`: pyramid distance plus feature distance."""
    alpha = np.float32(model.alpha)
    made = model.networks.generator.apply({"params": inputs.generator}, latents, inputs.labels, alpha)
    made = jnp.asarray(made, jnp.float32)
    of_pixels = jnp.abs(pyramid_rows(made - inputs.images)).sum(axis=1)
    pairs = zip(features_of(model, inputs.discriminator, made), inputs.features, inputs.scales, strict=True)
    of_blocks = [jnp.square((ours - theirs) / scale).mean(axis=(1, 2, 3)) for ours, theirs, scale in pairs]
    return of_pixels + jnp.stack(of_blocks).mean(axis=0)
