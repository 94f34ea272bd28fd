"""Rough estimates of arithmetic and memory per image and resolution.

`plan` reports what the compiler says instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pggan_jax.config import Config, LossConfig
from pggan_jax.config.training import PAIRED_LOSSES
from pggan_jax.networks.discriminator import discriminator_features
from pggan_jax.networks.generator import generator_features

FIXED_COST = 2e5
"""Multiply-adds that the work per image besides convolutions is worth; it keeps the first level from looking free."""

BYTES_PER_ACTIVATION = 40.0
"""Memory of a step per feature of all blocks of both networks; the derivatives need several copies."""


def relative_cost(config: Config, resolution: int) -> float:
    """Estimate multiply-adds per image: the convolutions of both networks, plus a fixed cost."""
    total, size = FIXED_COST, 4
    while size <= resolution:
        g_in = generator_features(config.generator, max(2, size // 2))
        g_out = generator_features(config.generator, size)
        d_in = discriminator_features(config.discriminator, size)
        d_out = discriminator_features(config.discriminator, max(2, size // 2))
        total += 9 * config.data.shape_at(size).pixels * (g_in * g_out + g_out**2 + d_in**2 + d_in * d_out)
        size *= 2
    return total


def step_bytes_per_image(config: Config, resolution: int) -> float:
    """Estimate the activations in bytes per image of a microbatch, within a factor of three."""
    numbers, size = 0, 4
    while size <= resolution:
        features = generator_features(config.generator, size) + discriminator_features(config.discriminator, size)
        numbers += config.data.shape_at(size).pixels * features
        size *= 2
    return BYTES_PER_ACTIVATION * numbers


def discriminator_passes(loss: LossConfig) -> int:
    """Least arithmetic of one iteration in the discriminator, in its forward passes.

    Two for reals and fakes, four for their gradient, and two for the generator's gradient. WGAN-GP's penalty takes four:
    forward and back for the image gradient, and as much for its derivative. R1 and R2 take three each, as their forward pass
    is that of the scores. A loss that compares pairs scores the reals once more in the generator's step.
    """
    match loss.name:
        case "wgan_gp":
            penalty = 4
        case "lsgan":
            penalty = 0
        case _:
            penalty = 3 * (loss.penalizes_reals + loss.penalizes_fakes) if loss.r1_gamma else 0
    return 8 + penalty + (loss.name in PAIRED_LOSSES)


def least_step_flops(shapes: Mapping[str, Mapping[str, Sequence[int]]], loss: LossConfig) -> float:
    """Least floating-point operations of one iteration per image, with one discriminator step.

    Of a generator's forward pass, an iteration takes one for the discriminator's fakes, one for its own, and two for its
    gradient; see `discriminator_passes` for the discriminator's.

    Args:
        shapes: of the parameters, by network (`generator`, `discriminator`) and path, which names height and width.
        loss: which loss.
    """
    passes = {"generator": 4, "discriminator": discriminator_passes(loss)}
    return sum(
        2.0 * passes[network] * _multiplications(network, path, shape)
        for network, tree in shapes.items()
        for path, shape in tree.items()
    )


def _multiplications(network: str, path: str, shape: Sequence[int]) -> float:
    """Multiply-adds of one layer per image; a fused or strided one works at half the side."""
    if len(shape) != 4:
        return float(math.prod(shape)) if len(shape) == 2 else 0.0
    *folder, layer, _ = path.split("/")
    height, width = map(int, (folder or [layer])[0].rpartition("_")[2].split("x"))
    is_fused = layer == ("conv0" if network == "generator" else "conv1")
    taps = 4.0 if is_fused else math.prod(shape[:2]) / (4 if layer in ("up", "down") else 1)
    return taps * math.prod(shape[2:]) * height * width
