"""Up and down by two: the fused forms against the plain ones, to second derivatives, the three maps behind them; the blur."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.networks import resample
from pggan_jax.networks.resample import (
    blur,
    convolve,
    convolve_downscale,
    correlate,
    downscale,
    enlarge,
    shrink,
    upscale,
    upscale_convolve,
)
from tests.helpers.compiling import quick_jit

FORMS = {
    "up": (upscale_convolve, lambda x, kernel: convolve(upscale(x), kernel)),
    "down": (convolve_downscale, lambda x, kernel: downscale(convolve(x, kernel))),
}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def low_high_kernel(height: int, width: int, c_high: int = 3, c_low: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return normal(0, 2, height, width, c_low), normal(1, 2, 2 * height, 2 * width, c_high), normal(2, 4, 4, c_high, c_low)


def inner(a: jax.Array, b: jax.Array) -> float:
    return float(np.vdot(np.asarray(a, np.float64), np.asarray(b, np.float64)))


def slow_convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Stride 1, zero padding, no flip, in float64."""
    size = kernel.shape[0]
    margin = size // 2
    padded = np.pad(x.astype(np.float64), ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    height, width = x.shape[1:3]
    taps = [(row, column) for row in range(size) for column in range(size)]
    return sum(padded[:, r : r + height, c : c + width] @ kernel[r, c].astype(np.float64) for r, c in taps)


def test_upscale_repeats_each_pixel():
    x = normal(0, 2, 3, 5, 2)
    np.testing.assert_array_equal(upscale(x), x.repeat(2, axis=1).repeat(2, axis=2))


def test_downscale_averages_blocks():
    x = normal(0, 2, 6, 10, 3)
    blocks = [x[:, row::2, column::2].astype(np.float64) for row in (0, 1) for column in (0, 1)]
    np.testing.assert_allclose(downscale(x), sum(blocks) / 4, atol=1e-6)


def test_downscale_undoes_upscale():
    x = normal(0, 1, 3, 5, 2)
    np.testing.assert_allclose(downscale(upscale(x)), x, atol=1e-6)


def test_convolve_does_not_flip_and_pads_with_zeros():
    x, kernel = normal(0, 2, 5, 3, 3), normal(1, 3, 3, 3, 4)
    np.testing.assert_allclose(convolve(x, kernel), slow_convolve(x, kernel), atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (4, 2)])
def test_upscale_convolve_equals_its_definition(height, width):
    x, kernel = normal(0, 2, height, width, 3), normal(1, 3, 3, 3, 4)
    expected = slow_convolve(x.repeat(2, axis=1).repeat(2, axis=2), kernel)
    np.testing.assert_allclose(upscale_convolve(x, kernel), expected, atol=2e-5)


def test_the_kernel_is_scaled_before_it_is_summed():
    """XLA:GPU knows its derivative for a transposed convolution only if nothing is multiplied after the sum."""
    jaxpr = jax.make_jaxpr(convolve_downscale)(jnp.zeros((1, 8, 8, 2)), jnp.zeros((3, 3, 2, 4)))
    factors = [equation.outvars[0].aval.shape for equation in jaxpr.eqns if equation.primitive.name == "mul"]
    assert factors == [(3, 3, 2, 4)]


@pytest.mark.parametrize(("height", "width"), [(2, 2), (6, 10), (4, 2)])
def test_convolve_downscale_equals_its_definition(height, width):
    x, kernel = normal(0, 2, height, width, 3), normal(1, 3, 3, 3, 4)
    full = slow_convolve(x, kernel)
    expected = (full[:, ::2, ::2] + full[:, 1::2, ::2] + full[:, ::2, 1::2] + full[:, 1::2, 1::2]) / 4
    np.testing.assert_allclose(convolve_downscale(x, kernel), expected, atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
def test_derivatives_of_fused_forms_equal_those_of_plain_ones(form):
    """First, second and mixed derivatives, in image and kernel: those of the squared gradient norm of a curved function."""
    x, kernel = normal(0, 2, 6, 10, 3), normal(1, 3, 3, 3, 4)

    def derivatives_of(function):
        def value(x, kernel):
            return jnp.sin(function(x, kernel)).sum()

        def squared_norms(x, kernel):
            of_x, of_kernel = jax.grad(value, argnums=(0, 1))(x, kernel)
            return jnp.array([jnp.square(of_x).sum(), jnp.square(of_kernel).sum()])

        return quick_jit(lambda *at: (jax.grad(value, argnums=(0, 1))(*at), jax.jacrev(squared_norms, argnums=(0, 1))(*at)))

    fused, plain = (derivatives_of(function)(x, kernel) for function in FORMS[form])
    for mine, expected in zip(jax.tree.leaves(fused), jax.tree.leaves(plain), strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (4, 4)])
def test_the_three_maps_are_adjoint(height, width):
    low, high, kernel = low_high_kernel(height, width)
    expected = inner(shrink(high, kernel), low)
    assert abs(expected) > 0.1
    np.testing.assert_allclose(inner(high, enlarge(low, kernel)), expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(inner(kernel, correlate(high, low)), expected, rtol=1e-5, atol=1e-4)


def test_shrink_is_the_strided_convolution():
    low, high, kernel = low_high_kernel(3, 5)
    padded = np.pad(high, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(np.float64)
    expected = sum(padded[:, r : r + 6 : 2, c : c + 10 : 2] @ kernel[r, c] for r in range(4) for c in range(4))
    assert shrink(high, kernel).shape == low.shape
    np.testing.assert_allclose(shrink(high, kernel), expected, atol=2e-5)


@pytest.mark.parametrize("function", [shrink, enlarge, correlate])
def test_each_map_is_differentiated_to_the_third_order(function):
    """Against finite differences of the second derivative, along one direction of the first argument."""
    low, high, kernel = low_high_kernel(2, 1, 2, 2)
    first, second = {shrink: (high, kernel), enlarge: (low, kernel), correlate: (high, low)}[function]

    def along(order):
        def value(time):
            return jnp.sin(function(first * time, second * (1 + time))).sum()

        for _ in range(order):
            value = jax.grad(value)
        return quick_jit(value)

    step = 1e-2
    lower = along(2)
    slope = (lower(0.3 + step) - lower(0.3 - step)) / (2 * step)
    slope_twice = (lower(0.3 + 2 * step) - lower(0.3 - 2 * step)) / (4 * step)
    np.testing.assert_allclose(along(3)(0.3), (4 * slope - slope_twice) / 3, rtol=2e-2)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (4, 2)])
def test_both_platform_forms_of_enlarge_are_equal(height, width):
    low, _, kernel = low_high_kernel(height, width)
    shuffled, transposed = resample._enlarge_by_pixel_shuffle(low, kernel), resample._enlarge_by_transposition(low, kernel)
    assert shuffled.shape == transposed.shape == (2, 2 * height, 2 * width, 3)
    np.testing.assert_allclose(shuffled, transposed, atol=2e-5)
    np.testing.assert_allclose(enlarge(low, kernel), transposed, atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_stays_bfloat16_and_close(form):
    x, kernel = normal(0, 2, 6, 4, 8), normal(1, 3, 3, 8, 8)
    fused, _ = FORMS[form]
    result = fused(jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16))
    expected = np.asarray(fused(x, kernel))
    assert result.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(result, np.float32), expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("form", FORMS)
def test_gradients_in_bfloat16_have_the_dtype_of_their_argument(form):
    fused, _ = FORMS[form]
    x, kernel = jnp.ones((1, 4, 4, 2), jnp.bfloat16), jnp.ones((3, 3, 2, 2), jnp.bfloat16)
    shapes = jax.eval_shape(jax.grad(lambda x, kernel: fused(x, kernel).astype(jnp.float32).sum(), (0, 1)), x, kernel)
    assert [leaf.dtype for leaf in shapes] == [jnp.bfloat16, jnp.bfloat16]
    assert [leaf.shape for leaf in shapes] == [x.shape, kernel.shape]


def test_derivatives_of_both_platform_forms_of_enlarge_are_equal():
    """First and second derivatives, in both arguments, by plain differentiation of each form and by the closed family."""
    low, _, kernel = low_high_kernel(3, 5)
    forms = resample._enlarge_by_pixel_shuffle, resample._enlarge_by_transposition, enlarge

    def derivatives_of(form):
        def value(low, kernel):
            return jnp.sin(form(low, kernel)).sum()

        def squared_norms(low, kernel):
            of_low, of_kernel = jax.grad(value, argnums=(0, 1))(low, kernel)
            return jnp.array([jnp.square(of_low).sum(), jnp.square(of_kernel).sum()])

        return quick_jit(lambda *at: (jax.grad(value, argnums=(0, 1))(*at), jax.jacrev(squared_norms, argnums=(0, 1))(*at)))

    shuffled, transposed, closed = (jax.tree.leaves(derivatives_of(form)(low, kernel)) for form in forms)
    for mine, expected, both in zip(shuffled, transposed, closed, strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
        np.testing.assert_allclose(both, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


# The blur


def slow_blur(x: np.ndarray) -> np.ndarray:
    """Nine shifted and weighted copies of each channel, in float64."""
    height, width = x.shape[1:3]
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    return sum(weights[r, c] * padded[:, r : r + height, c : c + width] for r in range(3) for c in range(3))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 1), (4, 6), (5, 3)])
def test_blur_equals_nine_shifted_copies(height, width):
    x = normal(0, 2, height, width, 3)
    np.testing.assert_allclose(blur(x), slow_blur(x), atol=1e-6)


def test_blur_of_a_constant_loses_at_the_border_alone():
    result = np.asarray(blur(np.ones((1, 4, 5, 1), np.float32)))[0, :, :, 0]
    np.testing.assert_allclose(result, np.outer([0.75, 1, 1, 0.75], [0.75, 1, 1, 1, 0.75]))


def test_blur_is_its_own_adjoint():
    x, y = normal(0, 2, 5, 4, 3), normal(1, 2, 5, 4, 3)
    expected = inner(blur(x), y)
    assert abs(expected) > 0.1
    np.testing.assert_allclose(inner(x, blur(y)), expected, rtol=1e-5)
    (cotangent,) = jax.vjp(blur, x)[1](y)
    np.testing.assert_array_equal(cotangent, blur(y))


def test_derivatives_of_blur_equal_those_of_a_convolution():
    """To the second order, of a curved function; the convolution has one group per channel."""
    x = normal(0, 2, 4, 3, 2)
    kernel = np.broadcast_to((np.outer([1, 2, 1], [1, 2, 1]) / 16)[:, :, None, None], (3, 3, 1, 2)).astype(np.float32)

    def plain(x):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=2)

    def derivatives_of(function):
        def value(x):
            return jnp.sin(3 * function(x)).sum()

        return quick_jit(lambda x: (jax.grad(value)(x), jax.grad(lambda x: jnp.square(jax.grad(value)(x)).sum())(x)))(x)

    for mine, expected in zip(derivatives_of(blur), derivatives_of(plain), strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-4)


def test_blur_in_bfloat16_is_rounded_once():
    x = jnp.asarray(normal(0, 2, 6, 4, 8), jnp.bfloat16)
    result = blur(x)
    assert result.dtype == jnp.bfloat16
    expected = jnp.asarray(slow_blur(np.asarray(x, np.float32)), jnp.bfloat16)
    np.testing.assert_array_equal(np.asarray(result, np.float32), np.asarray(expected, np.float32))
