"""Adam in the official form against a slow transcription, and updates that are skipped if they are not finite."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pggan_jax.config import OptimizerConfig
from pggan_jax.training.optimizer import official_adam, update_if_finite

PARAMS = {"a": np.array([[1.0, -2.0], [0.5, 3.0]], np.float32), "b": {"c": np.array([4.0, 0.0, -1.0], np.float32)}}
PATHS = ["a", "b/c"]
STEPS = 6


def nonfinite(finite):
    """Sorted paths of what was not finite."""
    return sorted(path for path, is_finite in finite.items() if not is_finite)


def gradients_of(step: int) -> dict[str, Any]:
    """From 1e-9 to 1e3, so that epsilon matters in places."""
    rng = np.random.default_rng(step)
    return jax.tree.map(
        lambda p: (rng.standard_normal(p.shape) * 10.0 ** rng.uniform(-9, 3, p.shape)).astype(np.float32), PARAMS
    )


def slow_adam(config: OptimizerConfig, start: float, gradients: list[float], learning_rate: float) -> list[float]:
    """Spec 2.8 for one number, in Python floats."""
    weight, first, second, path = start, 0.0, 0.0, []
    for t, gradient in enumerate(gradients, start=1):
        first = config.beta1 * first + (1 - config.beta1) * gradient
        second = config.beta2 * second + (1 - config.beta2) * gradient**2
        rate = learning_rate * math.sqrt(1 - config.beta2**t) / (1 - config.beta1**t)
        weight -= rate * first / (math.sqrt(second) + config.epsilon)
        path.append(weight)
    return path


@pytest.mark.parametrize(
    ("beta1", "beta2", "epsilon"), [(0.0, 0.99, 1e-8), (0.5, 0.9, 1e-8), (0.9, 0.999, 1e-3), (0.0, 0.0, 1e-8)]
)
def test_adam_follows_the_official_formula(beta1, beta2, epsilon):
    config = OptimizerConfig(beta1=beta1, beta2=beta2, epsilon=epsilon)
    optimizer, learning_rate = official_adam(config), 0.01
    params, moments = PARAMS, official_adam(config).init(PARAMS)
    update = jax.jit(lambda *state: update_if_finite(optimizer, *state, loss=0.0, learning_rate=learning_rate))
    history = []
    for step in range(STEPS):
        params, moments, finite = update(params, moments, gradients_of(step))
        history.append(jax.tree.leaves(jax.tree.map(np.asarray, params)))
        assert nonfinite(finite) == []
    assert moments.count == STEPS
    gradients = [jax.tree.leaves(gradients_of(step)) for step in range(STEPS)]
    for leaf, start in enumerate(jax.tree.leaves(PARAMS)):
        for index in np.ndindex(start.shape):
            own = [float(of_step[leaf][index]) for of_step in gradients]
            expected = slow_adam(config, float(start[index]), own, learning_rate)
            mine = [float(of_step[leaf][index]) for of_step in history]
            np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-5)


def test_first_step_at_a_small_gradient_is_the_golden_one(reference):
    optimizer = official_adam(OptimizerConfig())
    direction, _ = optimizer.update({"w": jnp.full(3, 1e-3)}, optimizer.init({"w": jnp.zeros(3)}))
    np.testing.assert_allclose(-direction["w"], reference["golden_misc"]["adam_first_step_update_over_lr"], atol=1e-6)


def test_epsilon_is_added_before_bias_correction_unlike_optax():
    gradient = {"w": jnp.full(1, 1e-8)}
    mine = official_adam(OptimizerConfig())
    direction, _ = mine.update(gradient, mine.init(gradient))
    stock = optax.scale_by_adam(b1=0.0, b2=0.99, eps=1e-8)
    theirs, _ = stock.update(gradient, stock.init(gradient))
    # sqrt(v) is 1e-9 beside an epsilon of 1e-8, or 1e-8 after the correction.
    np.testing.assert_allclose(direction["w"], 0.1 * 1e-8 / (1e-9 + 1e-8), rtol=1e-4)
    np.testing.assert_allclose(theirs["w"], 0.5, rtol=1e-4)


def test_adam_equals_optax_for_ordinary_gradients():
    mine = official_adam(OptimizerConfig(beta1=0.9, beta2=0.999))
    stock = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)
    my_state, their_state = mine.init(PARAMS), stock.init(PARAMS)
    for step in range(3):
        gradients = jax.tree.map(lambda p: np.cos(p + step), PARAMS)  # noqa: B023
        direction, my_state = mine.update(gradients, my_state)
        theirs, their_state = stock.update(gradients, their_state)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), direction, theirs)


def test_no_first_moment_is_stored_without_beta1():
    for beta1, leaves in ((0.0, 0), (0.5, 2)):
        optimizer = official_adam(OptimizerConfig(beta1=beta1))
        moments = optimizer.init(PARAMS)
        _, updated = optimizer.update(PARAMS, moments)
        for state in (moments, updated):
            assert len(jax.tree.leaves(state.first)) == leaves
            assert jax.tree.structure(state.second) == jax.tree.structure(PARAMS)
        assert jax.tree.structure(moments) == jax.tree.structure(updated)


def test_a_fresh_state_is_zero():
    moments = official_adam(OptimizerConfig(beta1=0.5)).init(PARAMS)
    assert moments.count.dtype == jnp.int32
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(moments))


def test_the_learning_rate_scales_the_step_and_leaves_the_moments_alone():
    optimizer = official_adam(OptimizerConfig())
    moments = optimizer.init(PARAMS)
    (small, small_moments, _), (large, large_moments, _) = (
        update_if_finite(optimizer, PARAMS, moments, gradients_of(0), loss=0.0, learning_rate=jnp.float32(rate))
        for rate in (0.01, 0.05)
    )
    for start, near, far in zip(*map(jax.tree.leaves, (PARAMS, small, large)), strict=True):
        np.testing.assert_allclose(far - start, 5 * (near - start), rtol=1e-3, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, small_moments, large_moments)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 1])
def test_one_bad_gradient_element_skips_the_whole_update(bad, where):
    """Bit for bit: a zero that changed its sign would be found."""
    optimizer = official_adam(OptimizerConfig(beta1=0.5))
    update = jax.jit(lambda *state: update_if_finite(optimizer, *state, loss=0.0, learning_rate=0.1))
    params = jax.tree.map(lambda p: jnp.asarray(p).at[..., -1].set(-0.0), PARAMS)
    params, moments, finite = update(params, optimizer.init(params), gradients_of(0))
    assert nonfinite(finite) == []
    leaves, tree = jax.tree.flatten(gradients_of(1))
    leaves[where].flat[1] = bad
    kept, kept_moments, finite = update(params, moments, jax.tree.unflatten(tree, leaves))
    assert nonfinite(finite) == [PATHS[where]]
    for before, after in zip(jax.tree.leaves((params, moments)), jax.tree.leaves((kept, kept_moments)), strict=True):
        assert np.asarray(before).tobytes() == np.asarray(after).tobytes()
    moved, _, finite = update(kept, kept_moments, gradients_of(1))
    assert nonfinite(finite) == []
    assert all((np.asarray(a) != np.asarray(b)).any() for a, b in zip(*map(jax.tree.leaves, (kept, moved)), strict=True))


def test_a_zero_gradient_moves_nothing():
    """Layers that are not active yet stay as they are (spec 2.9)."""
    optimizer = official_adam(OptimizerConfig())
    zeros = jax.tree.map(np.zeros_like, PARAMS)
    params, _, finite = update_if_finite(optimizer, PARAMS, optimizer.init(PARAMS), zeros, loss=0.0, learning_rate=0.1)
    assert nonfinite(finite) == []
    jax.tree.map(np.testing.assert_array_equal, params, PARAMS)


def skipping(params, moments, gradients, learning_rate=0.1, loss=0.0):
    """What was not finite; nothing may have changed."""
    optimizer = official_adam(OptimizerConfig())
    kept, kept_moments, finite = update_if_finite(optimizer, params, moments, gradients, loss=loss, learning_rate=learning_rate)
    for before, after in zip(jax.tree.leaves((params, moments)), jax.tree.leaves((kept, kept_moments)), strict=True):
        np.testing.assert_array_equal(before, after)
    return nonfinite(finite)


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_skips_the_update(loss):
    moments = official_adam(OptimizerConfig()).init(PARAMS)
    assert skipping(PARAMS, moments, gradients_of(0), loss=jnp.float32(loss)) == ["loss"]


def test_a_square_beyond_every_float_skips_the_update():
    """The gradient is finite, its second moment is not."""
    leaves, tree = jax.tree.flatten(gradients_of(0))
    leaves[1] = np.full_like(leaves[1], 1e30)
    moments = official_adam(OptimizerConfig()).init(PARAMS)
    assert skipping(PARAMS, moments, jax.tree.unflatten(tree, leaves)) == ["b/c"]


def test_a_step_beyond_every_float_skips_the_update():
    moments = official_adam(OptimizerConfig()).init(PARAMS)
    assert skipping(PARAMS, moments, gradients_of(0), learning_rate=jnp.float32(3e38) * 2) == PATHS


def test_weight_decay_is_part_of_the_gradient():
    gradients = jax.tree.map(lambda param: jnp.cos(3 * param), PARAMS)
    decayed = jax.tree.map(lambda gradient, param: gradient + 0.25 * param, gradients, PARAMS)
    plain, decaying = (official_adam(OptimizerConfig(beta1=0.5, weight_decay=decay)) for decay in (0.0, 0.25))
    expected = plain.update(decayed, plain.init(PARAMS), PARAMS)
    found = decaying.update(gradients, decaying.init(PARAMS), PARAMS)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6), found, expected)
