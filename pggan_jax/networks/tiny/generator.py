"""The generator of the test on 1,000 modes: one convolution per resolution."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from pggan_jax.config import GeneratorConfig
from pggan_jax.networks.generator import (
    FirstBlock,
    ImageGenerator,
    generator_features,
    generator_input,
    layer_options,
)
from pggan_jax.networks.layers import HE_GAIN, EqualizedConv, EqualizedDense, leaky_relu, pixel_norm
from pggan_jax.networks.normalization import baseline_batch_norm
from pggan_jax.networks.resample import upscale

LEAK = 0.3


def activate(config: GeneratorConfig, x: jax.Array, *, axis_name: str | None) -> jax.Array:
    """What follows each convolution but the last: batch norm, leaky ReLU, pixel norm."""
    if config.normalization == "batch":
        x = baseline_batch_norm(name="norm", axis_name=axis_name)(x)
    x = leaky_relu(x, LEAK)
    return pixel_norm(x, config.pixelnorm_epsilon) if config.use_pixelnorm else x


class TinyFirstBlock(FirstBlock):
    """Rows `[batch, c]` to features `[batch, *base_shape, c]`, by a dense layer."""

    config: GeneratorConfig
    base_shape: tuple[int, int]
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features, gain = generator_features(self.config, 4), HE_GAIN / math.sqrt(math.prod(self.base_shape))
        x = EqualizedDense(features, positions=self.base_shape, gain=gain, name="dense", **layer_options(self.config))(x)
        return activate(self.config, x, axis_name=self.axis_name)


class TinyBlock(nn.Module):
    """Features `[batch, h/2, w/2, c_in]` to `[batch, h, w, features]`, by one 3x3 convolution."""

    config: GeneratorConfig
    features: int
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = EqualizedConv(self.features, name="conv", **layer_options(self.config))(upscale(x))
        return activate(self.config, x, axis_name=self.axis_name)


class TinyGenerator(ImageGenerator):
    """Latents to images at a fixed resolution."""

    @nn.compact
    def __call__(self, latents: jax.Array, labels: jax.Array | None = None, alpha: jax.Array | float = 1.0) -> jax.Array:
        """Generate images.

        Args:
            latents: `[batch, latent_size]`, drawn from N(0, 1).
            labels: one-hot `[batch, label_size]`, or None when `label_size` is 0.
            alpha: weight of the newest block in [0, 1]; 0 gives exactly the upscaled image of the previous resolution. It is
                the input of tanh that fades.

        Returns:
            float32 images `[batch, height, width, channels]`, nominally in [-1, 1].
        """
        config = self.config
        x = generator_input(config, latents, labels)
        x = TinyFirstBlock(config, self.base_shape, self.axis_name, name=f"block_{self.shape_at(4)}")(x)
        previous, resolution = x, 4
        while resolution < self.resolution:
            resolution *= 2
            name = f"block_{self.shape_at(resolution)}"
            previous, x = x, TinyBlock(config, generator_features(config, resolution), self.axis_name, name=name)(x)
        images = self._to_rgb(x, resolution)
        if resolution > self.start_resolution:
            images = upscale(self._to_rgb(previous, resolution // 2)) * (1.0 - alpha) + images * alpha
        return jnp.tanh(images) if config.output_activation == "tanh" else images

    def _to_rgb(self, x: jax.Array, resolution: int) -> jax.Array:
        """3x3 convolution to float32 `[batch, height, width, channels]`."""
        config, name = self.config, f"to_rgb_{self.shape_at(resolution)}"
        layer = EqualizedConv(self.channels, gain=1.0, use_wscale=config.use_wscale, dtype=config.dtype, name=name)
        return layer(x).astype(jnp.float32)
