"""Features of images: the outputs of a discriminator's blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pggan_jax.networks.discriminator import FeatureBlock, Head, ImageDiscriminator
from pggan_jax.networks.layers import EqualizedConv


def block_features(
    discriminator: ImageDiscriminator, params: Mapping[str, Any], images: jax.Array, *, alpha: jax.Array | float
) -> list[jax.Array]:
    """Return the outputs of the blocks above 4x4, from the finest to the coarsest.

    The last block is left out: minibatch stddev makes it depend on the other images of the batch. So the features of an image
    are its own, and the batch may have any size; with batch norm, if the parameters are from `with_statistics`. A discriminator
    for 4x4 images has no other block; its features are those of the 1x1 convolution that reads the image.

    Args:
        discriminator: the module.
        params: its parameters.
        images: float `[batch, height, width, channels]`.
        alpha: weight of the newest block.

    Returns:
        float32 `[batch, h, w, c]` each, differentiable in the images.
    """
    blocks: list[jax.Array] = []
    inputs: list[jax.Array] = []

    def keep(next_function, args, kwargs, context):
        module = context.module
        if context.method_name == "__call__" and isinstance(module, Head):
            return jnp.zeros((len(images), 1 + module.label_size), jnp.float32)
        outputs = next_function(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(module, FeatureBlock):
            blocks.append(outputs)
        elif context.method_name == "__call__" and isinstance(module, EqualizedConv) and not inputs:
            inputs.append(outputs)
        return outputs

    with nn.intercept_methods(keep):
        discriminator.apply({"params": params}, images, alpha)
    return [one.astype(jnp.float32) for one in blocks or inputs]
