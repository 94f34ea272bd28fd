"""Devices: `jax.pmap`, placement of arrays, means over devices.

The state has no device axis: it is the same on every device, and checkpoints are the same for any number of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from pggan_jax.config.networks import StddevGroups
from pggan_jax.distributed.batch_sharding import shard_batch
from pggan_jax.system.resource_limits import available_memory

AXIS = "devices"
_REPLICATED, _SHARDED = PartitionSpec(), PartitionSpec(AXIS)
# Up to this size calling `device_put` takes longer than copying.
_SMALL_BYTES = 2**18
Result = TypeVar("Result")


def device_count() -> int:
    """Devices over all hosts."""
    return jax.device_count()


def describe_devices() -> str:
    """Such as '1 x cpu' or '8 x NVIDIA H200 on 2 hosts'."""
    hosts = f" on {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}{hosts}"


def backend() -> str:
    """One of "cpu", "gpu" and "tpu"."""
    return jax.default_backend()


def device_memory_bytes() -> int:
    """Peak memory in use on the first device, or 0 where the backend does not report it (a CPU)."""
    return _memory_statistic("peak_bytes_in_use")


def memory_limit_bytes() -> int:
    """Memory in bytes that each device may use, the same on every process.

    On a CPU it is the device's share of `available_memory`.
    """
    on_cpu = backend() == "cpu"
    own = available_memory() // jax.local_device_count() if on_cpu else _memory_statistic("bytes_limit")
    if jax.process_count() == 1:
        return own
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.int32(own // 2**20)).min()) * 2**20


def resident_bytes(device_data_mb: float) -> float:
    """Largest level of the data in bytes that stays on each device, by `run.device_data_mb`."""
    if device_data_mb >= 0:
        return device_data_mb * 1e6
    return 0.0 if backend() == "cpu" else _memory_statistic("bytes_limit") / 4


def _memory_statistic(name: str) -> int:
    return int((jax.local_devices()[0].memory_stats() or {}).get(name, 0))


def map_over_devices(function: Callable[..., Any], *, devices: Sequence[jax.Device] | None = None, donate: bool = True) -> Any:
    """Compile `function(state, batch, *shared)` to run on every device.

    Args:
        function: per-device function. The batch is split along its first axis, everything else is the same on every device.
        devices: some of the local devices instead of all.
        donate: reuse the memory of the state for the results; the caller must not use it again.
    """
    in_axes = (None, 0, *[None] * (len(inspect.signature(function).parameters) - 2))
    donated = (0,) if donate else ()
    return jax.pmap(function, axis_name=AXIS, in_axes=in_axes, out_axes=None, donate_argnums=donated, devices=devices)


def mean_over_devices(tree: Any) -> Any:
    """Mean of each leaf over all devices, as one all-reduce, inside a mapped function."""
    if lax.axis_size(AXIS) == 1:
        return tree
    flat, unravel = ravel_pytree(tree)
    return unravel(lax.pmean(flat, AXIS))


def replicate(tree: Any) -> Any:
    """Place arrays on every local device.

    The mapped step returns its state in this form, so it never recompiles.
    """
    return jax.device_put(tree, _local_sharding(_REPLICATED))


def split(tree: Any) -> Any:
    """Place arrays `[local devices, ...]` with one row on each local device."""
    sharded = _local_sharding(_SHARDED)
    if jax.local_device_count() == 1 and sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) <= _SMALL_BYTES:
        return _copying_program(sharded)(tree)
    return jax.device_put(tree, sharded)


def as_placed(shapes: Any, placing: Callable[[Any], Any]) -> Any:
    """Add the sharding of `replicate`, `split` or `first_device` to shapes, to compile ahead."""
    one = SingleDeviceSharding(jax.local_devices()[0])
    places: dict[Callable[[Any], Any], Sharding] = {
        replicate: _local_sharding(_REPLICATED),
        split: _local_sharding(_SHARDED),
        first_device: one,
    }
    place = places[placing]
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes)


@lru_cache
def _copying_program(sharding: NamedSharding) -> Callable[[Any], Any]:
    """Place small arrays on one device faster than `device_put`, at the price of another copy."""
    return jax.jit(lambda tree: tree, out_shardings=sharding)


class ResidentLevel:
    """A level of the data on every local device, with a program that gathers rows of it.

    That program is no part of the train step, which therefore is the same, to the bit, with data from anywhere. It runs on this
    process's devices alone, so that processes need not agree on when.

    Args:
        level: uint8 `[images, height, width, channels]`.
    """

    def __init__(self, level: np.ndarray):
        def gather_rows(level: jax.Array, rows: jax.Array) -> jax.Array:
            # clip: rows are never outside, and nothing need be put in their place.
            return jnp.take(level, rows, axis=0, mode="clip")

        self._level = replicate(np.asarray(level))
        mesh = _local_sharding(_SHARDED).mesh
        self._gather = jax.jit(jax.shard_map(gather_rows, mesh=mesh, in_specs=(_REPLICATED, _SHARDED), out_specs=_SHARDED))

    def __call__(self, rows: jax.Array) -> jax.Array:
        """Gather the images of int32 `rows` that `split` has placed; each stays on its device."""
        return self._gather(self._level, rows)


def _local_sharding(spec: PartitionSpec) -> NamedSharding:
    return _sharding(tuple(jax.local_devices()), spec)


@lru_cache
def _sharding(devices: tuple[jax.Device, ...], spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), spec)


def first_device(tree: Any) -> Any:
    """The copy of a replicated tree that lies on this host's first device."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def to_host(tree: Any) -> Any:
    """The tree as NumPy arrays."""
    return jax.device_get(tree)


def global_arrays(tree: Any) -> Any:
    """The tree as Orbax can save it: over several hosts, as replicated global arrays."""
    if jax.process_count() == 1:
        return tree
    from orbax.checkpoint.utils import fully_replicated_host_local_array_to_global_array

    return jax.tree.map(fully_replicated_host_local_array_to_global_array, tree)


def local_sample_index(batch_size: int, groups: StddevGroups) -> np.ndarray:
    """This host's rows of `shard_batch` over all devices: `[local devices, samples per device]`."""
    sample_index = shard_batch(batch_size, groups, devices=jax.device_count())
    first = jax.process_index() * jax.local_device_count()
    return sample_index[first : first + jax.local_device_count()]
