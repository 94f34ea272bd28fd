"""Reads a source once and tells what is in it and what is wrong with it. Changes nothing and never stops at a damaged image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import compress

import numpy as np
from PIL import Image
from tqdm import tqdm

from pggan_jax.data.checking.check_report import ANY_FRAME, Findings, Problem, Report
from pggan_jax.data.checking.pixel_findings import alike
from pggan_jax.data.checking.pixel_range import count_values
from pggan_jax.data.images.crop_resize import Frame, find_place
from pggan_jax.data.images.decode import (
    MODES,
    UnusableImageError,
    colour_channels,
    decoding_errors,
    deep_pixels,
    is_animated,
    open_image,
    to_channels,
)
from pggan_jax.data.preparation.prepared_folder import PreparedSource
from pggan_jax.data.preparation.worker_pool import default_workers, ordered_map
from pggan_jax.data.sources.open_source import Source, notes_of

_DIGEST_BYTES = 16
_LOOKED_AT = 256  # pixels on the shorter side are enough to see what there is
_IMAGES_PER_REQUEST = 64
_REQUESTS_PER_WORKER = 8
# Below this many images, starting worker processes takes longer than the work.
_IMAGES_WORTH_WORKERS = 512


def check(
    source: Source,
    frame: Frame | None = None,
    *,
    numbers: Sequence[int] | np.ndarray | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Read and decode every image once.

    Args:
        source: what to read.
        frame: judge images by this too: too small, another shape, other channels.
        numbers: which images; None takes all.
        workers: processes; None takes one per core, 0 works in this process.
        progress: show a bar on stderr when it takes more than two seconds and stderr is a terminal.
    """
    numbers = range(len(source)) if numbers is None else numbers
    if workers is None:
        workers = default_workers() if len(numbers) >= _IMAGES_WORTH_WORKERS else 0
    # Of few images less at a time, so that all workers are busy to the end.
    at_a_time = min(_IMAGES_PER_REQUEST, 1 + len(numbers) // (_REQUESTS_PER_WORKER * max(workers, 1)))
    requests = (numbers[start : start + at_a_time] for start in range(0, len(numbers), at_a_time))
    found = Findings()
    parts = ordered_map(_examine, (source, frame), requests, workers=workers)
    bar = tqdm(total=len(numbers), desc=f"checking {source.name}", unit="img", delay=2, disable=None if progress else True)
    with bar, closing(parts):
        for part in parts:
            found.add(part)
            bar.update(sum(part.sizes.values()) + len(part.unusable))
    groups = _equal_groups(found.digests)

    def named(groups: Iterable[list[int]]) -> list[tuple[str, ...]]:
        return [tuple(source.item_name(found.numbers[place]) for place in group) for group in groups]

    names = named(groups)
    is_conflict = [len({found.classes[place] for place in group}) > 1 for group in groups]
    return Report(
        source.name,
        len(numbers),
        source.class_names,
        found,
        tuple(names),
        tuple(compress(names, is_conflict)),
        source.complaints + tuple(_damages(source)),
        notes_of(source),
        tuple(named(alike(found.pixels.looks, _content_numbers(found.digests)))),
        frame,
    )


def _damages(source: Source) -> Iterable[str]:
    if isinstance(source, PreparedSource):
        for name in source.folder.damaged_files():
            yield f"{name}: its bytes differ from what was written; prepare the folder again"


def _examine(context: tuple[Source, Frame | None], numbers: Sequence[int] | np.ndarray) -> Findings:
    """The function of the workers."""
    source, frame = context
    found = Findings()
    for number in map(int, numbers):
        try:
            _examine_one(source, frame, number, found)
        except UnusableImageError as error:
            found.unusable.append(Problem(source.item_name(number), str(error)))
    return found


def _examine_one(source: Source, frame: Frame | None, number: int, found: Findings) -> None:
    # Whatever a source stumbles over, the others are still to be checked.
    with decoding_errors():
        content = source.read(number)
    if isinstance(content, np.ndarray):
        size, mode, is_several = _examine_array(content, frame)
        pixels, deep = content, None
    else:
        image = open_image(content)
        size, mode, is_several = _examine_file(image, frame)
        pixels, deep = _pixels(image, frame)
    label = source.label(number)
    found.pixels.look_at(pixels, source.item_name(number))
    if deep is not None:
        found.pixels.add_deep(count_values(deep))
    found.colours += pixels.shape[-1] >= 3
    found.sizes[size] += 1
    found.modes[mode] += 1
    found.animated += is_several
    found.digests += _digest(content)
    found.numbers.append(number)
    found.labels[label] += 1
    found.classes.append(label)


def _examine_file(image: Image.Image, frame: Frame | None) -> tuple[tuple[int, int], str, bool]:
    """Upright size, mode, and whether there are several pictures. Loads the pixels, at a lower scale where that is quick."""
    mode = image.mode
    with decoding_errors():
        place = find_place(image, frame or ANY_FRAME)
        is_several = is_animated(image)
        # Reads all of the file, which finds damage, but works out few of the pixels where the format allows.
        image.draft(None, (_LOOKED_AT, _LOOKED_AT))
        image.load()
    return place.size, mode, is_several


def _pixels(image: Image.Image, frame: Frame | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Some of an image's pixels, uint8 `[height, width, channels]`, and all those with 16 bits, if that is what it has."""
    with decoding_errors():
        channels = colour_channels(image)
        deep = deep_pixels(image)
        step = min(image.size) // _LOOKED_AT if deep is None else 1
        if step > 1:
            image = image.resize((image.width // step, image.height // step), Image.Resampling.NEAREST)
        picture = to_channels(image, 4 if channels == 2 else channels, levels=frame.levels if frame else None)
        return np.asarray(picture).reshape(picture.height, picture.width, -1), deep


def _examine_array(content: np.ndarray, frame: Frame | None) -> tuple[tuple[int, int], str, bool]:
    height, width, channels = content.shape
    # As in `fit`: what has the frame's shape is taken as it is, whatever its channels.
    if frame and content.shape != (frame.height, frame.width, frame.channels):
        find_place(open_image(content), frame)
    return (width, height), MODES.get(channels, f"{channels} channels"), False


def _digest(content: bytes | np.ndarray) -> bytes:
    """16 bytes; equal for equal files and for equal arrays of the same shape."""
    # Twice as fast as others on processors that know it; a PNG's digest takes a twentieth of its decoding with BLAKE2.
    digest = hashlib.sha256()
    if isinstance(content, np.ndarray):
        digest.update(repr(content.shape).encode())
        digest.update(np.ascontiguousarray(content).data)
    else:
        digest.update(content)
    return digest.digest()[:_DIGEST_BYTES]


def _content_numbers(digests: bytearray) -> np.ndarray:
    """A number for each digest; equal ones have the same."""
    return np.unique(np.frombuffer(digests, f"V{_DIGEST_BYTES}"), return_inverse=True)[1]


def _equal_groups(digests: bytearray) -> list[list[int]]:
    """Places of equal digests, in groups of two and more, in order."""
    inverse = _content_numbers(digests)
    counts = np.bincount(inverse)
    groups: dict[int, list[int]] = {}
    for place in np.flatnonzero(counts[inverse] > 1).tolist():
        groups.setdefault(int(inverse[place]), []).append(place)
    return list(groups.values())
