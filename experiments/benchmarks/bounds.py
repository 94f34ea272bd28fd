"""Measure what a device can do, and compute the least time of one iteration from it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from pggan_jax.config import LossConfig
from pggan_jax.distributed import devices
from pggan_jax.networks.cost import least_step_flops


def bound_seconds(shapes: Mapping[str, Mapping[str, Sequence[int]]], *, batch_size: int, rates: Mapping[str, float]) -> float:
    """Compute the least time of one iteration with the default loss on a device.

    This is the time of its arithmetic at the matrix rate, or the time to move its parameters through memory if that is longer.
    The parameters are read once; Adam and the EMA then read and write them. That makes 7 floats per weight of the generator and
    5 per weight of the discriminator.

    Args:
        shapes: of the parameters, by network ("generator", "discriminator") and path.
        batch_size: images per iteration.
        rates: what `device_rates` returns.

    Returns:
        Seconds.
    """
    floats = {"generator": 7, "discriminator": 5}
    traffic = sum(4 * floats[network] * math.prod(shape) for network, tree in shapes.items() for shape in tree.values())
    flops = batch_size * least_step_flops(shapes, LossConfig())
    return max(flops / rates["flops_per_second"], traffic / rates["bytes_per_second"])


def device_rates(dtype: str) -> dict[str, float]:
    """Measure the rates of all devices together.

    Returns:
        flops_per_second: of a large matrix product in `dtype`.
        bytes_per_second: of copying memory; bytes read and bytes written both count.
    """
    is_cpu = devices.backend() == "cpu"
    size, words, repeats = (2048, 2**25, 3) if is_cpu else (8192, 2**28, 20)
    # Random numbers, because some GPUs multiply matrices of equal numbers faster.
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(lambda x: x @ x)
    memory = jnp.ones(words, jnp.float32)
    copy = jax.jit(lambda x: x + 1.0)
    device_count = devices.device_count() if not is_cpu else 1
    return {
        "flops_per_second": device_count * 2 * size**3 / _best_seconds(product, matrix, repeats),
        "bytes_per_second": device_count * 8 * words / _best_seconds(copy, memory, repeats),
    }


def _best_seconds(function: Callable[[jax.Array], jax.Array], argument: jax.Array, repeats: int) -> float:
    """Return the seconds of one call, from the best of six bursts of `repeats` calls."""
    best = math.inf
    for _ in range(6):
        start = time.perf_counter()
        for _ in range(repeats):
            result = function(argument)
        jax.block_until_ready(result)
        best = min(best, (time.perf_counter() - start) / repeats)
    return best
