"""The Inception network of 2015-12-05, whose features define FID and KID. Inference only.

Layer names are those of the public PyTorch ports, so that their weights load by name. It differs from the ImageNet network of
torchvision: 1,008 classes, averages that exclude padding, a maximum in the last block (docs/metrics.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

SIDE = 299
FEATURES, CLASSES = 2048, 1008
_EPSILON = 1e-3
_HIGHEST = jax.lax.Precision.HIGHEST


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm with stored statistics, ReLU.

    Attributes:
        features: output channels.
        kernel: (height, width).
        stride: in both directions.
        is_padded: pad to the same size (for stride 1); otherwise no padding.
    """

    features: int
    kernel: tuple[int, int]
    stride: int = 1
    is_padded: bool = True

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Map `[batch, height, width, channels]` to `[batch, ..., features]`."""
        padding = [(size // 2, size // 2) for size in self.kernel] if self.is_padded else "VALID"
        strides = (self.stride, self.stride)
        images = nn.Conv(self.features, self.kernel, strides, padding, use_bias=False, precision=_HIGHEST, name="conv")(images)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=_EPSILON, name="bn")(images))


def _average(images: jax.Array) -> jax.Array:
    """Return the 3x3 mean over the pixels inside the image; padding is excluded."""
    return nn.avg_pool(images, (3, 3), padding="SAME", count_include_pad=False)


def _maximum(images: jax.Array) -> jax.Array:
    return nn.max_pool(images, (3, 3), padding="SAME")


def _shrink(images: jax.Array) -> jax.Array:
    return nn.max_pool(images, (3, 3), strides=(2, 2))


def _chain(images: jax.Array, prefix: str, units: Sequence[tuple[int, tuple[int, int]]], **last: Any) -> jax.Array:
    """Apply units named prefix_1, prefix_2 ...; `last` are options of the last one."""
    for number, (features, kernel) in enumerate(units, 1):
        options = last if number == len(units) else {}
        images = ConvUnit(features, kernel, name=f"{prefix}_{number}", **options)(images)
    return images


class BlockA(nn.Module):
    """Block at 35x35."""

    pool_features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, 35, 35, channels]` to 224 + pool_features channels."""
        branches = [
            ConvUnit(64, (1, 1), name="branch1x1")(x),
            _chain(x, "branch5x5", [(48, (1, 1)), (64, (5, 5))]),
            _chain(x, "branch3x3dbl", [(64, (1, 1)), (96, (3, 3)), (96, (3, 3))]),
            ConvUnit(self.pool_features, (1, 1), name="branch_pool")(_average(x)),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockB(nn.Module):
    """Block from 35x35 to 17x17."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, 35, 35, 288]` to `[batch, 17, 17, 768]`."""
        halved: dict[str, Any] = {"stride": 2, "is_padded": False}
        branches = [
            ConvUnit(384, (3, 3), name="branch3x3", **halved)(x),
            _chain(x, "branch3x3dbl", [(64, (1, 1)), (96, (3, 3)), (96, (3, 3))], **halved),
            _shrink(x),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockC(nn.Module):
    """Block at 17x17, with 1x7 and 7x1 convolutions."""

    inner_features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, 17, 17, 768]` to the same shape."""
        c, row, column = self.inner_features, (1, 7), (7, 1)
        branches = [
            ConvUnit(192, (1, 1), name="branch1x1")(x),
            _chain(x, "branch7x7", [(c, (1, 1)), (c, row), (192, column)]),
            _chain(x, "branch7x7dbl", [(c, (1, 1)), (c, column), (c, row), (c, column), (192, row)]),
            ConvUnit(192, (1, 1), name="branch_pool")(_average(x)),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockD(nn.Module):
    """Block from 17x17 to 8x8."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, 17, 17, 768]` to `[batch, 8, 8, 1280]`."""
        halved: dict[str, Any] = {"stride": 2, "is_padded": False}
        branches = [
            _chain(x, "branch3x3", [(192, (1, 1)), (320, (3, 3))], **halved),
            _chain(x, "branch7x7x3", [(192, (1, 1)), (192, (1, 7)), (192, (7, 1)), (192, (3, 3))], **halved),
            _shrink(x),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockE(nn.Module):
    """Block at 8x8, with an average pool (first of its kind) or a maximum pool (second)."""

    takes_maximum: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, 8, 8, channels]` to `[batch, 8, 8, 2048]`."""
        narrow = ConvUnit(384, (1, 1), name="branch3x3_1")(x)
        double = _chain(x, "branch3x3dbl", [(448, (1, 1)), (384, (3, 3))])
        branches = [
            ConvUnit(320, (1, 1), name="branch1x1")(x),
            ConvUnit(384, (1, 3), name="branch3x3_2a")(narrow),
            ConvUnit(384, (3, 1), name="branch3x3_2b")(narrow),
            ConvUnit(384, (1, 3), name="branch3x3dbl_3a")(double),
            ConvUnit(384, (3, 1), name="branch3x3dbl_3b")(double),
            ConvUnit(192, (1, 1), name="branch_pool")((_maximum if self.takes_maximum else _average)(x)),
        ]
        return jnp.concatenate(branches, axis=-1)


class Inception(nn.Module):
    """The whole network: images to features and class scores."""

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Compute features and class scores.

        Args:
            images: float32 `[batch, 299, 299, 3]`, about -1..1, as `resize_for_inception` gives them.

        Returns:
            Features `[batch, 2048]`, scores without and with bias `[batch, 1008]`; the Inception score takes those without.
        """
        x = ConvUnit(32, (3, 3), 2, is_padded=False, name="Conv2d_1a_3x3")(images)
        x = ConvUnit(32, (3, 3), is_padded=False, name="Conv2d_2a_3x3")(x)
        x = _shrink(ConvUnit(64, (3, 3), name="Conv2d_2b_3x3")(x))
        x = ConvUnit(80, (1, 1), name="Conv2d_3b_1x1")(x)
        x = _shrink(ConvUnit(192, (3, 3), is_padded=False, name="Conv2d_4a_3x3")(x))
        for letter, pool_features in (("b", 32), ("c", 64), ("d", 64)):
            x = BlockA(pool_features, name=f"Mixed_5{letter}")(x)
        x = BlockB(name="Mixed_6a")(x)
        for letter, inner_features in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
            x = BlockC(inner_features, name=f"Mixed_6{letter}")(x)
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(takes_maximum=False, name="Mixed_7b")(x)
        x = BlockE(takes_maximum=True, name="Mixed_7c")(x)
        features = x.mean(axis=(1, 2))
        kernel = self.param("fc_kernel", nn.initializers.lecun_normal(), (FEATURES, CLASSES))
        bias = self.param("fc_bias", nn.initializers.zeros, (CLASSES,))
        unbiased = jnp.matmul(features, kernel, precision=_HIGHEST)
        return features, unbiased, unbiased + bias
