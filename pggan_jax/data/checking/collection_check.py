"""Read a source once and report its contents and problems.

Nothing is changed, and damaged images do not stop the check.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import compress

import numpy as np
from PIL import Image
from tqdm import tqdm

from pggan_jax.data.checking.check_report import ANY_TARGET, CheckReport, CollectionStats, Problem
from pggan_jax.data.checking.pixel_range import count_values
from pggan_jax.data.checking.pixel_stats import find_similar
from pggan_jax.data.images.crop_resize import TargetFormat, find_placement
from pggan_jax.data.images.decode import (
    MODES,
    UnusableImageError,
    colour_channels,
    decoding_errors,
    is_animated,
    open_image,
    pixels_16_bit,
    to_channels,
)
from pggan_jax.data.preparation.prepared_folder import PreparedSource
from pggan_jax.data.preparation.worker_pool import default_workers, ordered_map
from pggan_jax.data.sources.source import Source, source_notes

_DIGEST_BYTES = 16
_STATS_PIXELS = 256  # on the shorter side; enough for the pixel statistics
_IMAGES_PER_REQUEST = 64
_REQUESTS_PER_WORKER = 8
# Below this many images, starting worker processes takes longer than the work.
_IMAGES_WORTH_WORKERS = 512


def check(
    source: Source,
    target: TargetFormat | None = None,
    *,
    numbers: Sequence[int] | np.ndarray | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> CheckReport:
    """Read and decode every image once.

    Args:
        source: the images.
        target: report images as unusable that this format refuses: too small, another shape, other channels.
        numbers: of the images to read; None reads all.
        workers: number of processes; None takes one per core, 0 works in this process.
        progress: show a bar on stderr when it takes more than two seconds and stderr is a terminal.
    """
    numbers = range(len(source)) if numbers is None else numbers
    if workers is None:
        workers = default_workers() if len(numbers) >= _IMAGES_WORTH_WORKERS else 0
    # Smaller requests for few images, so that all workers are busy until the end.
    at_a_time = min(_IMAGES_PER_REQUEST, 1 + len(numbers) // (_REQUESTS_PER_WORKER * max(workers, 1)))
    requests = (numbers[start : start + at_a_time] for start in range(0, len(numbers), at_a_time))
    stats = CollectionStats()
    parts = ordered_map(_examine, (source, target), requests=requests, workers=workers)
    bar = tqdm(total=len(numbers), desc=f"checking {source.name}", unit="img", delay=2, disable=None if progress else True)
    with bar, closing(parts):
        for part in parts:
            stats.add(part)
            bar.update(sum(part.sizes.values()) + len(part.unusable))
    groups = _equal_groups(stats.digests)

    def named(groups: Iterable[list[int]]) -> list[tuple[str, ...]]:
        return [tuple(source.item_name(stats.numbers[place]) for place in group) for group in groups]

    names = named(groups)
    is_conflict = [len({stats.classes[place] for place in group}) > 1 for group in groups]
    return CheckReport(
        source.name,
        len(numbers),
        source.class_names,
        stats,
        tuple(names),
        tuple(compress(names, is_conflict)),
        source.problems + tuple(_damages(source)),
        source_notes(source),
        tuple(named(find_similar(stats.pixels.signatures, _content_numbers(stats.digests)))),
        target,
    )


def _damages(source: Source) -> Iterable[str]:
    if isinstance(source, PreparedSource):
        for name in source.folder.damaged_files():
            yield f"{name}: does not match its checksum; remove the folder and prepare it again"


def _examine(context: tuple[Source, TargetFormat | None], numbers: Sequence[int] | np.ndarray) -> CollectionStats:
    """Count over some images; called in the workers."""
    source, target = context
    stats = CollectionStats()
    for number in map(int, numbers):
        try:
            _examine_one(source, target, number, stats)
        except UnusableImageError as error:
            stats.unusable.append(Problem(source.item_name(number), str(error)))
    return stats


def _examine_one(source: Source, target: TargetFormat | None, number: int, stats: CollectionStats) -> None:
    # Any error of a source concerns one image; the others are still checked.
    with decoding_errors():
        content = source.read(number)
    if isinstance(content, np.ndarray):
        size, mode, is_multiple = _examine_array(content, target)
        pixels, deep = content, None
    else:
        image = open_image(content)
        size, mode, is_multiple = _examine_file(image, target)
        pixels, deep = _pixels(image, target)
    label = source.label(number)
    stats.pixels.add_image(pixels, source.item_name(number))
    if deep is not None:
        stats.pixels.add_16_bit(count_values(deep))
    stats.colours += pixels.shape[-1] >= 3
    stats.sizes[size] += 1
    stats.modes[mode] += 1
    stats.animated += is_multiple
    stats.digests += _digest(content)
    stats.numbers.append(number)
    stats.labels[label] += 1
    stats.classes.append(label)


def _examine_file(image: Image.Image, target: TargetFormat | None) -> tuple[tuple[int, int], str, bool]:
    """Return upright size, mode, and whether there are several images.

    Loads the pixels, reduced where that is faster.
    """
    mode = image.mode
    with decoding_errors():
        place = find_placement(image, target or ANY_TARGET)
        is_multiple = is_animated(image)
        # Reads the whole file, which finds damage, but computes fewer pixels where the format allows it.
        image.draft(None, (_STATS_PIXELS, _STATS_PIXELS))
        image.load()
    return place.size, mode, is_multiple


def _pixels(image: Image.Image, target: TargetFormat | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return some pixels, uint8 `[height, width, channels]`, and all pixels of a 16-bit image."""
    with decoding_errors():
        channels = colour_channels(image)
        deep = pixels_16_bit(image)
        step = min(image.size) // _STATS_PIXELS if deep is None else 1
        if step > 1:
            image = image.resize((image.width // step, image.height // step), Image.Resampling.NEAREST)
        converted = to_channels(image, 4 if channels == 2 else channels, value_range=target.value_range if target else None)
        return np.asarray(converted).reshape(converted.height, converted.width, -1), deep


def _examine_array(content: np.ndarray, target: TargetFormat | None) -> tuple[tuple[int, int], str, bool]:
    height, width, channels = content.shape
    # As in `crop_and_resize`: what has the frame's shape is taken as it is, whatever its channels.
    if target and content.shape != (target.height, target.width, target.channels):
        find_placement(open_image(content), target)
    return (width, height), MODES.get(channels, f"{channels} channels"), False


def _digest(content: bytes | np.ndarray) -> bytes:
    """Return 16 bytes; equal for equal files and for equal arrays of the same shape."""
    # SHA-256 has hardware support, which makes it twice as fast as others.
    digest = hashlib.sha256()
    if isinstance(content, np.ndarray):
        digest.update(repr(content.shape).encode())
        digest.update(np.ascontiguousarray(content).data)
    else:
        digest.update(content)
    return digest.digest()[:_DIGEST_BYTES]


def _content_numbers(digests: bytearray) -> np.ndarray:
    """Return a number for each digest; equal digests have the same."""
    return np.unique(np.frombuffer(digests, f"V{_DIGEST_BYTES}"), return_inverse=True)[1]


def _equal_groups(digests: bytearray) -> list[list[int]]:
    """Return indices of equal digests in groups of two or more, in order."""
    inverse = _content_numbers(digests)
    counts = np.bincount(inverse)
    groups: dict[int, list[int]] = {}
    for place in np.flatnonzero(counts[inverse] > 1).tolist():
        groups.setdefault(int(inverse[place]), []).append(place)
    return list(groups.values())
