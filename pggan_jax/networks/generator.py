"""The generator at one resolution (spec 1.4, 2.2).

Rebuilt for each resolution; parameters are named by absolute resolution, so that growing is a copy of equal paths.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from pggan_jax.config import GeneratorConfig
from pggan_jax.images import BASE_SHAPE, ImageShape, image_shape
from pggan_jax.networks.layers import HE_GAIN, EqualizedConv, EqualizedDense, feature_maps, leaky_relu, pixel_norm
from pggan_jax.networks.normalization import baseline_batch_norm
from pggan_jax.networks.resample import upscale


def generator_features(config: GeneratorConfig, resolution: int) -> int:
    """Channels of the block at `resolution`; 2 (stage 0) gives the default latent size."""
    stage = int(math.log2(resolution)) - 1
    return feature_maps(stage, fmap_base=config.fmap_base, fmap_decay=config.fmap_decay, fmap_max=config.fmap_max)


def latent_size(config: GeneratorConfig) -> int:
    """Length of the latent vector."""
    return config.latent_size or generator_features(config, 2)


def layer_options(config: GeneratorConfig) -> dict[str, Any]:
    """Options of all convolutions and dense layers that `activate` follows."""
    return {"use_wscale": config.use_wscale, "dtype": config.dtype, "use_bias": config.normalization == "none"}


def activate(config: GeneratorConfig, x: jax.Array, *, norm: str, axis_name: str | None) -> jax.Array:
    """What follows each convolution: batch norm under the name `norm`, activation, pixel norm."""
    if config.normalization == "batch":
        x = baseline_batch_norm(name=norm, axis_name=axis_name)(x)
    x = leaky_relu(x) if config.use_leakyrelu else nn.relu(x)
    return pixel_norm(x, config.pixelnorm_epsilon) if config.use_pixelnorm else x


def generator_input(config: GeneratorConfig, latents: jax.Array, labels: jax.Array | None) -> jax.Array:
    """Return the rows that the first layer of a generator takes.

    Args:
        config: which distribution of latents it was made for, and whether rows are normalised.
        latents: `[batch, latent_size]`, drawn from N(0, 1).
        labels: one-hot `[batch, label_size]`, or None.
    """
    if config.latents == "uniform":
        latents = 2.0 * norm.cdf(latents) - 1.0
    x = latents if labels is None else jnp.concatenate([latents, labels], axis=-1)
    x = x.astype(config.dtype)
    return pixel_norm(x, config.pixelnorm_epsilon) if config.normalize_latents else x


class FirstBlock(nn.Module):
    """Base of the first block: rows `[batch, c]` to features `[batch, *base_shape, c]`."""


class GeneratorBase(FirstBlock):
    """Latent vector `[batch, latent + labels]` to features `[batch, *base_shape, c]`."""

    config: GeneratorConfig
    base_shape: tuple[int, int]
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config = self.config
        features = generator_features(config, 4)
        options = layer_options(config)
        # The paper's "4x4 convolution" on a 1x1 input, with a gain that makes its variance that of the later layers.
        gain = HE_GAIN / math.sqrt(math.prod(self.base_shape))
        form: dict[str, Any] = {"positions": self.base_shape, "bias_per_position": config.first_bias == "position"}
        x = EqualizedDense(features, **form, gain=gain, name="dense", **options)(x)
        x = activate(config, x, norm="dense_norm", axis_name=self.axis_name)
        x = EqualizedConv(features, name="conv", **options)(x)
        return activate(config, x, norm="conv_norm", axis_name=self.axis_name)


class GeneratorBlock(nn.Module):
    """Features `[batch, h/2, w/2, c_in]` to `[batch, h, w, c]`."""

    config: GeneratorConfig
    resolution: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config = self.config
        features = generator_features(config, self.resolution)
        options = layer_options(config)
        if config.fused_scale:
            x = EqualizedConv(features, resampling="up", blur=config.blur, name="conv0", **options)(x)
        else:
            x = EqualizedConv(features, blur=config.blur, name="conv0", **options)(upscale(x))
        x = activate(config, x, norm="conv0_norm", axis_name=self.axis_name)
        x = EqualizedConv(features, name="conv1", **options)(x)
        return activate(config, x, norm="conv1_norm", axis_name=self.axis_name)


class ImageGenerator(nn.Module):
    """What the program asks of a generator, besides `__call__(latents, labels, alpha)`.

    Attributes:
        config: its options.
        resolution: nominal resolution of the images, 4*2^k.
        channels: colour channels of the images.
        label_size: length of the one-hot labels, 0 for none.
        start_resolution: where the run starts; above it there is a previous resolution to fade in from.
        base_shape: height and width of the images at the nominal resolution 4.
        axis_name: the device axis that the batch is spread over, if any; only batch norm looks at it.
    """

    config: GeneratorConfig
    resolution: int
    channels: int = 3
    label_size: int = 0
    start_resolution: int = 4
    base_shape: tuple[int, int] = BASE_SHAPE
    axis_name: str | None = None

    @property
    def latent_size(self) -> int:
        """Length of a latent vector."""
        return latent_size(self.config)

    @property
    def has_batch_norm(self) -> bool:
        """Whether images depend on the batch until `with_statistics` has fixed the statistics."""
        return self.config.normalization == "batch"

    def shape_at(self, resolution: int) -> ImageShape:
        """Height and width of the features of a block."""
        return image_shape(resolution, self.base_shape)


class Generator(ImageGenerator):
    """Latents to images at a fixed resolution; options of spec 1.8."""

    @nn.compact
    def __call__(self, latents: jax.Array, labels: jax.Array | None = None, alpha: jax.Array | float = 1.0) -> jax.Array:
        """Generate images.

        Args:
            latents: `[batch, latent_size]`, drawn from N(0, 1).
            labels: one-hot `[batch, label_size]`, or None when `label_size` is 0.
            alpha: weight of the newest block in [0, 1]; 0 gives exactly the upscaled image of the previous resolution.

        Returns:
            float32 images `[batch, height, width, channels]`, nominally in [-1, 1], not clipped. With tanh as activation of the
            output it is the activated images that fade.
        """
        config = self.config
        x = generator_input(config, latents, labels)
        x = GeneratorBase(config, self.base_shape, self.axis_name, name=f"block_{self.shape_at(4)}")(x)
        previous = x
        resolution = 4
        while resolution < self.resolution:
            resolution *= 2
            block = GeneratorBlock(config, resolution, self.axis_name, name=f"block_{self.shape_at(resolution)}")
            previous, x = x, block(x)
        images = self._to_rgb(x, resolution)
        if resolution > self.start_resolution:
            old = upscale(self._to_rgb(previous, resolution // 2))
            images = old * (1.0 - alpha) + images * alpha
        return images

    def _to_rgb(self, x: jax.Array, resolution: int) -> jax.Array:
        """1x1 convolution and output activation, to float32 `[batch, height, width, channels]`."""
        options: dict[str, Any] = {"use_wscale": self.config.use_wscale, "dtype": self.config.dtype}
        layer = EqualizedConv(self.channels, kernel_size=1, gain=1.0, name=f"to_rgb_{self.shape_at(resolution)}", **options)
        images = layer(x).astype(jnp.float32)
        return jnp.tanh(images) if self.config.output_activation == "tanh" else images
