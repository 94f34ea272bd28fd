"""Images with more than 8 bits: which values they use, and which of them become black and white.

Scanners and detectors store 10, 12 or 14 bits in files of 16. Scaled from 0..65535 such images are nearly black.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from pggan_jax.data.images.decode import DEEP_VALUES, UnusableImageError, decoding_errors, deep_pixels, open_image
from pggan_jax.data.preparation.estimate import choose_workers
from pggan_jax.data.preparation.spec import Preparation
from pggan_jax.data.preparation.worker_pool import ordered_map
from pggan_jax.data.sources.open_source import Source

# Single pixels, dead or burnt in, do not decide: this share lies outside at either end.
_OUTSIDE = 1e-4
_IMAGES_PER_REQUEST = 128


def count_values(pixels: np.ndarray) -> np.ndarray:
    """int64 `[DEEP_VALUES]`: how many pixels have each value."""
    return np.bincount(pixels.ravel(), minlength=DEEP_VALUES)


def range_of(counts: np.ndarray) -> tuple[int, int] | None:
    """(lowest, highest) value that pixels have, but for one in ten thousand at either end; None of no pixels at all."""
    total = int(counts.sum())
    if not total:
        return None
    outside = total * _OUTSIDE
    low = int(np.argmax(np.cumsum(counts) > outside))
    high = DEEP_VALUES - 1 - int(np.argmax(np.cumsum(counts[::-1]) > outside))
    return low, high


def resolve_range(
    source: Source, preparation: Preparation, *, workers: int | None = None, progress: bool = True
) -> Preparation:
    """With the numbers that `range="auto"` finds in the images of `preparation`; "full" where none has more than 8 bits.

    The same images give the same numbers, whatever their order and however many workers count.
    """
    if preparation.range != "auto":
        return preparation
    numbers = preparation.order(len(source))
    workers = choose_workers(preparation, len(numbers), workers)
    requests = [numbers[start : start + _IMAGES_PER_REQUEST] for start in range(0, len(numbers), _IMAGES_PER_REQUEST)]
    counts = np.zeros(DEEP_VALUES, np.int64)
    bar = tqdm(total=len(numbers), desc="measuring range", unit="img", delay=2, disable=None if progress else True)
    with bar, closing(ordered_map(_count, source, requests, workers=workers)) as parts:
        for request, part in zip(requests, parts, strict=True):
            if part is not None:
                counts += part
            bar.update(len(request))
    found = range_of(counts)
    if found is None:
        return replace(preparation, range="full")
    low = min(found[0], DEEP_VALUES - 2)
    return replace(preparation, range=f"{low},{max(found[1], low + 1)}")


def _count(source: Source, numbers: np.ndarray) -> np.ndarray | None:
    """The function of the workers: counts of all deep images among some."""
    counts = None
    for number in map(int, numbers):
        try:
            with decoding_errors():
                content = source.read(number)
                # Arrays have 8 bits.
                if isinstance(content, np.ndarray) or (pixels := deep_pixels(open_image(content))) is None:
                    continue
                counts = count_values(pixels) if counts is None else counts + count_values(pixels)
        except UnusableImageError:
            continue
    return counts
