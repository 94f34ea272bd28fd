"""How a batch is dealt to devices so that no minibatch-stddev group is split. It knows numbers, not devices."""

from __future__ import annotations

import numpy as np


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
