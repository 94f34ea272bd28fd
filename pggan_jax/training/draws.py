"""Random numbers of one iteration, from (seed, step, sample's place in the global batch) alone.

So they do not depend on how many devices share the batch, and a resumed run draws what an undisturbed one would have drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
from jax.scipy.stats import norm


class Draws(NamedTuple):
    """What one update draws for each of its samples.

    Attributes:
        keys: `[samples]`, for anything further.
        latents: N(0, 1), `[samples, latent_size]`.
        uniforms: U[0, 1], `[samples, number asked for]`.
    """

    keys: jax.Array
    latents: jax.Array
    uniforms: jax.Array


def step_key(noise_seed: jax.Array, step: jax.Array) -> jax.Array:
    """The key of one iteration."""
    return jax.random.fold_in(jax.random.key(noise_seed), step)


def draw(key: jax.Array, places: jax.Array, *, stream: int, streams: int, latent_size: int, uniforms: int) -> Draws:
    """Draw for one update of an iteration.

    Everything comes from one row of normal numbers per sample, uniform ones through the normal distribution function: each use
    of the generator is a large part of what XLA has to compile.

    Args:
        key: from `step_key`.
        places: index of each sample in the global batch, uint32 `[samples]`.
        stream, streams: which of the iteration's updates this is, and how many there are.
        latent_size: length of a latent vector.
        uniforms: how many uniform numbers each sample needs besides.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places * streams + stream)
    normals = jax.vmap(lambda sample_key: jax.random.normal(sample_key, (latent_size + uniforms,)))(keys)
    return Draws(keys, normals[:, :latent_size], norm.cdf(normals[:, latent_size:]))
