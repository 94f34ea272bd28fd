"""What a device can do, measured, and the least time that an iteration takes on it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pggan_jax.training import parallel


def bound_seconds(shapes: Mapping[str, Mapping[str, Sequence[int]]], batch_size: int, rates: Mapping[str, float]) -> float:
    """The least time of one iteration: its arithmetic at the matrix rate, or its parameters' way through memory if longer.

    Of a generator's forward pass, an iteration takes one for the critic's fakes, one for its own, and two for its gradient; of
    the critic's, two for reals and fakes, four for their gradient, four for the penalty, and two for the generator's gradient.
    Parameters are read once, then Adam and the moving average read and write: 7 floats per weight of the generator, 5 of the
    critic.
    """
    passes, floats = {"generator": 4, "discriminator": 12}, {"generator": 7, "discriminator": 5}
    flops, traffic = 0.0, 0.0
    for network, tree in shapes.items():
        for path, shape in tree.items():
            flops += 2 * passes[network] * batch_size * _multiplications(network, path, shape)
            traffic += 4 * floats[network] * math.prod(shape)
    return max(flops / rates["flops_per_second"], traffic / rates["bytes_per_second"])


def _multiplications(network: str, path: str, shape: Sequence[int]) -> float:
    """Of one layer for one image; fused layers as convolutions with a 4x4 kernel at the lower resolution."""
    if len(shape) != 4:
        return float(math.prod(shape)) if len(shape) == 2 else 0.0
    *folder, layer, _ = path.split("/")
    side = int((folder or [layer])[0].rpartition("x")[2])
    is_fused = layer == ("conv0" if network == "generator" else "conv1") and side > 4
    taps = 4.0 if is_fused else math.prod(shape[:2])
    return taps * math.prod(shape[2:]) * side**2


def device_rates(dtype: str) -> dict[str, float]:
    """What all devices together reach: arithmetic of a large matrix product, and copying of memory (read and written)."""
    is_cpu = parallel.backend() == "cpu"
    size, words, repeats = (2048, 2**25, 3) if is_cpu else (8192, 2**28, 20)
    matrix = jnp.ones((size, size), dtype)
    product = jax.jit(lambda x: x @ x)
    memory = jnp.ones(words, jnp.float32)
    copy = jax.jit(lambda x: x + 1.0)
    devices = parallel.device_count() if not is_cpu else 1
    return {
        "flops_per_second": devices * 2 * size**3 / _best_seconds(product, matrix, repeats),
        "bytes_per_second": devices * 8 * words / _best_seconds(copy, memory, repeats),
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
