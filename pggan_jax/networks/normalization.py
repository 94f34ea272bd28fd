"""Layer and batch normalisation, and fixed statistics for images of a trained network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax

from pggan_jax.networks.layers import InitialNormal

STATISTICS = "statistics"
"""The collection in which `BatchNorm` reports mean and variance of its batch."""
_SEED = 0
_MOST_SAMPLES, _FEWEST_SAMPLES, _PIXELS = 256, 16, 2**20


class BatchNorm(nn.Module):
    """Normalise each channel by mean and variance of the batch, then scale and shift it.

    Maps `[batch, h, w, c]` have one mean per channel, over samples and pixels; rows `[batch, c]` have one per unit. The
    variance is the biased one. Everything is computed in float32.

    There are no running averages. Parameters from `with_statistics` hold a mean and a variance beside gain and shift, and then
    these are used: an image does not depend on the other images of its batch.

    Attributes:
        epsilon: added to the variance.
        use_affine: learn a gain, from N(1, gain_stddev^2), and a shift, from 0.
        gain_stddev: standard deviation of the initial gains.
        axis_name: the device axis that the batch is spread over, if any; the statistics are those of all devices.
    """

    epsilon: float = 1e-8
    use_affine: bool = True
    gain_stddev: float = 0.02
    axis_name: str | None = None

    def initial_normals(self, features_in: int) -> dict[str, InitialNormal]:
        """Mean and standard deviation of the initial gains."""
        return {"gain": InitialNormal(1.0, self.gain_stddev)} if self.use_affine else {}

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise `x`."""
        values = x.astype(jnp.float32)
        mean: jax.Array
        variance: jax.Array
        if self.has_variable("params", "mean"):
            mean, variance = self.get_variable("params", "mean"), self.get_variable("params", "variance")
        else:
            mean, variance = batch_moments(values, axis_name=self.axis_name)
            if self.is_mutable_collection(STATISTICS):
                self.put_variable(STATISTICS, "mean", mean)
                self.put_variable(STATISTICS, "variance", variance)
        values = (values - mean) * lax.rsqrt(variance + self.epsilon)
        if self.use_affine:
            gain = self.param("gain", nn.initializers.ones, (x.shape[-1],), jnp.float32)
            shift = self.param("shift", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
            values = values * gain + shift
        return values.astype(x.dtype)


def baseline_batch_norm(*, name: str, axis_name: str | None) -> BatchNorm:
    """Batch norm as in the baselines of the paper: epsilon 1e-4, gains that start at 1."""
    return BatchNorm(1e-4, gain_stddev=0.0, axis_name=axis_name, name=name)


class LayerNorm(nn.Module):
    """Normalise each sample by mean and variance of all its features, then multiply by one gain.

    The features are pixels and channels of `[batch, h, w, c]`, or units of `[batch, c]`. The variance is the biased one. A
    shift is left to the bias of the layer. Everything is computed in float32.

    Attributes:
        epsilon: added to the variance.
    """

    epsilon: float = 1e-4

    def initial_normals(self, features_in: int) -> dict[str, InitialNormal]:
        """The gain starts at 1."""
        return {"gain": InitialNormal(1.0, 0.0)}

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise `x`."""
        values = x.astype(jnp.float32)
        axes = tuple(range(1, x.ndim))
        values = values - values.mean(axes, keepdims=True)
        values = values * lax.rsqrt(jnp.square(values).mean(axes, keepdims=True) + self.epsilon)
        return (values * self.param("gain", nn.initializers.ones, (1,), jnp.float32)).astype(x.dtype)


def batch_moments(values: jax.Array, *, axis_name: str | None = None) -> tuple[jax.Array, jax.Array]:
    """Return mean and biased variance over all axes but the last, and over all devices.

    Args:
        values: float32 `[batch, ..., c]`, the samples of this device.
        axis_name: the device axis, if the batch is spread over one; every device has equally many samples.

    Returns:
        Two arrays `[c]`.
    """
    axes = tuple(range(values.ndim - 1))
    mean = values.mean(axes)
    if axis_name is not None:
        mean = lax.pmean(mean, axis_name)
    variance = jnp.square(values - mean).mean(axes)
    if axis_name is not None:
        variance = lax.pmean(variance, axis_name)
    return mean, variance


def measure_statistics(module: nn.Module, params: Mapping[str, Any], *inputs: Any) -> Mapping[str, Any]:
    """Return mean and variance of each `BatchNorm` of a module in one batch, as a tree."""
    _, reported = module.apply({"params": params}, *inputs, mutable=[STATISTICS])
    return reported.get(STATISTICS, {})


def with_statistics(params: Mapping[str, Any], statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with which `BatchNorm` uses given statistics, not those of its batch."""
    return unflatten_dict(flatten_dict(params) | flatten_dict(statistics))


def without_statistics(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters without what `with_statistics` has added."""
    return unflatten_dict({path: leaf for path, leaf in flatten_dict(params).items() if path[-1] not in ("mean", "variance")})


def statistics_inputs(latent_size: int, *, class_counts: Sequence[int], pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the latents and labels that the statistics for sampling are measured on.

    Args:
        latent_size: length of a latent vector.
        class_counts: training images of each class; the labels have the same frequencies. Empty without labels.
        pixels: of an image. 256 latents are taken, fewer for images of more than 4,096 pixels, but at least 16.

    Returns:
        float32 latents `[samples, latent_size]` and one-hot labels `[samples, classes]`.
    """
    samples = max(_FEWEST_SAMPLES, min(_MOST_SAMPLES, _PIXELS // pixels))
    latents = np.random.RandomState(_SEED).standard_normal((samples, latent_size)).astype(np.float32)
    if not len(class_counts):
        return latents, np.zeros((samples, 0), np.float32)
    shares = np.cumsum(class_counts) / np.sum(class_counts)
    classes = np.searchsorted(shares, (np.arange(samples) + 0.5) / samples)
    return latents, np.eye(len(class_counts), dtype=np.float32)[classes]
