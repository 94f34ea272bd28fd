"""The discriminator at one resolution (spec 1.6, 2.2): the generator's mirror."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pggan_jax.config import DiscriminatorConfig
from pggan_jax.images import BASE_SHAPE, ImageShape, image_shape
from pggan_jax.networks.layers import (
    EqualizedConv,
    EqualizedDense,
    InputNoise,
    MinibatchDiscrimination,
    feature_maps,
    leaky_relu,
    minibatch_stddev,
    perturb,
)
from pggan_jax.networks.normalization import LayerNorm
from pggan_jax.networks.resample import blur, downscale


def discriminator_features(config: DiscriminatorConfig, resolution: int) -> int:
    """Channels of the block at `resolution`; 2 (stage 0) gives the width of the dense layer."""
    stage = int(math.log2(resolution)) - 1
    return feature_maps(stage, fmap_base=config.fmap_base, fmap_decay=config.fmap_decay, fmap_max=config.fmap_max)


def layer_options(config: DiscriminatorConfig) -> dict[str, Any]:
    """Options of every convolution and dense layer."""
    return {"use_wscale": config.use_wscale, "dtype": config.dtype}


def layer_norm(config: DiscriminatorConfig, name: str) -> LayerNorm | None:
    """Layer norm for the layer under construction, or None without it."""
    return LayerNorm(name=name) if config.normalization == "layer" else None


class FeatureBlock(nn.Module):
    """Base of the blocks above the last: their outputs are features of an image."""


class Head(nn.Module):
    """Base of the last block, which returns scores and label logits `[batch, 1 + label_size]`."""

    label_size: int


class DiscriminatorBlock(FeatureBlock):
    """Features `[batch, h, w, c]` to `[batch, h/2, w/2, c_out]`."""

    config: DiscriminatorConfig
    resolution: int

    @nn.compact
    def __call__(self, x: jax.Array, noise: InputNoise | None) -> jax.Array:
        config = self.config
        options = layer_options(config)
        norms = [layer_norm(config, name) for name in ("conv0_norm", "conv1_norm")]
        features = discriminator_features(config, self.resolution)
        x = perturb(x, noise, 2 * self.resolution)
        x = leaky_relu(EqualizedConv(features, normalize=norms[0], name="conv0", **options)(x))
        features = discriminator_features(config, self.resolution // 2)
        x = perturb(blur(x) if config.blur else x, noise, 2 * self.resolution + 1)
        if config.fused_scale:
            return leaky_relu(EqualizedConv(features, resampling="down", normalize=norms[1], name="conv1", **options)(x))
        return downscale(leaky_relu(EqualizedConv(features, normalize=norms[1], name="conv1", **options)(x)))


class DiscriminatorHead(Head):
    """Features `[batch, *base_shape, c]` to score and label logits `[batch, 1 + label_size]`."""

    config: DiscriminatorConfig
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, noise: InputNoise | None) -> jax.Array:
        config = self.config
        options = layer_options(config)
        if config.minibatch_stddev != "none":
            x = minibatch_stddev(x, config.stddev_groups, axis_name=self.axis_name)
        x = perturb(x, noise, 8)
        norms = [layer_norm(config, name) for name in ("conv_norm", "dense0_norm")]
        x = leaky_relu(EqualizedConv(discriminator_features(config, 4), normalize=norms[0], name="conv", **options)(x))
        # The paper's 4x4 convolution: noise belongs to its input channels, so it comes before the positions are flattened.
        x = perturb(x, noise, 9)
        x = x.reshape(x.shape[0], -1)
        x = leaky_relu(EqualizedDense(discriminator_features(config, 2), normalize=norms[1], name="dense0", **options)(x))
        if config.minibatch_discrimination:
            kernels = config.minibatch_discrimination
            x = MinibatchDiscrimination(kernels, axis_name=self.axis_name, name="discrimination", **options)(x)
        x = EqualizedDense(1 + self.label_size, gain=1.0, name="dense1", **options)(x)
        return x.astype(jnp.float32)


class ImageDiscriminator(nn.Module):
    """What the program asks of discriminators besides `__call__(images, alpha, noise, labels)`.

    Attributes:
        config: its options.
        resolution: nominal resolution of the images, 4*2^k.
        label_size: number of classes, 0 for none.
        start_resolution: where the run starts; above it there is a previous resolution to fade in from.
        axis_name: the device axis the batch is spread over, if any; for minibatch stddev over the whole batch, and batch norm.
        base_shape: height and width of the images at the nominal resolution 4.
    """

    config: DiscriminatorConfig
    resolution: int
    label_size: int = 0
    start_resolution: int = 4
    axis_name: str | None = None
    base_shape: tuple[int, int] = BASE_SHAPE

    @property
    def has_batch_norm(self) -> bool:
        """Whether scores and features depend on the batch through batch norm."""
        return self.config.normalization == "batch"

    def shape_at(self, resolution: int) -> ImageShape:
        """Height and width of the features of a block."""
        return image_shape(resolution, self.base_shape)


class Discriminator(ImageDiscriminator):
    """Images at a fixed resolution to scores and label logits; options of spec 1.8."""

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        alpha: jax.Array | float = 1.0,
        noise: InputNoise | None = None,
        labels: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Score images.

        Args:
            images: float `[batch, height, width, channels]`, nominally in [-1, 1].
            alpha: weight of the newest block in [0, 1]; 0 gives exactly the previous network on the downscaled images.
            noise: multiplicative input noise, for LSGAN only.
            labels: ignored; for networks that read the class of an image instead of guessing it.

        Returns:
            float32 scores `[batch]` and label logits `[batch, label_size]`.
        """
        del labels
        images = images.astype(self.config.dtype)
        resolution = self.resolution
        x = self._from_rgb(images, resolution)
        while resolution > 4:
            x = DiscriminatorBlock(self.config, resolution, name=f"block_{self.shape_at(resolution)}")(x, noise)
            if resolution == self.resolution > self.start_resolution:
                old = self._from_rgb(downscale(images), resolution // 2)
                x = (old * (1.0 - jnp.float32(alpha)) + x * jnp.float32(alpha)).astype(x.dtype)
            resolution //= 2
        head = DiscriminatorHead(self.label_size, self.config, self.axis_name, name=f"block_{self.shape_at(4)}")
        outputs = head(x, noise)
        return outputs[:, 0], outputs[:, 1:]

    def _from_rgb(self, images: jax.Array, resolution: int) -> jax.Array:
        """1x1 convolution with bias and leaky ReLU."""
        options = layer_options(self.config)
        features = discriminator_features(self.config, resolution)
        name = f"from_rgb_{self.shape_at(resolution)}"
        norm = layer_norm(self.config, f"{name}_norm")
        layer = EqualizedConv(features, kernel_size=1, normalize=norm, name=name, **options)
        return leaky_relu(layer(images))
