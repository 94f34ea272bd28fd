"""Random numbers of one iteration, from (seed, step, sample's place in the global batch) alone.

So they do not depend on how many devices share the batch, and a resumed run draws what an undisturbed one would have drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

UNIFORMS = 2
"""Uniform numbers per sample and update: mixing and mirroring for the critic, the choice of a label for the generator."""


class Draws(NamedTuple):
    """What the updates of an iteration draw for each sample; leading axis `[updates]`, or none for a single update.

    Attributes:
        keys: `[samples]`, for anything further.
        latents: N(0, 1), `[samples, latent_size]`.
        uniforms: U[0, 1], `[samples, UNIFORMS]`.
    """

    keys: jax.Array
    latents: jax.Array
    uniforms: jax.Array


def draw_iteration(noise_seed: jax.Array, step: jax.Array, places: jax.Array, *, updates: int, latent_size: int) -> list[Draws]:
    """Everything that the updates of one iteration draw.

    All of it comes from one matrix of normal numbers, uniform ones through the normal distribution function: each use of the
    random generator is a good part of what XLA has to compile.

    Args:
        noise_seed: uint32 scalar.
        step: iteration number, int32 scalar.
        places: index of each sample in the global batch, uint32 `[samples]`.
        updates: how many updates draw.
        latent_size: length of a latent vector.

    Returns:
        One `Draws` per update.
    """
    key = jax.random.wrap_key_data(jnp.stack([noise_seed, step.astype(jnp.uint32)]), impl="threefry2x32")
    streams = jnp.arange(updates, dtype=jnp.uint32)[:, None] + places * updates
    keys = jax.vmap(jax.vmap(lambda stream: jax.random.fold_in(key, stream)))(streams)
    normals = jax.vmap(jax.vmap(lambda own: jax.random.normal(own, (latent_size + UNIFORMS,), jnp.float32)))(keys)
    latents, uniforms = normals[..., :latent_size], norm.cdf(normals[..., latent_size:])
    return [Draws(keys[update], latents[update], uniforms[update]) for update in range(updates)]
