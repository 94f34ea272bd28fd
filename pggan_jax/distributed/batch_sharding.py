"""How a batch is dealt to devices, and a device's share to parts, so that no minibatch-stddev group is split. It knows numbers,
not devices."""

from __future__ import annotations

from typing import Any

import numpy as np

from pggan_jax.config import Config
from pggan_jax.errors import ConfigError
from pggan_jax.schedule import Schedule

_COUNTS_SHOWN = 6


def deal(batch_size: int, *, form: str, group_size: int, devices: int) -> np.ndarray:
    """Which samples of the global batch each device gets, so that no minibatch-stddev group is split.

    Args:
        batch_size: samples in the global batch.
        form: `discriminator.minibatch_stddev`.
        group_size: `discriminator.mbstd_group_size`.
        devices: over all hosts.

    Returns:
        int64 `[devices, batch_size / devices]`; row d holds places in the global batch.

    Raises:
        ValueError: the batch, or its groups, cannot be shared out evenly.
    """
    if batch_size % devices:
        raise ValueError(f"{batch_size} images cannot be shared by {devices} devices")
    size = batch_size if form in ("whole_batch", "none") else min(group_size, batch_size)
    groups = batch_size // size
    if groups > 1 and groups % devices:
        raise ValueError(f"{groups} minibatch-stddev groups of {size} cannot be shared by {devices} devices")
    places = np.arange(batch_size)
    if form == "strided" and groups > 1:
        return places.reshape(size, devices, groups // devices).transpose(1, 0, 2).reshape(devices, -1)
    return places.reshape(devices, -1)


def possible_device_counts(batch_size: int, *, form: str, group_size: int) -> list[int]:
    """All numbers of devices that `deal` can share such a batch among."""

    def can_deal(devices: int) -> bool:
        try:
            deal(batch_size, form=form, group_size=group_size, devices=devices)
        except ValueError:
            return False
        return True

    return list(filter(can_deal, range(1, batch_size + 1)))


def possible_parts(batch_size: int, *, form: str, group_size: int, devices: int) -> list[int]:
    """All numbers of parts that a device may work through its share of a batch in, one after another, from 1 up.

    A part consists of whole minibatch-stddev groups: a group's gradients need all of its samples at once.

    Raises:
        ValueError: as `deal`.
    """
    share = deal(batch_size, form=form, group_size=group_size, devices=devices).shape[1]
    if form == "none":
        in_one_part = 1
    elif form == "whole_batch":
        in_one_part = share
    else:
        # A group that spans the batch may lie on several devices.
        in_one_part = min(group_size, share)
    return [parts for parts in range(1, share // in_one_part + 1) if share % (parts * in_one_part) == 0]


def parts_as_set(config: Config, resolution: int, *, devices: int) -> int:
    """The fewest parts at `resolution` with no more images than `run.microbatch` allows at once; 0 if it leaves that open.

    Raises:
        ConfigError: naming the fewest images that a part can have.
    """
    most = config.run.microbatch_for(resolution)
    if not most:
        return 0
    stddev: dict[str, Any] = {
        "form": config.discriminator.minibatch_stddev,
        "group_size": config.discriminator.mbstd_group_size,
    }
    batch_size = config.schedule.batch_size_for(resolution)
    possible = possible_parts(batch_size, **stddev, devices=devices)
    share = batch_size // devices
    for parts in possible:
        if share // parts <= most:
            return parts
    sizes = ", ".join(str(share // parts) for parts in possible)
    rule = (
        f"at {resolution}x{resolution} a device can work on so many of its {share} images at once: {sizes}, as stddev "
        f"groups (discriminator.minibatch_stddev={stddev['form']}) stay whole; allow at least {share // possible[-1]}, or 0"
    )
    path = "run.microbatch_at" if resolution in config.run.microbatch_at else "run.microbatch"
    raise ConfigError(path, most, rule)


def near_batch_sizes(batch_size: int, *, form: str, group_size: int, devices: int) -> list[int]:
    """The nearest smaller and the nearest larger batch that so many devices can share; or the larger alone."""

    def can_deal(size: int) -> bool:
        is_grouped = form not in ("whole_batch", "none")
        try:
            deal(size, form=form, group_size=group_size, devices=devices)
        except ValueError:
            return False
        return not is_grouped or size % min(group_size, size) == 0

    smaller = next(filter(can_deal, range(batch_size - 1, 0, -1)), None)
    larger = next(filter(can_deal, range(batch_size + 1, 2 * batch_size + group_size * devices + 1)), None)
    return [size for size in (smaller, larger) if size is not None]


def _how_to_use(count: int, backend: str) -> str:
    """What makes JAX see so many devices of this machine."""
    chosen = ",".join(map(str, range(count))) if count <= 16 else f"0,...,{count - 1}"
    ways = {
        "cpu": f"JAX_NUM_CPU_DEVICES={count}, without --xla_force_host_platform_device_count in XLA_FLAGS",
        "gpu": f"CUDA_VISIBLE_DEVICES={chosen}",
        "tpu": f"TPU_VISIBLE_CHIPS={chosen}",
    }
    return f" ({ways[backend]})" if backend in ways else ""


def check_batches(config: Config, *, devices: int, backend: str = "") -> None:
    """Refuse batch sizes that so many devices cannot share, and parts that their shares cannot be divided into.

    Args:
        config: batch sizes and parts of all resolutions, and the minibatch-stddev groups.
        devices: over all hosts.
        backend: as JAX names it, for the message: how to use fewer devices.

    Raises:
        ConfigError: naming the batch, the devices, batch sizes and device counts that would do.
    """
    stddev: dict[str, Any] = {
        "form": config.discriminator.minibatch_stddev,
        "group_size": config.discriminator.mbstd_group_size,
    }
    for resolution in Schedule(config.schedule, config.data.resolution).resolutions:
        batch_size = config.schedule.batch_size_for(resolution)
        try:
            deal(batch_size, **stddev, devices=devices)
        except ValueError as error:
            counts = [count for count in possible_device_counts(batch_size, **stddev) if count < devices][-_COUNTS_SHOWN:]
            sizes = " or ".join(map(str, near_batch_sizes(batch_size, **stddev, devices=devices)))
            path = "schedule.batch_size_at" if resolution in config.schedule.batch_size_at else "schedule.batch_size"
            rule = (
                f"at {resolution}x{resolution} {error}; set it to {sizes}, or use "
                f"{', '.join(map(str, counts))} devices{_how_to_use(counts[-1], backend)}"
            )
            raise ConfigError(path, batch_size, rule) from None
        parts_as_set(config, resolution, devices=devices)
