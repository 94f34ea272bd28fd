"""Differentiable augmentation of what the discriminator sees (DiffAugment).

For training on few images. Functions of images and uniform numbers, one row of them per sample; they act on reals and fakes
alike, after the fade.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

DRAWS = 7
"""Uniform numbers per image, the same whichever operations are chosen."""
_STREAM = 2**16  # apart from the passes of LSGAN's noise


def augment(images: jax.Array, operations: Sequence[str], keys: jax.Array, *, pass_number: int) -> jax.Array:
    """Augment each image by numbers of its own; without operations nothing is traced.

    Args:
        images: `[batch, h, w, c]`.
        operations: of "color", "translation" and "cutout"; they act in this order.
        keys: one random key per sample `[batch]`.
        pass_number: which pass of the update; each has independent numbers.
    """
    if not operations:
        return images
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, _STREAM + pass_number)
    uniforms = jax.vmap(lambda key: jax.random.uniform(key, (DRAWS,), jnp.float32))(keys)
    if "color" in operations:
        images = change_color(images, uniforms[:, :3])
    if "translation" in operations:
        images = translate(images, *_shifts(images, uniforms[:, 3:5]))
    if "cutout" in operations:
        images = cut_out(images, uniforms[:, 5:7])
    return images


def change_color(images: jax.Array, uniforms: jax.Array) -> jax.Array:
    """Add U(-0.5, 0.5) to all, multiply saturation by U(0, 2) and contrast by U(0.5, 1.5).

    Args:
        images: `[batch, h, w, c]`.
        uniforms: in [0, 1], `[batch, 3]`.
    """
    brightness, saturation, contrast = (uniforms[:, number, None, None, None] for number in range(3))
    images = images + (brightness - 0.5)
    grey = images.mean(axis=3, keepdims=True)
    images = (images - grey) * (2.0 * saturation) + grey
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return (images - mean) * (contrast + 0.5) + mean


def _shifts(images: jax.Array, uniforms: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whole numbers of rows and columns, up to an eighth of the side either way."""
    most = jnp.asarray([int(side / 8 + 0.5) for side in images.shape[1:3]])
    shifts = jnp.floor(uniforms * (2 * most + 1)).astype(jnp.int32) - most
    return shifts[:, 0], shifts[:, 1]


@jax.custom_vjp
def translate(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Move each image down by `rows` and right by `columns`, with zeros from outside.

    Its derivative is the opposite move, so that every derivative of it is a gather, not a scatter.
    """
    height, width = images.shape[1:3]
    from_row = jnp.arange(height) - rows[:, None]
    from_column = jnp.arange(width) - columns[:, None]
    is_inside = _within(from_row, height)[:, :, None] & _within(from_column, width)[:, None, :]
    moved = jnp.take_along_axis(images, jnp.clip(from_row, 0, height - 1)[:, :, None, None], axis=1)
    moved = jnp.take_along_axis(moved, jnp.clip(from_column, 0, width - 1)[:, None, :, None], axis=2)
    return jnp.where(is_inside[..., None], moved, 0.0)


def _within(positions: jax.Array, size: int) -> jax.Array:
    return (positions >= 0) & (positions < size)


translate.defvjp(
    lambda images, rows, columns: (translate(images, rows, columns), (rows, columns)),
    lambda saved, slope: (translate(slope, -saved[0], -saved[1]), None, None),
)


def cut_out(images: jax.Array, uniforms: jax.Array) -> jax.Array:
    """Set a window of half the height and half the width to 0, around a random centre.

    Args:
        images: `[batch, h, w, c]`.
        uniforms: in [0, 1], `[batch, 2]`.
    """
    is_cut = []
    for side, uniform in zip(images.shape[1:3], (uniforms[:, :1], uniforms[:, 1:]), strict=True):
        size = int(side / 2 + 0.5)
        # An even window has its centre between pixels, which may be either border.
        centre = jnp.floor(uniform * (side + 1 - size % 2)).astype(jnp.int32)
        is_cut.append(_within(jnp.arange(side) - (centre - size // 2), size))
    rows, columns = is_cut
    return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], 0.0, images)
