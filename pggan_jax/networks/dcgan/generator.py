"""DCGAN's generator: a dense layer, then transposed convolutions with stride 2."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from pggan_jax.config.networks import NetworksConfig
from pggan_jax.networks.dcgan.layers import PlainDense, StridedConv, append_labels
from pggan_jax.networks.generator import FirstBlock, ImageGenerator, generator_features, generator_input
from pggan_jax.networks.normalization import BatchNorm


class DenseBlock(FirstBlock):
    """Rows `[batch, c]` to features `[batch, *base_shape, features]`.

    Batch norm has a gain and a shift per unit, as in the authors' release; their Torch release, with 4x4 kernels, has one per
    channel.
    """

    networks: NetworksConfig
    features: int
    base_shape: tuple[int, int]
    dtype: str
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = PlainDense(math.prod(self.base_shape) * self.features, self.dtype, name="dense")(x)
        maps = (len(x), *self.base_shape, self.features)
        norm = BatchNorm(use_affine=self.networks.use_affine, axis_name=self.axis_name, name="norm")
        return nn.relu(norm(x.reshape(maps)) if self.networks.kernel_size == 4 else norm(x).reshape(maps))


class UpBlock(nn.Module):
    """Double h and w of maps `[batch, h, w, c]`; the last has neither batch norm nor ReLU."""

    networks: NetworksConfig
    features: int
    is_last: bool
    dtype: str
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        networks, use_bias = self.networks, self.is_last and self.networks.outer_biases
        x = StridedConv(self.features, self.dtype, use_bias, networks.kernel_size, upward=True, name="up")(x)
        if self.is_last:
            return x
        return nn.relu(BatchNorm(use_affine=networks.use_affine, axis_name=self.axis_name, name="norm")(x))


class DcganGenerator(ImageGenerator):
    """Latents to images at one resolution.

    The last layer has no batch norm. `networks.name=dcgan_mnist` has one more dense layer, of `fmap_max` units, appends the
    labels before every layer, and its batch norm has neither gain nor shift.

    Attributes:
        networks: which of the networks it is.
    """

    networks: NetworksConfig = NetworksConfig()

    @property
    def has_batch_norm(self) -> bool:
        """True: see `Sampler.with_statistics`."""
        return True

    @nn.compact
    def __call__(self, latents: jax.Array, labels: jax.Array | None = None, alpha: jax.Array | float = 1.0) -> jax.Array:
        """Generate images.

        Args:
            latents: `[batch, latent_size]`, drawn from N(0, 1).
            labels: one-hot `[batch, label_size]`, or None when `label_size` is 0.
            alpha: ignored, as the networks do not grow.

        Returns:
            float32 images `[batch, height, width, channels]` in (-1, 1).
        """
        del alpha
        config, networks = self.config, self.networks
        repeated = labels if networks.is_conditional else None
        x = generator_input(config, latents, labels)
        if networks.is_conditional:
            x = PlainDense(config.fmap_max, config.dtype, name="hidden")(x)
            x = nn.relu(BatchNorm(use_affine=False, axis_name=self.axis_name, name="hidden_norm")(x))
            x = append_labels(x, repeated)
        more, name = (config.dtype, self.axis_name), f"block_{self.shape_at(4)}"
        x = DenseBlock(networks, generator_features(config, 4), self.base_shape, *more, name=name)(x)
        resolution = 4
        while resolution < self.resolution:
            resolution *= 2
            is_last, name = resolution == self.resolution, f"block_{self.shape_at(resolution)}"
            features = self.channels if is_last else generator_features(config, resolution)
            x = UpBlock(networks, features, is_last, *more, name=name)(append_labels(x, repeated))
        images = x.astype(jnp.float32)
        # The conditional network has a sigmoid, on data in [0, 1]: 2 sigmoid(x) - 1 is tanh(x / 2).
        return jnp.tanh(images / 2 if networks.is_conditional else images)
