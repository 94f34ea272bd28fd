"""Adam in the official form; updates that are not finite are skipped (spec 2.7, 2.8)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pggan_jax.config import OptimizerConfig


class AdamMoments(NamedTuple):
    """State of `official_adam`: updates since the last reset, and the moments.

    `first` is empty when beta1 is 0.
    """

    count: jax.Array  # type: ignore[assignment]  # hides `tuple.count`; checkpoints hold the name
    first: Any
    second: Any


def official_adam(config: OptimizerConfig) -> optax.GradientTransformation:
    """Adam whose epsilon is added before bias correction (spec 2.8).

    The direction is sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps).

    `optax.adam` adds it after, which differs only for gradients near epsilon (spec 2.8). The result is not yet multiplied by
    the learning rate, so that one compiled program serves every learning rate.

    With `weight_decay`, that multiple of each parameter is added to its gradient first.
    """
    beta1, beta2, decay = config.beta1, config.beta2, config.weight_decay

    def init(params: Any) -> AdamMoments:
        zeros = jax.tree.map(jnp.zeros_like, params)
        first = jax.tree.map(jnp.zeros_like, params) if beta1 else {}
        return AdamMoments(jnp.zeros((), jnp.int32), first, zeros)

    def update(gradients: Any, moments: AdamMoments, params: Any = None) -> tuple[Any, AdamMoments]:
        if decay:
            gradients = jax.tree.map(lambda gradient, param: gradient + decay * param, gradients, params)
        count = moments.count + 1
        second = optax.tree.update_moment(jax.tree.map(jnp.square, gradients), moments.second, beta2, 1)
        first = optax.tree.update_moment(gradients, moments.first, beta1, 1) if beta1 else {}
        time = count.astype(jnp.float32)
        correction = jnp.sqrt(1.0 - beta2**time) / (1.0 - beta1**time)
        direction = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + config.epsilon), first or gradients, second)
        return direction, AdamMoments(count, first, second)

    return optax.GradientTransformation(init, update)


def update_if_finite(
    optimizer: optax.GradientTransformation,
    params: Any,
    moments: AdamMoments,
    gradients: Any,
    *,
    loss: jax.Array,
    learning_rate: jax.Array,
) -> tuple[Any, AdamMoments, dict[str, jax.Array]]:
    """Apply one update, or none at all if it would leave anything that is not finite (spec 2.7).

    Args:
        optimizer: `official_adam`.
        params, moments: before the update.
        gradients: of `loss`; like it, the same on every device.
        loss: scalar.
        learning_rate: scalar.

    Returns:
        New parameters, new moments, and for each leaf path, and for "loss", whether gradient, new moment and new value are
        finite. The update was applied if all of them are.
    """
    direction, new_moments = optimizer.update(gradients, moments, params)
    new_params = jax.tree.map(lambda p, d: p - learning_rate * d, params, direction)
    leaves = zip(*map(jax.tree.leaves, (gradients, new_moments.second, new_params)), strict=True)
    finite = {
        path: jnp.isfinite(gradient).all() & jnp.isfinite(moment).all() & jnp.isfinite(param).all()
        for path, (gradient, moment, param) in zip(leaf_paths(params), leaves, strict=True)
    }
    finite["loss"] = jnp.isfinite(loss)
    all_finite = jnp.stack(list(finite.values())).all()
    keep = lambda new, old: jax.tree.map(lambda a, b: jnp.where(all_finite, a, b), new, old)  # noqa: E731
    return keep(new_params, params), keep(new_moments, moments), finite


def leaf_paths(tree: Any) -> list[str]:
    """Paths such as 'generator/block_4x4/conv/kernel', for dataclasses, named tuples and dicts."""
    named = jax.tree_util.tree_leaves_with_path(tree)
    return ["/".join(str(getattr(key, "name", getattr(key, "key", key))) for key in path) for path, _ in named]
