"""Splitting a batch over devices and microbatches, with whole minibatch-stddev groups.

Pure arithmetic on sample indices: it does not know which devices there are.
"""

from __future__ import annotations

import numpy as np

from pggan_jax.config import Config
from pggan_jax.config.networks import StddevGroups
from pggan_jax.errors import ConfigError
from pggan_jax.schedule import Schedule

_COUNTS_SHOWN = 6


def shard_batch(batch_size: int, groups: StddevGroups, *, devices: int) -> np.ndarray:
    """Assign the samples of a global batch to devices.

    Args:
        batch_size: samples in the global batch.
        groups: of minibatch stddev; each stays on one device, unless one group is the whole batch.
        devices: over all hosts.

    Returns:
        `sample_index`, int64 `[devices, batch_size / devices]`; row d holds indices in the global batch.

    Raises:
        ValueError: the batch, or its groups, cannot be split evenly.
    """
    if batch_size % devices:
        raise ValueError(f"{batch_size} images cannot be split over {devices} devices")
    size = batch_size if groups.form in ("whole_batch", "none") else min(groups.size, batch_size)
    count = batch_size // size
    if count > 1 and count % devices:
        raise ValueError(f"{count} minibatch-stddev groups of {size} cannot be split over {devices} devices")
    sample_index = np.arange(batch_size)
    if groups.form == "strided" and count > 1:
        return sample_index.reshape(size, devices, count // devices).transpose(1, 0, 2).reshape(devices, -1)
    return sample_index.reshape(devices, -1)


def microbatch_counts(samples: int, groups: StddevGroups) -> list[int]:
    """List the numbers of microbatches that a device can split its samples into, from 1 up.

    A microbatch consists of whole minibatch-stddev groups: a group's gradients need all of its samples at once.

    Args:
        samples: of the global batch on one device.
        groups: of minibatch stddev.
    """
    if groups.form == "none":
        smallest = 1
    elif groups.form == "whole_batch":
        smallest = samples
    else:
        # A group that spans the batch may lie on several devices.
        smallest = min(groups.size, samples)
    return [count for count in range(1, samples // smallest + 1) if samples % (count * smallest) == 0]


def microbatch_indices(samples: int, largest: int, groups: StddevGroups) -> np.ndarray:
    """Split the samples of a device into the fewest microbatches of at most `largest` samples.

    Args:
        samples: of the global batch on one device.
        largest: most samples in a microbatch; 0 for one microbatch.
        groups: of minibatch stddev. To the network, a microbatch is a batch of its own, as the samples of a device are.

    Returns:
        int64 `[microbatches, samples per microbatch]`, indices of the device's samples.

    Raises:
        ValueError: even the smallest microbatch has more samples.
    """
    counts = microbatch_counts(samples, groups)
    count = next((count for count in counts if not largest or samples // count <= largest), None)
    if count is None:
        sizes = ", ".join(str(samples // count) for count in counts)
        reason = f"stddev groups (discriminator.minibatch_stddev={groups.form}) stay whole"
        if groups.form == "whole_batch":
            reason = "batch norm, minibatch_discrimination and minibatch_stddev=whole_batch take the whole batch"
        raise ValueError(
            f"a device can work on so many of its {samples} images at once: {sizes}, as {reason}; allow at least "
            f"{samples // counts[-1]}, or 0"
        )
    return shard_batch(samples, groups, devices=count)


def microbatches_as_set(config: Config, resolution: int, *, devices: int) -> int:
    """Number of microbatches at `resolution` by the setting `run.microbatch`; 0 if not set.

    Raises:
        ConfigError: microbatches cannot be as small as it asks for.
    """
    largest = config.run.microbatch_for(resolution)
    samples = config.schedule.batch_size_for(resolution) // devices
    try:
        return len(microbatch_indices(samples, largest, config.microbatch_groups)) if largest else 0
    except ValueError as error:
        path = "run.microbatch_at" if resolution in config.run.microbatch_at else "run.microbatch"
        raise ConfigError(path, largest, f"at {config.data.shape_at(resolution)} {error}") from None


def check_batches(config: Config, *, devices: int, backend: str = "") -> None:
    """Refuse batches and microbatches that cannot be split over so many devices.

    Args:
        config: batch sizes and microbatches of all resolutions, and the minibatch-stddev groups.
        devices: over all hosts.
        backend: "cpu", "gpu" or "tpu", for the message: how to use fewer devices.

    Raises:
        ConfigError: with the batch size, the number of devices, and batch sizes and numbers of devices that are possible.
    """
    groups = config.discriminator.stddev_groups
    for resolution in Schedule.of(config).resolutions:
        batch_size = config.schedule.batch_size_for(resolution)
        try:
            shard_batch(batch_size, groups, devices=devices)
        except ValueError as error:
            counts = [count for count in possible_device_counts(batch_size, groups) if count < devices][-_COUNTS_SHOWN:]
            sizes = " or ".join(map(str, near_batch_sizes(batch_size, groups, devices=devices)))
            path = "schedule.batch_size_at" if resolution in config.schedule.batch_size_at else "schedule.batch_size"
            rule = (
                f"at {config.data.shape_at(resolution)} {error}; set it to {sizes}, or use "
                f"{', '.join(map(str, counts))} devices{_how_to_use(counts[-1], backend)}"
            )
            raise ConfigError(path, batch_size, rule) from None
        microbatches_as_set(config, resolution, devices=devices)


def possible_device_counts(batch_size: int, groups: StddevGroups) -> list[int]:
    """List the numbers of devices that such a batch can be split over."""
    return [devices for devices in range(1, batch_size + 1) if _can_shard(batch_size, groups, devices)]


def near_batch_sizes(batch_size: int, groups: StddevGroups, *, devices: int) -> list[int]:
    """The nearest smaller and larger batch sizes that can be split over so many devices."""

    def is_possible(size: int) -> bool:
        is_grouped = groups.form not in ("whole_batch", "none")
        return _can_shard(size, groups, devices) and (not is_grouped or size % min(groups.size, size) == 0)

    smaller = next(filter(is_possible, range(batch_size - 1, 0, -1)), None)
    larger = next(filter(is_possible, range(batch_size + 1, 2 * batch_size + groups.size * devices + 1)), None)
    return [size for size in (smaller, larger) if size is not None]


def _can_shard(batch_size: int, groups: StddevGroups, devices: int) -> bool:
    try:
        shard_batch(batch_size, groups, devices=devices)
    except ValueError:
        return False
    return True


def _how_to_use(count: int, backend: str) -> str:
    """What makes JAX use so many devices of this machine."""
    chosen = ",".join(map(str, range(count))) if count <= 16 else f"0,...,{count - 1}"
    ways = {
        "cpu": f"JAX_NUM_CPU_DEVICES={count}, without --xla_force_host_platform_device_count in XLA_FLAGS",
        "gpu": f"CUDA_VISIBLE_DEVICES={chosen}",
        "tpu": f"TPU_VISIBLE_CHIPS={chosen}",
    }
    return f" ({ways[backend]})" if backend in ways else ""
