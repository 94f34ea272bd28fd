"""The discriminator of the test on 1,000 modes: one convolution per resolution."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from pggan_jax.config import DiscriminatorConfig
from pggan_jax.networks.discriminator import FeatureBlock, Head, ImageDiscriminator, discriminator_features, layer_options
from pggan_jax.networks.layers import EqualizedConv, EqualizedDense, InputNoise, leaky_relu, minibatch_stddev
from pggan_jax.networks.normalization import baseline_batch_norm
from pggan_jax.networks.resample import downscale


class TinyDownBlock(FeatureBlock):
    """`[batch, h, w, c_in]` to `[batch, h/2, w/2, features]`.

    A 3x3 convolution, batch norm by option, leaky ReLU, means of 2x2 pixels.
    """

    config: DiscriminatorConfig
    features: int
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        has_norm = self.config.normalization == "batch"
        x = EqualizedConv(self.features, use_bias=not has_norm, name="conv", **layer_options(self.config))(x)
        if has_norm:
            x = baseline_batch_norm(name="norm", axis_name=self.axis_name)(x)
        return downscale(leaky_relu(x))


class TinyHead(Head):
    """Features `[batch, *base_shape, c]` to score and label logits `[batch, 1 + label_size]`."""

    config: DiscriminatorConfig
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.config.minibatch_stddev != "none":
            x = minibatch_stddev(x, self.config.stddev_groups, axis_name=self.axis_name)
        x = x.reshape(len(x), -1)
        return EqualizedDense(1 + self.label_size, gain=1.0, name="dense", **layer_options(self.config))(x).astype(jnp.float32)


class TinyDiscriminator(ImageDiscriminator):
    """Images at a fixed resolution to scores and label logits.

    At the full resolution the first convolution reads the image itself. Below, and on the low-resolution path of a fade, a 1x1
    convolution does, which has as many feature maps as the block above it.

    Attributes:
        full_resolution: of the data.
    """

    full_resolution: int = 32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        alpha: jax.Array | float = 1.0,
        noise: InputNoise | None = None,
        labels: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Score images.

        With batch norm, by the statistics of this batch: reals and fakes are two batches.

        Args:
            images: float `[batch, height, width, channels]`, nominally in [-1, 1].
            alpha: weight of the newest block in [0, 1]; 0 gives exactly the previous network on the downscaled images.
            noise: must be None.
            labels: ignored.

        Returns:
            float32 scores `[batch]` and label logits `[batch, label_size]`.

        Raises:
            ValueError: there is noise.
        """
        del labels
        if noise is not None:
            raise ValueError("the tiny networks have no input noise")
        config, resolution = self.config, self.resolution
        images = images.astype(config.dtype)
        x = images if resolution == self.full_resolution else self._from_rgb(images, resolution)
        while resolution > 4:
            name = f"block_{self.shape_at(resolution)}"
            x = TinyDownBlock(config, discriminator_features(config, resolution), self.axis_name, name=name)(x)
            if resolution == self.resolution > self.start_resolution:
                old = self._from_rgb(downscale(images), resolution // 2)
                x = (old * (1.0 - jnp.float32(alpha)) + x * jnp.float32(alpha)).astype(x.dtype)
            resolution //= 2
        outputs = TinyHead(self.label_size, config, self.axis_name, name=f"block_{self.shape_at(4)}")(x)
        return outputs[:, 0], outputs[:, 1:]

    def _from_rgb(self, images: jax.Array, resolution: int) -> jax.Array:
        """1x1 convolution with bias and leaky ReLU."""
        features, name = discriminator_features(self.config, 2 * resolution), f"from_rgb_{self.shape_at(resolution)}"
        return leaky_relu(EqualizedConv(features, kernel_size=1, name=name, **layer_options(self.config))(images))
