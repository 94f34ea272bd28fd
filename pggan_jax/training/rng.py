"""Random numbers of a train step, as a function of (seed, step, sample index) alone.

So they do not depend on the number of devices, and a resumed run samples what an undisturbed one would have sampled.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

UNIFORMS = 2
"""Uniform numbers per sample and update: mixing and mirroring in a discriminator step, the label or mirroring in a
generator step.
"""


class NoiseBatch(NamedTuple):
    """Random numbers of one update.

    Attributes:
        keys: one random key per sample, for further noise, `[samples]`.
        latents: N(0, 1), float32 `[samples, latent_size]`.
        uniforms: U[0, 1], float32 `[samples, UNIFORMS]`.
    """

    keys: jax.Array
    latents: jax.Array
    uniforms: jax.Array


def sample_noise(
    noise_seed: jax.Array, step: jax.Array, sample_index: jax.Array, *, updates: int, latent_size: int
) -> list[NoiseBatch]:
    """Sample the noise of all updates of one train step.

    All of it comes from one matrix of normal numbers, uniform ones through the normal distribution function: each use of the
    random generator is a good part of what XLA has to compile.

    Args:
        noise_seed: uint32 scalar.
        step: iteration number, int32 scalar.
        sample_index: index of each sample in the global batch, uint32 `[samples]`.
        updates: number of discriminator and generator updates in the step.
        latent_size: length of a latent vector.

    Returns:
        One `NoiseBatch` per update.
    """
    key = jax.random.wrap_key_data(jnp.stack([noise_seed, step.astype(jnp.uint32)]), impl="threefry2x32")
    streams = jnp.arange(updates, dtype=jnp.uint32)[:, None] + sample_index * updates
    keys = jax.vmap(jax.vmap(lambda stream: jax.random.fold_in(key, stream)))(streams)
    normals = jax.vmap(jax.vmap(lambda own: jax.random.normal(own, (latent_size + UNIFORMS,), jnp.float32)))(keys)
    latents, uniforms = normals[..., :latent_size], norm.cdf(normals[..., latent_size:])
    return [NoiseBatch(keys[update], latents[update], uniforms[update]) for update in range(updates)]


def sample_labels(uniforms: jax.Array, class_table: jax.Array, label_size: int) -> jax.Array:
    """Sample labels of generated images with the frequencies of the data.

    Args:
        uniforms: U[0, 1], `[samples]`.
        class_table: the class of each image of the data, int32 `[images]`.
        label_size: number of classes, 0 for none.

    Returns:
        One-hot float32 `[samples, label_size]`.
    """
    rows = (uniforms * class_table.shape[0]).astype(jnp.int32)
    # A uniform number may round up to 1.
    classes = class_table[jnp.minimum(rows, class_table.shape[0] - 1)]
    return jax.nn.one_hot(classes, label_size, dtype=jnp.float32)
