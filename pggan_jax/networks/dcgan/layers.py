"""Layers of DCGAN: weights from N(0, 0.02^2), labels as further channels."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from pggan_jax.networks.layers import InitialNormal
from pggan_jax.networks.resample import enlarge, shrink, strided_convolve, strided_convolve_transposed

WEIGHT_STDDEV = 0.02


class Weights(nn.Module):
    """Base of `PlainDense` and `StridedConv`.

    Attributes:
        features: output channels.
        dtype: of the activations.
        use_bias: add one bias per output channel, which starts at 0.
    """

    features: int
    dtype: str = "float32"
    use_bias: bool = False

    def initial_normals(self, features_in: int) -> dict[str, InitialNormal]:
        """What the weights are drawn from."""
        return {"kernel": InitialNormal(0.0, WEIGHT_STDDEV)}

    def _kernel(self, *shape: int) -> jax.Array:
        return self.param("kernel", nn.initializers.normal(WEIGHT_STDDEV), shape, jnp.float32).astype(self.dtype)

    def _add_bias(self, x: jax.Array) -> jax.Array:
        if not self.use_bias:
            return x
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return (x.astype(jnp.float32) + bias).astype(x.dtype)


class PlainDense(Weights):
    """`[batch, c_in]` to `[batch, features]`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Multiply `x` by the kernel, and add the bias."""
        return self._add_bias(x @ self._kernel(x.shape[-1], self.features))


class StridedConv(Weights):
    """A convolution with stride 2 that halves h and w, or its adjoint, which doubles them.

    The kernel is stored as `[k, k, c_in, features]`. With 5x5 kernels the padding is 2, with 4x4 kernels 1.

    Attributes:
        kernel_size: 5 or 4.
        upward: double h and w.
    """

    kernel_size: int = 5
    upward: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve `[batch, h, w, c_in]`, and add the bias."""
        kernel = self._kernel(self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        if self.upward:
            # What an adjoint takes is the kernel of the convolution from high to low.
            kernel = kernel.swapaxes(2, 3)
            return self._add_bias(enlarge(x, kernel) if self.kernel_size == 4 else strided_convolve_transposed(x, kernel))
        return self._add_bias(shrink(x, kernel) if self.kernel_size == 4 else strided_convolve(x, kernel))


def append_labels(x: jax.Array, labels: jax.Array | None) -> jax.Array:
    """Append labels `[batch, classes]` to rows, or to maps as constant maps; None is no labels."""
    if labels is None:
        return x
    maps = labels.reshape(len(labels), *[1] * (x.ndim - 2), -1)
    return jnp.concatenate([x, jnp.broadcast_to(maps, (*x.shape[:-1], labels.shape[-1])).astype(x.dtype)], axis=-1)
