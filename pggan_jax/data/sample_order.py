"""Which rows of a data set a run shows, and when: functions of a seed alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_HELD_OUT = 0x68656C64  # a random stream of its own: orders have the number of their epoch here


# The order of an epoch takes 8 bytes per image; a batch rarely spans more than two epochs.
@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """Return a random order of 0..size-1 that depends on (seed, epoch) alone; read-only.

    Raw Philox words are sorted: NumPy guarantees their values for all versions, those of `Generator.permutation` only for one.
    """
    words = np.random.Philox(key=[seed, epoch]).random_raw(size)
    order = np.argsort(words, kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order


def rows_for_samples(sample_indices: np.ndarray, *, seed: int, size: int) -> np.ndarray:
    """Return the rows of some samples: each row once per epoch, in another order in each epoch.

    Args:
        sample_indices: numbers of real images shown before, 0 or more, any shape.
        seed: of the order, 0..2^64-1.
        size: number of rows, 1 or more.

    Returns:
        int64 rows 0..size-1 in the shape of `sample_indices`; they depend only on the arguments.
    """
    epochs, offsets = np.divmod(np.asarray(sample_indices, np.int64), size)
    if epochs.size and epochs.min() == epochs.max():  # most batches
        return _permutation(seed, int(epochs.min()), size)[offsets]
    rows = np.empty(offsets.shape, np.int64)
    for epoch in np.unique(epochs):
        in_epoch = epochs == epoch
        rows[in_epoch] = _permutation(seed, int(epoch), size)[offsets[in_epoch]]
    return rows


def split_rows(size: int, *, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into those to train on and those to hold out.

    Each row has a random number that depends on (seed, row) alone; the rows with the smallest numbers are held out. A larger
    share of the same data holds out the same rows and more.

    Args:
        size: number of rows.
        share: to hold out, in [0, 1]; the count is rounded.
        seed: of the split, 0..2^64-1.

    Returns:
        int64 rows to train on and held-out rows, each in rising order.
    """
    ranked = np.argsort(np.random.Philox(key=[seed, _HELD_OUT]).random_raw(size), kind="stable")
    count = round(share * size)
    return np.sort(ranked[count:]), np.sort(ranked[:count])
