"""Changing resolution by two, alone or fused with a 3x3 convolution (spec 1.3, 1.5); blur.

The fused forms are stride-2 convolutions with a 4x4 kernel. WGAN-GP differentiates them twice, and plain automatic
differentiation turns their weight gradients into convolutions that XLA runs an order of magnitude slower on a CPU. So they are
written as three bilinear maps that are each other's derivatives, closed to any order:

    shrink(high, kernel) -> low        4x4 convolution, stride 2, padding 1
    enlarge(low, kernel) -> high       its adjoint in `high`
    correlate(high, low) -> kernel     its adjoint in `kernel`

Shapes: high `[batch, 2h, 2w, c_high]`, low `[batch, h, w, c_low]`, kernel `[4, 4, c_high, c_low]`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")


def upscale(x: jax.Array) -> jax.Array:
    """Nearest neighbour: `[batch, h, w, c]` to `[batch, 2h, 2w, c]`."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


def downscale(x: jax.Array) -> jax.Array:
    """Mean of 2x2 blocks: `[batch, 2h, 2w, c]` to `[batch, h, w, c]`."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


@jax.custom_vjp
def blur(x: jax.Array) -> jax.Array:
    """Binomial filter [1, 2, 1] x [1, 2, 1] / 16 of each channel, padded with zeros.

    Takes `[batch, h, w, c]` to the same shape. It is its own adjoint, so its derivatives of any order are blurs. Shifted sums,
    one axis after the other: a convolution with one group per channel has no fast path in XLA:CPU. In float32; only the result
    is rounded to the type of `x`.
    """
    values = x.astype(jnp.float32)
    for axis in (1, 2):
        values = 0.5 * values + 0.25 * (_shift(values, axis, 1) + _shift(values, axis, -1))
    return values.astype(x.dtype)


def _shift(x: jax.Array, axis: int, by: int) -> jax.Array:
    """Move `x` by one place along `axis`, zeros coming in."""
    rest = lax.slice_in_dim(x, max(-by, 0), x.shape[axis] - max(by, 0), axis=axis)
    return jnp.pad(rest, [(max(by, 0), max(-by, 0)) if one == axis else (0, 0) for one in range(x.ndim)])


blur.defvjp(lambda x: (blur(x), None), lambda _, cotangent: (blur(cotangent),))


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Stride 1, zero padding SAME, no flip: `[batch, h, w, c_in]` with `[k, k, c_in, c_out]`."""
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


def upscale_convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`convolve(upscale(x), kernel)`, borders included; `kernel` is `[3, 3, c_in, c_out]`."""
    return enlarge(x, _box_sum(kernel[::-1, ::-1].swapaxes(2, 3)))


def convolve_downscale(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`downscale(convolve(x, kernel))`, borders included; `kernel` is `[3, 3, c_in, c_out]`."""
    # Scaled before the sum. If the scaling comes last, XLA:GPU moves the reversal of `_enlarge_by_transposition` below it, no
    # longer sees a transposed convolution, and runs one with four times the arithmetic.
    return shrink(x, _box_sum(kernel * jnp.asarray(0.25, kernel.dtype)))


def strided_convolve(high: jax.Array, kernel: jax.Array) -> jax.Array:
    """5x5 convolution with stride 2 and padding 2.

    Computed as a 3x3 convolution of the 2x2 pixels that each low pixel stands for: XLA:CPU runs strided convolutions and their
    derivatives slowly.

    Args:
        high: `[batch, 2h, 2w, c_high]`.
        kernel: `[5, 5, c_high, c_low]`.

    Returns:
        `[batch, h, w, c_low]`.
    """
    batch, height, width, channels = high.shape
    blocks = high.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return convolve(blocks.reshape(batch, height // 2, width // 2, 4 * channels), _by_blocks(kernel))


def strided_convolve_transposed(low: jax.Array, kernel: jax.Array) -> jax.Array:
    """The adjoint of `strided_convolve`, with the same kernel; h and w are doubled."""
    batch, height, width, _ = low.shape
    blocks = convolve(low, _by_blocks(kernel)[::-1, ::-1].swapaxes(2, 3))
    high = blocks.reshape(batch, height, width, 2, 2, kernel.shape[2]).transpose(0, 1, 3, 2, 4, 5)
    return high.reshape(batch, 2 * height, 2 * width, kernel.shape[2])


def _by_blocks(kernel: jax.Array) -> jax.Array:
    """A 5x5 kernel as `[3, 3, 4 c_high, c_low]`, for maps of 2x2 blocks."""
    c_high, c_low = kernel.shape[2:]
    padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0))).reshape(3, 2, 3, 2, c_high, c_low)
    return padded.transpose(0, 2, 1, 3, 4, 5).reshape(3, 3, 4 * c_high, c_low)


def _box_sum(kernel: jax.Array) -> jax.Array:
    """A 3x3 kernel summed over its four positions in a 4x4 window."""
    padded = jnp.pad(kernel, ((1, 1), (1, 1), (0, 0), (0, 0)))
    return padded[1:, 1:] + padded[:-1, 1:] + padded[1:, :-1] + padded[:-1, :-1]


@jax.custom_vjp
def shrink(high: jax.Array, kernel: jax.Array) -> jax.Array:
    """4x4 convolution with stride 2 and padding 1."""
    return _strided(high, kernel)


@jax.custom_vjp
def enlarge(low: jax.Array, kernel: jax.Array) -> jax.Array:
    """The adjoint of `shrink` in its first argument: a transposed convolution."""
    return lax.platform_dependent(low, kernel, cpu=_enlarge_by_pixel_shuffle, default=_enlarge_by_transposition)


@jax.custom_vjp
def correlate(high: jax.Array, low: jax.Array) -> jax.Array:
    """The adjoint of `shrink` in its kernel: a convolution with `low` as the dilated kernel."""
    return lax.conv_general_dilated(
        high, low, (1, 1), ((1, 1), (1, 1)), rhs_dilation=(2, 2), dimension_numbers=("CHWN", "IHWO", "HWNC")
    )


def _strided(high: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(high, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=_NHWC)


def _enlarge_by_transposition(low: jax.Array, kernel: jax.Array) -> jax.Array:
    batch, height, width, _ = low.shape
    high = jax.ShapeDtypeStruct((batch, 2 * height, 2 * width, kernel.shape[2]), low.dtype)
    (result,) = jax.linear_transpose(lambda x: _strided(x, kernel), high)(low)
    return result


def _enlarge_by_pixel_shuffle(low: jax.Array, kernel: jax.Array) -> jax.Array:
    """Compute 2x2 high pixels from each window of 2x2 low pixels.

    high[2j - 1 + p] sees low[j - 1] with kernel[2 + p] and low[j] with kernel[p]. This is a stride-1 convolution, which XLA:CPU
    runs on its fast path, unlike a dilated one.
    """
    batch, height, width, c_low = low.shape
    c_high = kernel.shape[2]
    by_tap_and_phase = kernel.reshape(2, 2, 2, 2, c_high, c_low)[::-1, :, ::-1]
    small = by_tap_and_phase.transpose(0, 2, 5, 1, 3, 4).reshape(2, 2, c_low, 4 * c_high)
    phases = lax.conv_general_dilated(low, small, (1, 1), ((1, 1), (1, 1)), dimension_numbers=_NHWC)
    phases = phases.reshape(batch, height + 1, width + 1, 2, 2, c_high).transpose(0, 1, 3, 2, 4, 5)
    return phases.reshape(batch, 2 * height + 2, 2 * width + 2, c_high)[:, 1:-1, 1:-1]


shrink.defvjp(
    lambda high, kernel: (shrink(high, kernel), (high, kernel)),
    lambda saved, low: (enlarge(low, saved[1]), correlate(saved[0], low)),
)
enlarge.defvjp(
    lambda low, kernel: (enlarge(low, kernel), (low, kernel)),
    lambda saved, high: (shrink(high, saved[1]), correlate(high, saved[0])),
)
correlate.defvjp(
    lambda high, low: (correlate(high, low), (high, low)),
    lambda saved, kernel: (enlarge(saved[1], kernel), shrink(saved[0], kernel)),
)
