"""Gradients of a batch, accumulated over microbatches and averaged over devices.

Only the activations of one microbatch at a time are in memory. Losses and metrics are means over samples, so the result is that
of the whole batch up to rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from pggan_jax.distributed import devices
from pggan_jax.training.step_metrics import check_loss_result

Samples = TypeVar("Samples")
Means = TypeVar("Means")
LossFunction = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


def accumulate_gradients(
    loss_fn: LossFunction, params: Any, samples: tuple[Any, ...], microbatches: np.ndarray
) -> tuple[tuple[jax.Array, dict[str, jax.Array]], Any]:
    """`jax.value_and_grad(loss_fn, has_aux=True)` over microbatches and devices.

    Args:
        loss_fn: `loss_fn(params, *samples) -> (loss, metrics)`; both are means over the samples that it is given, `metrics` is
            a dictionary of scalars.
        params: what to differentiate in.
        samples: further arguments of `loss_fn`, trees of arrays `[samples of this device, ...]`.
        microbatches: sample indices of each microbatch, `[microbatches, samples per microbatch]`.

    Returns:
        `((loss, metrics), gradients)`, the same on every device.

    Raises:
        ValueError: `loss_fn` returned something else.
    """

    @functools.wraps(loss_fn)
    def checked(*args: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        result = loss_fn(*args)
        check_loss_result(result, loss_fn)
        return result

    value_and_grad = jax.value_and_grad(checked, has_aux=True)
    # Inside a loop XLA:CPU convolutions lose their fast path.
    unroll = devices.backend() == "cpu"
    means = mean_over_microbatches(lambda own: value_and_grad(params, *own), samples, microbatches, unroll=unroll)
    return devices.mean_over_devices(means)


def mean_over_microbatches(
    function: Callable[[Samples], Means], samples: Samples, microbatches: np.ndarray, *, unroll: bool
) -> Means:
    """Mean of `function` over microbatches.

    Args:
        function: from the samples of a microbatch to means over them, float32 all of them.
        samples: arrays whose first axis is the samples of this device.
        microbatches: sample indices of each microbatch, `[microbatches, samples per microbatch]`.
        unroll: write the microbatches out one behind the other instead of in a loop.
    """
    if len(microbatches) == 1:
        return function(samples)
    stacked = jax.tree.map(lambda leaf: leaf[microbatches], samples)
    # One trace for all microbatches.
    function = jax.jit(function)

    def add(sums: Means, own: Samples) -> tuple[Means, None]:
        return jax.tree.map(jnp.add, sums, function(own)), None

    if unroll:
        sums = function(_microbatch(stacked, 0))
        for number in range(1, len(microbatches)):
            sums, _ = add(sums, _ordered_after(sums, _microbatch(stacked, number)))
    else:
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, _microbatch(stacked, 0)))
        sums, _ = lax.scan(add, zeros, stacked)
    return jax.tree.map(lambda leaf: leaf / len(microbatches), sums)


def _microbatch(stacked: Samples, number: int) -> Samples:
    return jax.tree.map(lambda leaf: leaf[number], stacked)


def _ordered_after(sums: Means, samples: Samples) -> Samples:
    """The samples unchanged, but dependent on the sums, so that XLA computes these first.

    Otherwise XLA:CPU orders the microbatches as it likes and keeps the activations of all of them: it drops
    `optimization_barrier` before that. It cannot see that no hyperbolic tangent exceeds 2.
    """
    probe = sum(leaf.ravel()[0] for leaf in jax.tree.leaves(sums))
    never = jnp.tanh(probe) > 2.0

    def bind(leaf: jax.Array) -> jax.Array:
        return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf + never.astype(leaf.dtype)

    return jax.tree.map(bind, samples)
