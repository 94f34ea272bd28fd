"""FreezeD: blocks of the discriminator that keep the weights of another run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jax import lax


def frozen_modules(discriminator: Mapping[str, Any], levels: int) -> list[str]:
    """Names of the modules that stay fixed, from the image inwards.

    Args:
        discriminator: parameters of the discriminator, or anything else with the names of its modules as keys.
        levels: number of blocks nearest the image. Their 1x1 convolution from the image is fixed with them, and its layer norm.
            The block that ends in the score never is.

    Returns:
        Such as ["from_rgb_32x32", "block_32x32", "block_16x16"]; empty if `levels` is 0.
    """
    if not levels:
        return []
    blocks = sorted((name for name in discriminator if name.startswith("block_")), key=_pixels, reverse=True)
    inputs = sorted(name for name in discriminator if name.startswith("from_rgb_"))
    largest = max(map(_pixels, inputs), default=0)
    return [*(name for name in inputs if _pixels(name) == largest), *blocks[:-1][:levels]]


def _pixels(name: str) -> int:
    height, width = re.findall(r"\d+", name)
    return int(height) * int(width)


def stop_gradients(discriminator: Mapping[str, Any], levels: int) -> Mapping[str, Any]:
    """The same parameters, of which the frozen ones have no gradient; XLA then computes none."""
    frozen = {name: lax.stop_gradient(discriminator[name]) for name in frozen_modules(discriminator, levels)}
    return {**discriminator, **frozen} if frozen else discriminator


def keep_frozen(new: Mapping[str, Any], old: Mapping[str, Any], levels: int) -> Mapping[str, Any]:
    """Take the frozen modules of a tree over from before the update.

    A gradient of zero would leave the parameters as they are, but not Adam's moments, which decay.

    Args:
        new, old: trees with the discriminator's modules at the top, or empty ones.
        levels: as `frozen_modules` takes it.
    """
    frozen = {name: old[name] for name in frozen_modules(new, levels)}
    return {**new, **frozen} if frozen else new
