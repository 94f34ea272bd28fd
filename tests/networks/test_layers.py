"""Equalized layers, pixel norm, minibatch stddev and discrimination on one and several devices, input noise."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.config.networks import StddevGroups
from pggan_jax.distributed.batch_sharding import shard_batch
from pggan_jax.networks.layers import (
    EqualizedConv,
    EqualizedDense,
    InputNoise,
    MinibatchDiscrimination,
    feature_maps,
    leaky_relu,
    minibatch_stddev,
    perturb,
    pixel_norm,
)
from pggan_jax.networks.resample import downscale, upscale
from tests.helpers.compiling import quick_jit

AXIS = "devices"


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Channels


def test_feature_maps_of_the_default(reference):
    for resolution, channels in reference["channels_per_resolution"].items():
        stage = int(math.log2(int(resolution))) - 1
        assert feature_maps(stage, fmap_base=8192, fmap_decay=1.0, fmap_max=512) == channels


@pytest.mark.parametrize(
    ("stage", "decay", "expected"),
    [(0, 1.0, 30), (1, 1.0, 30), (2, 1.0, 25), (3, 1.0, 12), (2, 0.0, 30), (3, 1.5, 4), (9, 1.0, 1)],
)
def test_feature_maps_are_floored_capped_and_at_least_one(stage, decay, expected):
    assert feature_maps(stage, fmap_base=100, fmap_decay=decay, fmap_max=30) == expected


# Equalized layers


@pytest.mark.parametrize(
    ("resampling", "around"), [("same", lambda x: x), ("up", upscale), ("down", downscale)], ids=["same", "up", "down"]
)
def test_weights_are_multiplied_by_gain_over_root_fan_in(resampling, around):
    """A kernel that only passes its second input channel on, to its first output channel."""
    layer = EqualizedConv(2, resampling=resampling, gain=3.0)
    kernel = np.zeros((3, 3, 4, 2), np.float32)
    kernel[1, 1, 1, 0] = 1.0
    x = normal(0, 1, 4, 6, 4)
    y = layer.apply({"params": {"kernel": kernel, "bias": np.array([5.0, -1.0], np.float32)}}, x)
    np.testing.assert_allclose(y[..., 0], around(x)[..., 1] * 3.0 / math.sqrt(9 * 4) + 5.0, atol=1e-5)
    np.testing.assert_array_equal(y[..., 1], -1.0)


@pytest.mark.parametrize("is_dense", [True, False], ids=["dense", "1x1"])
def test_dense_and_pointwise_layers(is_dense):
    layer = EqualizedDense(3, gain=2.0) if is_dense else EqualizedConv(3, kernel_size=1, gain=2.0)
    x = normal(0, 2, 5) if is_dense else normal(0, 2, 3, 4, 5)
    kernel = normal(1, 5, 3)
    params = {"kernel": kernel if is_dense else kernel[None, None], "bias": normal(2, 3)}
    expected = x @ kernel * 2.0 / math.sqrt(5) + params["bias"]
    np.testing.assert_allclose(layer.apply({"params": params}, x), expected, atol=1e-5)


def test_positions_of_a_dense_layer_share_their_biases():
    layer = EqualizedDense(3, positions=(2, 2), gain=1.0)
    x, kernel, bias = normal(0, 2, 5), normal(1, 5, 12), normal(2, 3)
    expected = (x @ kernel / math.sqrt(5)).reshape(2, 2, 2, 3) + bias
    np.testing.assert_allclose(layer.apply({"params": {"kernel": kernel, "bias": bias}}, x), expected, atol=1e-5)


@pytest.mark.parametrize("use_wscale", [True, False])
def test_stored_and_effective_spread_of_weights(use_wscale):
    """Stored N(0, 1) and scaled, or stored small and used as it is; the effective weights are alike."""
    layer = EqualizedConv(64, use_wscale=use_wscale, gain=1.5)
    x = jnp.zeros((1, 4, 4, 32)).at[0, 1, 1, 0].set(1.0)
    y, variables = quick_jit(layer.init_with_output)(jax.random.key(0), x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    scale = 1.5 / math.sqrt(9 * 32)
    assert kernel.shape == (3, 3, 32, 64)
    np.testing.assert_allclose(np.std(kernel), 1.0 if use_wscale else scale, rtol=0.03)
    np.testing.assert_allclose(np.mean(kernel), 0.0, atol=0.03)
    np.testing.assert_array_equal(bias, np.zeros(64))
    seen = np.asarray(y)[0, :3, :3]
    np.testing.assert_allclose(seen, kernel[::-1, ::-1, 0] * (scale if use_wscale else 1.0), atol=1e-6)


def test_weights_are_scaled_in_float32_before_the_cast():
    layer = EqualizedDense(64, gain=1.1, dtype="bfloat16")
    kernel = normal(0, 7, 64)
    x = jnp.zeros((1, 7), jnp.bfloat16).at[0, 2].set(1.0)
    y = layer.apply({"params": {"kernel": kernel, "bias": np.zeros(64, np.float32)}}, x)
    assert y.dtype == jnp.bfloat16
    expected = jnp.asarray(kernel[2] * np.float32(1.1 / math.sqrt(7)), jnp.bfloat16)
    np.testing.assert_array_equal(np.asarray(y[0], np.float32), np.asarray(expected, np.float32))


# Activations


def test_leaky_relu():
    x = np.array([-10.0, -1.0, 0.0, 2.0], np.float32)
    np.testing.assert_allclose(leaky_relu(x), [-2.0, -0.2, 0.0, 2.0], rtol=1e-6)
    assert leaky_relu(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("epsilon", [1e-8, 0.5])
def test_pixel_norm(epsilon):
    x = normal(0, 2, 3, 4, 6) * 10
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(axis=-1, keepdims=True) + epsilon)
    np.testing.assert_allclose(pixel_norm(x, epsilon), expected, rtol=1e-5)
    np.testing.assert_array_equal(pixel_norm(np.zeros((1, 1, 1, 3), np.float32), epsilon), np.zeros((1, 1, 1, 3)))


def test_pixel_norm_in_bfloat16_takes_its_mean_in_float32():
    """A mean accumulated in bfloat16 would stop growing long before 4096 terms."""
    x = jnp.ones((1, 4096), jnp.bfloat16)
    result = pixel_norm(x, 1e-8)
    assert result.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(result, np.float32), 1.0)


# Minibatch stddev


def slow_stddev(x: np.ndarray, groups: list[list[int]], *, unbiased: bool) -> np.ndarray:
    """The new channel's value for each sample, from lists of samples, in float64."""
    x = x.astype(np.float64)
    result = np.full(len(x), np.nan)
    for group in groups:
        values = []
        for row, column, channel in itertools.product(*map(range, x.shape[1:])):
            samples = x[group, row, column, channel]
            if len(group) == 1 and unbiased:
                values.append(0.0)
                continue
            square = ((samples - samples.mean()) ** 2).sum() / (len(group) - unbiased)
            values.append(math.sqrt(square + 1e-8))
        result[group] = np.mean(values)
    return result


def new_channel(x: np.ndarray, form: str, group_size: int = 4) -> np.ndarray:
    """The appended channel, one number per sample, after checking that the rest is left alone."""
    y = np.asarray(minibatch_stddev(x, StddevGroups(form, group_size)))
    assert y.shape == (*x.shape[:3], x.shape[3] + 1)
    np.testing.assert_array_equal(y[..., :-1], x)
    assert (y[..., -1] == y[:, :1, :1, -1]).all(), "not constant over an image"
    return y[:, 0, 0, -1]


@pytest.mark.parametrize(
    ("form", "batch", "key"),
    [
        ("strided", 8, "mbstd_groups_N8_group4"),
        ("strided", 16, "mbstd_groups_N16_group4"),
        ("contiguous", 8, "pytorch_GAN_zoo_mbstd_groups_N8"),
    ],
)
def test_stddev_of_the_listed_groups(reference, form, batch, key):
    x = normal(0, batch, 3, 2, 5)
    expected = slow_stddev(x, reference["golden_misc"][key], unbiased=form == "contiguous")
    np.testing.assert_allclose(new_channel(x, form), expected, rtol=1e-5)


@pytest.mark.parametrize("form", ["strided", "contiguous"])
@pytest.mark.parametrize(("batch", "group_size"), [(6, 2), (6, 3), (4, 4), (3, 4), (2, 16)])
def test_stddev_of_other_sizes(form, batch, group_size):
    x = normal(1, batch, 2, 3, 2)
    size = min(group_size, batch)
    count = batch // size
    if form == "strided":
        groups = [list(range(first, batch, count)) for first in range(count)]
    else:
        groups = [list(range(first, first + size)) for first in range(0, batch, size)]
    expected = slow_stddev(x, groups, unbiased=form == "contiguous")
    np.testing.assert_allclose(new_channel(x, form, group_size), expected, rtol=1e-5)


def test_stddev_over_the_whole_batch_ignores_the_group_size():
    x = normal(2, 6, 2, 3, 2)
    expected = slow_stddev(x, [list(range(6))], unbiased=False)
    np.testing.assert_allclose(new_channel(x, "whole_batch", 2), expected, rtol=1e-5)


@pytest.mark.parametrize(("form", "expected"), [("strided", 1e-4), ("whole_batch", 1e-4), ("contiguous", 0.0)])
def test_stddev_of_a_single_sample(form, expected):
    np.testing.assert_allclose(new_channel(normal(0, 1, 4, 4, 3), form), [expected], rtol=1e-5)


@pytest.mark.parametrize(("form", "expected"), [("strided", 1e-4), ("whole_batch", 1e-4), ("contiguous", 0.0)])
def test_stddev_of_a_single_sample_on_a_mapped_device(form, expected):
    x = normal(0, 1, 1, 4, 4, 3)
    mapped = jax.pmap(functools.partial(minibatch_stddev, groups=StddevGroups(form, 4), axis_name=AXIS), axis_name=AXIS)
    np.testing.assert_allclose(mapped(x)[0, ..., -1], np.full((1, 4, 4), expected), rtol=1e-5)


@pytest.mark.parametrize("form", ["strided", "contiguous"])
@pytest.mark.parametrize("batch", [5, 6, 9])
def test_a_batch_that_is_no_multiple_of_the_group_is_refused(form, batch):
    with pytest.raises(ValueError, match=rf"{batch} samples .* groups of 4"):
        minibatch_stddev(normal(0, batch, 2, 2, 2), StddevGroups(form, 4))


def test_stddev_in_bfloat16_is_computed_in_float32():
    x = jnp.asarray(normal(0, 4, 2, 2, 8) * 0.01 + 100.0, jnp.bfloat16)
    y = minibatch_stddev(x, StddevGroups("strided", 4))
    expected = slow_stddev(np.asarray(x, np.float32), [[0, 1, 2, 3]], unbiased=False)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y[:, 0, 0, -1], np.float32), expected, rtol=1e-2)


SPREADS = [
    ("strided", 16, 4, 4),
    ("strided", 8, 8, 4),
    ("contiguous", 16, 4, 4),
    ("contiguous", 8, 8, 2),
    ("whole_batch", 8, 4, 2),
]


@pytest.mark.parametrize(("form", "batch", "group_size", "devices"), SPREADS)
def test_stddev_over_devices_equals_one_device(form, batch, group_size, devices):
    """Values, gradients of a sum of scores, and the gradient of the squared norm of those, as WGAN-GP takes it."""
    x, weights = normal(3, batch, 2, 2, 3), normal(4, 4)
    groups = StddevGroups(form, group_size)
    sample_index = shard_batch(batch, groups, devices=devices)
    stddev = functools.partial(minibatch_stddev, groups=groups)

    def scores(x, weights, axis_name):
        return jnp.tanh(stddev(x, axis_name=axis_name) @ weights).sum(axis=(1, 2))

    def everything(axis_name, x, weights):
        def gradient(weights):
            return jax.grad(lambda x: scores(x, weights, axis_name).sum())(x)

        of_weights = jax.grad(lambda weights: jnp.square(gradient(weights)).sum())(weights)
        total = jax.lax.psum(of_weights, axis_name) if axis_name else of_weights
        return stddev(x, axis_name=axis_name), gradient(weights), total

    expected, expected_gradient, expected_second = quick_jit(functools.partial(everything, None))(x, weights)
    mapped = jax.pmap(functools.partial(everything, AXIS), axis_name=AXIS, in_axes=(0, None))
    values, gradient, second = (np.asarray(leaf) for leaf in mapped(x[sample_index], weights))
    assert np.abs(expected_gradient).max() > 0.01
    np.testing.assert_allclose(values, np.asarray(expected)[sample_index], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, np.asarray(expected_gradient)[sample_index], rtol=1e-4, atol=1e-5)
    for on_device in second:
        np.testing.assert_allclose(on_device, expected_second, rtol=1e-4, atol=1e-4)


def test_a_group_split_over_devices_is_refused():
    x = normal(0, 4, 2, 2, 2, 3)
    mapped = jax.pmap(functools.partial(minibatch_stddev, groups=StddevGroups("strided", 4), axis_name=AXIS), axis_name=AXIS)
    with pytest.raises(ValueError, match=r"2 samples on a device .* groups of 4"):
        mapped(x)


# Minibatch discrimination


def slow_closeness(x: np.ndarray, kernel: np.ndarray, kernels: int, dimensions: int) -> np.ndarray:
    """Sum over the other samples of exp(-distance), by loops in float64; the kernel is scaled to gain 1."""
    mapped = x.astype(np.float64) @ (kernel.astype(np.float64) / math.sqrt(x.shape[1]))
    mapped = mapped.reshape(len(x), kernels, dimensions)
    result = np.zeros((len(x), kernels))
    for own, other, number in itertools.product(range(len(x)), range(len(x)), range(kernels)):
        if own != other:
            result[own, number] += math.exp(-np.abs(mapped[own, number] - mapped[other, number]).sum())
    return result


def discriminate(x: np.ndarray, kernel: np.ndarray, kernels: int = 4, **options: Any) -> jax.Array:
    """`x` with its new features."""
    return MinibatchDiscrimination(kernels, **options).apply({"params": {"kernel": kernel}}, x)


def test_minibatch_discrimination_equals_its_definition():
    x, kernel = normal(0, 6, 7), normal(1, 7, 4 * 3)
    y = np.asarray(discriminate(x, kernel, dimensions=3))
    assert y.shape == (6, 11)
    np.testing.assert_array_equal(y[:, :7], x)
    np.testing.assert_allclose(y[:, 7:], slow_closeness(x, kernel, 4, 3), rtol=1e-4, atol=1e-6)


def test_equal_samples_are_closest_and_one_sample_is_alone():
    kernel = normal(1, 7, 4 * 5)
    equal = np.asarray(discriminate(np.broadcast_to(normal(0, 1, 7), (6, 7)), kernel))[:, 7:]
    np.testing.assert_allclose(equal, 5.0, rtol=1e-5)
    mixed = np.asarray(discriminate(normal(0, 6, 7), kernel))[:, 7:]
    assert (mixed < 5.0).all()
    assert (mixed > 0.0).all()
    np.testing.assert_array_equal(discriminate(normal(0, 1, 7), kernel)[:, 7:], 0.0)


def test_minibatch_discrimination_knows_no_order_of_samples():
    x, kernel = normal(0, 6, 7), normal(1, 7, 4 * 5)
    order = np.array([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(discriminate(x[order], kernel), discriminate(x, kernel)[order], rtol=1e-5)


def test_minibatch_discrimination_starts_with_one_kernel_leaf():
    shapes = jax.eval_shape(MinibatchDiscrimination(100).init, jax.random.key(0), np.zeros((2, 16), np.float32))["params"]
    assert {name: leaf.shape for name, leaf in shapes.items()} == {"kernel": (16, 500)}


def test_minibatch_discrimination_in_bfloat16_compares_in_float32():
    x, kernel = jnp.asarray(normal(0, 6, 8), jnp.bfloat16), normal(1, 8, 4 * 5)
    y = discriminate(x, kernel, dtype="bfloat16")
    assert y.dtype == jnp.bfloat16
    expected = slow_closeness(np.asarray(x, np.float32), kernel, 4, 5)
    np.testing.assert_allclose(np.asarray(y[:, 8:], np.float32), expected, rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("devices", [2, 4])
def test_minibatch_discrimination_over_devices_equals_one_device(devices):
    """Values, gradients of a sum of scores, and the gradient of the squared norm of those, as WGAN-GP takes it."""
    x, kernel, weights = normal(3, 8, 6), normal(4, 6, 4 * 5), normal(5, 10)

    def scores(x, kernel, axis_name):
        return jnp.tanh(discriminate(x, kernel, axis_name=axis_name) @ weights)

    def everything(axis_name, x, kernel):
        def gradient(kernel):
            return jax.grad(lambda x: scores(x, kernel, axis_name).sum())(x)

        of_kernel = jax.grad(lambda kernel: jnp.square(gradient(kernel)).sum())(kernel)
        total = jax.lax.psum(of_kernel, axis_name) if axis_name else of_kernel
        return scores(x, kernel, axis_name), gradient(kernel), total

    values, gradient, second = quick_jit(functools.partial(everything, None))(x, kernel)
    mapped = jax.pmap(functools.partial(everything, AXIS), axis_name=AXIS, in_axes=(0, None))
    on_devices = [np.asarray(leaf) for leaf in mapped(x.reshape(devices, -1, 6), kernel)]
    assert np.abs(second).max() > 0.01
    np.testing.assert_allclose(on_devices[0].reshape(8), values, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(on_devices[1].reshape(8, 6), gradient, rtol=1e-4, atol=1e-5)
    for total in on_devices[2]:
        np.testing.assert_allclose(total, second, rtol=1e-4, atol=1e-4)


# Input noise


noisy = quick_jit(perturb, static_argnums=2)


def keys_for(seed: int, batch: int) -> jax.Array:
    return quick_jit(jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed))))(jnp.arange(batch))


def test_no_noise_is_the_identity():
    x = normal(0, 2, 3, 3, 4)
    assert perturb(x, None, 3) is x
    np.testing.assert_array_equal(noisy(x, InputNoise(jnp.zeros(()), keys_for(0, 2)), 3), x)


@pytest.mark.parametrize("channels", [4, 16])
def test_noise_factor_is_one_number_per_sample_and_channel_with_the_specified_spread(channels):
    batch, strength = 4096 // channels, 0.3
    noise = InputNoise(jnp.asarray(strength), keys_for(1, batch))
    factors = np.asarray(noisy(jnp.ones((batch, 2, 3, channels)), noise, 8))
    assert (factors == factors[:, :1, :1]).all()
    numbers = (factors[:, 0, 0] - 1.0) / (strength * math.sqrt(channels))
    assert len(np.unique(numbers)) == numbers.size
    np.testing.assert_allclose(numbers.mean(), 0.0, atol=0.06)
    np.testing.assert_allclose(numbers.std(), 1.0, atol=0.04)
    correlations = np.corrcoef(numbers, rowvar=False) - np.eye(channels)
    assert np.abs(correlations).max() < 0.35


def test_noise_multiplies():
    x = normal(0, 3, 2, 2, 4)
    noise = InputNoise(jnp.asarray(0.1), keys_for(2, 3))
    np.testing.assert_allclose(noisy(x, noise, 9), x * noisy(jnp.ones_like(x), noise, 9), rtol=1e-5)


def test_each_layer_and_each_sample_has_its_own_noise():
    ones, noise = jnp.ones((2, 1, 1, 4)), InputNoise(jnp.asarray(0.1), keys_for(3, 2))
    first, second = np.asarray(noisy(ones, noise, 8)), np.asarray(noisy(ones, noise, 9))
    assert not np.isclose(first, second).any()
    assert not np.isclose(first[0], first[1]).any()


def test_noise_follows_a_sample_to_another_place():
    x, keys = normal(0, 3, 2, 2, 4), keys_for(4, 3)
    order = np.array([2, 0, 1])
    together = noisy(x, InputNoise(jnp.asarray(0.2), keys), 8)
    moved = noisy(x[order], InputNoise(jnp.asarray(0.2), keys[order]), 8)
    np.testing.assert_array_equal(moved, np.asarray(together)[order])
