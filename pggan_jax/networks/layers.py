"""Layers of both networks: equalized, pixel norm, minibatch stddev and discrimination."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from pggan_jax.config.networks import StddevGroups
from pggan_jax.networks import resample

HE_GAIN = math.sqrt(2.0)
LEAK = 0.2
STDDEV_EPSILON = 1e-8

_CONVOLUTIONS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "same": resample.convolve,
    "up": resample.upscale_convolve,
    "down": resample.convolve_downscale,
}


def feature_maps(stage: int, *, fmap_base: int, fmap_decay: float, fmap_max: int) -> int:
    """Channels of a stage (spec 1.1).

    They are min(floor(fmap_base / 2^(stage * fmap_decay)), fmap_max), and at least 1.

    The block at resolution 2^res is stage res - 1.
    """
    return max(1, min(int(fmap_base / 2.0 ** (stage * fmap_decay)), fmap_max))


class InitialNormal(NamedTuple):
    """Mean and standard deviation of the normal numbers that a parameter starts from.

    A layer with such parameters has a method `initial_normals(features_in)` that returns them by their names; all other
    parameters start at 0.
    """

    mean: float
    stddev: float


class Equalized(nn.Module):
    """Base of `EqualizedConv` and `EqualizedDense`, the equalized learning rate (spec 1.2).

    Weights are stored as N(0, 1) and multiplied by gain / sqrt(fan_in) on every pass, in float32, before the cast to `dtype`.
    Without `use_wscale` they are stored as N(0, gain^2 / fan_in) and used as they are. Biases start at 0 and are never scaled.

    Attributes:
        features: output channels.
        gain: sqrt(2) before a leaky ReLU, 1 before nothing.
        use_wscale: scale the weights at run time.
        dtype: of the activations.
        normalize: what the output passes through before the bias is added, if anything.
        use_bias: add a bias; without, batch norm follows and would remove it.
    """

    features: int
    gain: float = HE_GAIN
    use_wscale: bool = True
    dtype: str = "float32"
    normalize: nn.Module | None = None
    use_bias: bool = True

    def taps(self) -> int:
        """Positions of the input that each output sees."""
        return 1

    def scale(self, features_in: int) -> float:
        """gain / sqrt(fan_in)."""
        return self.gain / math.sqrt(self.taps() * features_in)

    def stored_stddev(self, features_in: int) -> float:
        """Standard deviation that the weights are initialised with."""
        return 1.0 if self.use_wscale else self.scale(features_in)

    def initial_normals(self, features_in: int) -> dict[str, InitialNormal]:
        """What the weights are drawn from; biases start at 0."""
        return {"kernel": InitialNormal(0.0, self.stored_stddev(features_in))}

    def bias_shape(self, features: int) -> tuple[int, ...]:
        """Shape of the biases: one per channel."""
        return (features,)

    def _kernel(self, *shape: int) -> jax.Array:
        """The kernel, its last two axes input and output channels, as it is used."""
        initializer = nn.initializers.normal(self.stored_stddev(shape[-2]))
        kernel = self.param("kernel", initializer, shape, jnp.float32)
        runtime_factor = self.scale(shape[-2]) if self.use_wscale else 1.0
        return (kernel * runtime_factor).astype(self.dtype)

    def _add_bias(self, x: jax.Array) -> jax.Array:
        """Add the biases in float32, after `normalize`.

        A bias's gradient is a sum over all pixels of the batch, of which bfloat16 would keep three digits.
        """
        if self.normalize is not None:
            x = self.normalize(x)
        if not self.use_bias:
            return x
        bias = self.param("bias", nn.initializers.zeros, self.bias_shape(x.shape[-1]), jnp.float32)
        return (x.astype(jnp.float32) + bias).astype(x.dtype)


class EqualizedConv(Equalized):
    """A convolution with bias: `[batch, h, w, c_in]` to `[batch, h', w', features]`.

    Attributes:
        kernel_size: side of the kernel.
        resampling: "same", or "up" / "down" for the fused forms of a 3x3 convolution, which double or halve h and w.
        blur: smooth the output before the bias is added.
    """

    kernel_size: int = 3
    resampling: str = "same"
    blur: bool = False

    def taps(self) -> int:
        """Positions of the input that each output sees."""
        return self.kernel_size**2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve `x` and add the bias."""
        kernel = self._kernel(self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        if self.kernel_size == 1:
            return self._add_bias(jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0]))
        x = _CONVOLUTIONS[self.resampling](x, kernel)
        return self._add_bias(resample.blur(x) if self.blur else x)


class EqualizedDense(Equalized):
    """A dense layer with bias: `[batch, c_in]` to `[batch, *positions, features]`.

    Attributes:
        positions: shape of the output before its channels, such as (4, 4).
        bias_per_position: each position has biases of its own; otherwise all share one per channel.
    """

    positions: tuple[int, ...] = ()
    bias_per_position: bool = False

    def bias_shape(self, features: int) -> tuple[int, ...]:
        """Shape of the biases."""
        return (*self.positions, features) if self.bias_per_position else (features,)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Multiply `x` by the kernel and add the bias."""
        kernel = self._kernel(x.shape[-1], math.prod(self.positions) * self.features)
        return self._add_bias((x @ kernel).reshape(-1, *self.positions, self.features))


class MinibatchDiscrimination(Equalized):
    """Append how close a sample is to the others of the batch (Salimans et al. 2016).

    Takes `[batch, c]` to `[batch, c + features]`. A linear map M without bias takes each sample to `features` kernels of
    `dimensions` numbers. Kernel b of sample i appends the sum over all other samples j of exp(-sum_d |M_ibd - M_jbd|). The
    paper's sum contains the sample itself, a constant 1.

    Attributes:
        dimensions: numbers per kernel.
        axis_name: the device axis that the batch is spread over, if any; its samples are compared over all devices.
    """

    gain: float = 1.0
    dimensions: int = 5
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Compare the samples in float32, and append the sums to `x`."""
        batch = x.shape[0]
        kernel = self._kernel(x.shape[-1], self.features * self.dimensions)
        own = (x @ kernel).astype(jnp.float32).reshape(batch, self.features, self.dimensions)
        every = lax.all_gather(own, self.axis_name, tiled=True) if self.axis_name else own
        first = lax.axis_index(self.axis_name) * batch if self.axis_name else 0
        is_self = first + jnp.arange(batch)[:, None] == jnp.arange(len(every))
        distances = jnp.abs(own[:, None] - every).sum(axis=-1)
        closeness = jnp.where(is_self[..., None], 0.0, jnp.exp(-distances)).sum(axis=1)
        return jnp.concatenate([x, closeness.astype(x.dtype)], axis=-1)


def leaky_relu(x: jax.Array, slope: float = LEAK) -> jax.Array:
    """max(slope x, x)."""
    return jnp.where(x >= 0, x, x * jnp.asarray(slope, x.dtype))


def pixel_norm(x: jax.Array, epsilon: float) -> jax.Array:
    """Scale the channels of each pixel to unit mean square: x * rsqrt(mean(x^2) + epsilon).

    In float32 throughout, and so are the sums over channels in its derivatives.
    """
    values = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(values), axis=-1, keepdims=True)
    return (values * lax.rsqrt(mean_square + epsilon)).astype(x.dtype)


def minibatch_stddev(x: jax.Array, groups: StddevGroups, *, axis_name: str | None = None) -> jax.Array:
    """Append one channel with the standard deviation over the samples of a group (spec 1.7).

    Args:
        x: activations `[batch, h, w, c]`, the samples of this device.
        groups: which samples form a group; "contiguous" takes the unbiased variance, "whole_batch" all devices together.
        axis_name: the device axis, if the batch is spread over one. Each group must then lie on one device, unless one group
            spans the batch.

    Returns:
        `[batch, h, w, c + 1]`; the new channel is last and constant over each image.

    Raises:
        ValueError: the samples cannot be divided into groups.
    """
    batch, height, width, channels = x.shape
    devices = lax.axis_size(axis_name) if axis_name else 1
    size = min(groups.size, batch * devices)
    values = x.astype(jnp.float32)
    unbiased = groups.form == "contiguous"
    if groups.form == "whole_batch" or size == batch * devices:
        statistic = _stddev_over_all_devices(values, unbiased, axis_name)
        per_sample = jnp.broadcast_to(statistic, (batch,))
    elif batch % size:
        raise ValueError(f"{batch} samples on a device cannot be divided into minibatch-stddev groups of {size}")
    elif groups.form == "strided":
        grouped = values.reshape(size, batch // size, height, width, channels)
        per_sample = jnp.tile(_mean_stddev(grouped, 0, unbiased), size)
    else:
        grouped = values.reshape(batch // size, size, height, width, channels)
        per_sample = jnp.repeat(_mean_stddev(grouped, 1, unbiased), size)
    # Without the barrier XLA:GPU computes the mean over a group anew for each number that it writes.
    per_sample = lax.optimization_barrier(per_sample)
    extra = jnp.broadcast_to(per_sample[:, None, None, None], (batch, height, width, 1))
    return jnp.concatenate([x, extra.astype(x.dtype)], axis=-1)


def _mean_stddev(grouped: jax.Array, axis: int, unbiased: bool) -> jax.Array:
    """Stddev over `axis` (a group's samples), averaged over pixels and channels."""
    size = grouped.shape[axis]
    if unbiased and size == 1:
        return jnp.zeros(grouped.shape[1 - axis], jnp.float32)
    centred = grouped - grouped.mean(axis=axis, keepdims=True)
    variance = jnp.square(centred).sum(axis=axis) / (size - unbiased)
    return jnp.sqrt(variance + STDDEV_EPSILON).mean(axis=(1, 2, 3))


def _stddev_over_all_devices(values: jax.Array, unbiased: bool, axis_name: str | None) -> jax.Array:
    if axis_name is None or lax.axis_size(axis_name) == 1:
        return _mean_stddev(values[:, None], 0, unbiased)[0]
    size = values.shape[0] * lax.axis_size(axis_name)
    centred = values - lax.pmean(values.mean(axis=0), axis_name)
    variance = lax.psum(jnp.square(centred).sum(axis=0), axis_name) / (size - unbiased)
    return jnp.sqrt(variance + STDDEV_EPSILON).mean()


class InputNoise(NamedTuple):
    """Multiplicative noise on the inputs of the discriminator's convolutions (LSGAN, spec 3.6).

    Attributes:
        strength: scalar s.
        keys: one random key per sample, `[batch]`.
    """

    strength: jax.Array
    keys: jax.Array


def perturb(x: jax.Array, noise: InputNoise | None, layer: int) -> jax.Array:
    """Multiply by 1 + s * sqrt(c) * n with n ~ N(0, 1) per sample, channel and `layer`."""
    if noise is None:
        return x
    channels = x.shape[-1]
    keys = jax.vmap(jax.random.fold_in, (0, None))(noise.keys, layer)
    normal = jax.vmap(lambda key: jax.random.normal(key, (1, 1, channels), jnp.float32))(keys)
    return x * (1.0 + noise.strength * math.sqrt(channels) * normal).astype(x.dtype)
