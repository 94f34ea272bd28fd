"""What a device can do, measured, and the least time that an iteration takes on it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pggan_jax.distributed import devices
from pggan_jax.networks.cost import least_step_flops


def bound_seconds(shapes: Mapping[str, Mapping[str, Sequence[int]]], batch_size: int, rates: Mapping[str, float]) -> float:
    """The least time of one iteration: its arithmetic at the matrix rate, or its parameters' way through memory if longer.

    Parameters are read once, then Adam and the moving average read and write: 7 floats per weight of the generator, 5 of the
    critic.
    """
    floats = {"generator": 7, "discriminator": 5}
    traffic = sum(4 * floats[network] * math.prod(shape) for network, tree in shapes.items() for shape in tree.values())
    flops = batch_size * least_step_flops(shapes)
    return max(flops / rates["flops_per_second"], traffic / rates["bytes_per_second"])


def device_rates(dtype: str) -> dict[str, float]:
    """What all devices together reach: arithmetic of a large matrix product, and copying of memory (read and written)."""
    is_cpu = devices.backend() == "cpu"
    size, words, repeats = (2048, 2**25, 3) if is_cpu else (8192, 2**28, 20)
    # Random numbers: matrices of equal ones multiply faster on some GPUs than real ones do.
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(lambda x: x @ x)
    memory = jnp.ones(words, jnp.float32)
    copy = jax.jit(lambda x: x + 1.0)
    device_count = devices.device_count() if not is_cpu else 1
    return {
        "flops_per_second": device_count * 2 * size**3 / _best_seconds(product, matrix, repeats),
        "bytes_per_second": device_count * 8 * words / _best_seconds(copy, memory, repeats),
    }


def _best_seconds(function: Any, argument: jax.Array, repeats: int) -> float:
    """Seconds of one call: the best of several bursts."""
    best = math.inf
    for _ in range(6):
        start = time.perf_counter()
        for _ in range(repeats):
            result = function(argument)
        jax.block_until_ready(result)
        best = min(best, (time.perf_counter() - start) / repeats)
    return best
