"""A device's share of a batch worked through in parts, so that the activations of one part at a time are in memory.

What is taken of the parts are means, so the result is that of the whole share up to rounding. It knows no devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Samples = TypeVar("Samples")
Means = TypeVar("Means")


def mean_over_parts(function: Callable[[Samples], Means], samples: Samples, parts: np.ndarray, *, unroll: bool) -> Means:
    """The mean of `function` over parts of the samples.

    Args:
        function: from a part of the samples to means over that part, float32 all of them.
        samples: arrays whose first axis is the samples of this device.
        parts: positions of each part's samples, `[parts, samples per part]`.
        unroll: write the parts out, one behind the other, instead of in a loop, inside which XLA:CPU convolutions lose their
            fast path.
    """
    if len(parts) == 1:
        return function(samples)
    pieces = jax.tree.map(lambda leaf: leaf[parts], samples)
    # One trace for all parts.
    function = jax.jit(function)

    def add(sums: Means, piece: Samples) -> tuple[Means, None]:
        return jax.tree.map(jnp.add, sums, function(piece)), None

    if unroll:
        sums = function(_piece(pieces, 0))
        for number in range(1, len(parts)):
            sums, _ = add(sums, _after(sums, _piece(pieces, number)))
    else:
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, _piece(pieces, 0)))
        sums, _ = lax.scan(add, zeros, pieces)
    return jax.tree.map(lambda leaf: leaf / len(parts), sums)


def _piece(pieces: Samples, number: int) -> Samples:
    return jax.tree.map(lambda leaf: leaf[number], pieces)


def _after(sums: Means, piece: Samples) -> Samples:
    """The piece unchanged, but to be had only when the sums are there.

    Otherwise XLA:CPU orders the parts as it likes and keeps the activations of all of them: it drops `optimization_barrier`
    before that. That no hyperbolic tangent exceeds 2 is beyond it.
    """
    probe = sum(leaf.ravel()[0] for leaf in jax.tree.leaves(sums))
    never = jnp.tanh(probe) > 2.0

    def bind(leaf: jax.Array) -> jax.Array:
        return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf + never.astype(leaf.dtype)

    return jax.tree.map(bind, piece)
