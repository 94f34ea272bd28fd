"""Adam as the authors' framework computes it, and a guard against what is not a number (spec 2.7, 2.8)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pggan_jax.config import OptimizerConfig


class AdamMoments(NamedTuple):
    """State of `official_adam`: updates since the last reset, and the moments. `first` is empty when beta1 is 0."""

    count: jax.Array  # type: ignore[assignment]  # hides `tuple.count`; checkpoints hold the name
    first: Any
    second: Any


def official_adam(config: OptimizerConfig) -> optax.GradientTransformation:
    """Adam whose epsilon is added before bias correction: sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps).

    `optax.adam` adds it after, which differs only for gradients near epsilon (spec 2.8). The result is not yet multiplied by
    the learning rate, so that one compiled program serves every learning rate.
    """
    beta1, beta2 = config.beta1, config.beta2

    def init(params: Any) -> AdamMoments:
        zeros = jax.tree.map(jnp.zeros_like, params)
        first = jax.tree.map(jnp.zeros_like, params) if beta1 else {}
        return AdamMoments(jnp.zeros((), jnp.int32), first, zeros)

    def update(gradients: Any, moments: AdamMoments, params: Any = None) -> tuple[Any, AdamMoments]:
        del params
        count = moments.count + 1
        second = optax.tree.update_moment(jax.tree.map(jnp.square, gradients), moments.second, beta2, 1)
        first = optax.tree.update_moment(gradients, moments.first, beta1, 1) if beta1 else {}
        time = count.astype(jnp.float32)
        correction = jnp.sqrt(1.0 - beta2**time) / (1.0 - beta1**time)
        direction = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + config.epsilon), first or gradients, second)
        return direction, AdamMoments(count, first, second)

    return optax.GradientTransformation(init, update)


def guarded_update(
    optimizer: optax.GradientTransformation,
    params: Any,
    moments: AdamMoments,
    gradients: Any,
    learning_rate: jax.Array,
    *,
    loss: jax.Array,
) -> tuple[Any, AdamMoments, jax.Array]:
    """One update, or none at all if it would leave anything that is not finite (spec 2.7).

    Args:
        optimizer: `official_adam`.
        params, moments: as they are.
        gradients: of `loss`; like it, the same on every device.
        learning_rate: scalar.
        loss: scalar.

    Returns:
        New parameters, new moments, and, int32, the number of the first leaf whose gradient, new moment or new value is not
        finite, the number of leaves if it is only the loss that is not, or -1.
    """
    direction, new_moments = optimizer.update(gradients, moments, params)
    new_params = jax.tree.map(lambda p, d: p - learning_rate * d, params, direction)
    results = (gradients, new_moments.second, new_params)
    by_leaf = [
        jnp.isfinite(gradient).all() & jnp.isfinite(moment).all() & jnp.isfinite(param).all()
        for gradient, moment, param in zip(*map(jax.tree.leaves, results), strict=True)
    ]
    are_finite = jnp.stack([*by_leaf, jnp.isfinite(loss)])
    is_finite = are_finite.all()
    keep = lambda new, old: jax.tree.map(lambda a, b: jnp.where(is_finite, a, b), new, old)  # noqa: E731
    return (
        keep(new_params, params),
        keep(new_moments, moments),
        jnp.where(is_finite, -1, jnp.argmin(are_finite)).astype(jnp.int32),
    )
