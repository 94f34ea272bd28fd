"""The range of values of 16-bit images, which determines what becomes black and white.

Scanners and detectors store 10, 12 or 14 bits in 16-bit files. Scaled from 0..65535 such images are nearly black.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from pggan_jax.data.images.decode import VALUES_16_BIT, UnusableImageError, decoding_errors, open_image, pixels_16_bit
from pggan_jax.data.preparation.decode_block import choose_workers
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.preparation.worker_pool import ordered_map
from pggan_jax.data.sources.source import Source

# Single defective pixels do not count: this share is outside the range at either end.
_OUTSIDE = 1e-4
_IMAGES_PER_REQUEST = 128


def count_values(pixels: np.ndarray) -> np.ndarray:
    """Count pixels by value: int64 `[VALUES_16_BIT]`: how many pixels have each value."""
    return np.bincount(pixels.ravel(), minlength=VALUES_16_BIT)


def measured_range(counts: np.ndarray) -> tuple[int, int] | None:
    """Return the (lowest, highest) value, without one pixel in ten thousand at either end.

    None without pixels.
    """
    total = int(counts.sum())
    if not total:
        return None
    outside = total * _OUTSIDE
    low = int(np.argmax(np.cumsum(counts) > outside))
    high = VALUES_16_BIT - 1 - int(np.argmax(np.cumsum(counts[::-1]) > outside))
    return low, high


def resolve_range(
    source: Source, spec: PreparationSpec, *, workers: int | None = None, progress: bool = True
) -> PreparationSpec:
    """Replace `range="auto"` by the numbers measured in the images.

    "full" where none has more than 8 bits.

    The numbers do not depend on the order of the images or the number of workers.
    """
    if spec.range != "auto":
        return spec
    numbers = spec.order(len(source))
    workers = choose_workers(spec, len(numbers), workers=workers)
    requests = [numbers[start : start + _IMAGES_PER_REQUEST] for start in range(0, len(numbers), _IMAGES_PER_REQUEST)]
    counts = np.zeros(VALUES_16_BIT, np.int64)
    bar = tqdm(total=len(numbers), desc="measuring range", unit="img", delay=2, disable=None if progress else True)
    with bar, closing(ordered_map(_count, source, requests=requests, workers=workers)) as parts:
        for request, part in zip(requests, parts, strict=True):
            if part is not None:
                counts += part
            bar.update(len(request))
    found = measured_range(counts)
    if found is None:
        return replace(spec, range="full")
    low = min(found[0], VALUES_16_BIT - 2)
    return replace(spec, range=f"{low},{max(found[1], low + 1)}")


def _count(source: Source, numbers: np.ndarray) -> np.ndarray | None:
    """Count the values of the 16-bit images among some; called in the workers."""
    counts = None
    for number in map(int, numbers):
        try:
            with decoding_errors():
                content = source.read(number)
                # Arrays have 8 bits.
                if isinstance(content, np.ndarray) or (pixels := pixels_16_bit(open_image(content))) is None:
                    continue
                counts = count_values(pixels) if counts is None else counts + count_values(pixels)
        except UnusableImageError:
            continue
    return counts
