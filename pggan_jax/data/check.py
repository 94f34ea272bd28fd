"""Reads a source once and tells what is in it and what is wrong with it. Changes nothing and never stops at a damaged image."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import compress
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from pggan_jax.data.decoding import MODES, UnusableImageError, decoding_errors, is_animated, open_image
from pggan_jax.data.framing import Frame, find_place
from pggan_jax.data.prepared import PreparedSource
from pggan_jax.data.sources import Source, notes_of
from pggan_jax.data.workers import default_workers, ordered_map

FEW_IMAGES = 1000
UNEQUAL_CLASSES = 10
_DIGEST_BYTES = 16
_IMAGES_PER_REQUEST = 64
_REQUESTS_PER_WORKER = 8
# Below this many images, starting worker processes takes longer than the work.
_IMAGES_WORTH_WORKERS = 512
# Refuses nothing but pixels of unknown range.
_ANY_FRAME = Frame(1, 1, 3)


class Problem(NamedTuple):
    """One image that cannot be used."""

    name: str
    reason: str


@dataclass
class Findings:
    """What was found in a source, or in some of its images.

    Attributes:
        sizes: number of images by (width, height), upright.
        modes: number of images by Pillow's name of their mode.
        labels: number of usable images by class number.
        animated: how many hold several pictures.
        unusable: the others.
        digests: 16 bytes of each usable image's content, one after the other.
        numbers, classes: of the same images; compact, as there may be millions.
    """

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    animated: int = 0
    unusable: list[Problem] = field(default_factory=list)
    digests: bytearray = field(default_factory=bytearray)
    numbers: array[int] = field(default_factory=lambda: array("q"))
    classes: array[int] = field(default_factory=lambda: array("l"))

    def add(self, other: Findings) -> None:
        """Take in what was found in further images."""
        # Not by +=, which would go through everything found so far each time.
        self.sizes.update(other.sizes)
        self.modes.update(other.modes)
        self.labels.update(other.labels)
        self.animated += other.animated
        self.unusable += other.unusable
        self.digests += other.digests
        self.numbers += other.numbers
        self.classes += other.classes


@dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        source: its name.
        images: how many were read, unusable ones included.
        class_names: of the source.
        found: what is in it.
        duplicates: groups of names of images with the same bytes.
        conflicts: those groups whose members have different labels.
        complaints: what is wrong beside single images.
        notes: what was passed over.
    """

    source: str
    images: int
    class_names: tuple[str, ...]
    found: Findings
    duplicates: tuple[tuple[str, ...], ...]
    conflicts: tuple[tuple[str, ...], ...]
    complaints: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> int:
        """Images that a preparation would keep."""
        return self.images - len(self.found.unusable)

    @property
    def copies(self) -> int:
        """Images that could go without losing a picture."""
        return sum(len(group) - 1 for group in self.duplicates)

    @property
    def needs_decision(self) -> bool:
        """Whether something should be mended or accepted before training."""
        return bool(self.found.unusable or self.complaints or self.conflicts)

    @property
    def warnings(self) -> list[str]:
        """What is worth knowing and needs no decision, one line each."""
        lines = []
        if 0 < self.usable < FEW_IMAGES:
            lines.append(f"few images ({self.usable:,}): below {FEW_IMAGES:,} the critic soon knows them by heart")
        counts = [self.found.labels[number] for number in range(len(self.class_names))]
        empty = counts.count(0)
        if empty:
            lines.append(f"{empty:,} of {len(counts):,} classes have no image")
        elif counts and max(counts) > UNEQUAL_CLASSES * min(counts):
            most, least = (self.class_names[counts.index(pick(counts))] for pick in (max, min))
            lines.append(f"very unequal classes: {max(counts):,} of {most}, {min(counts):,} of {least}")
        if self.found.animated:
            lines.append(f"several pictures in one file ({self.found.animated:,} animations or pages): the first is used")
        return lines

    def resolutions(self) -> list[tuple[int, int]]:
        """(resolution, how many usable images are at least as large), from 4 up to the last that fits any."""
        shorter = np.array([min(size) for size in self.found.sizes], np.int64)
        counts = np.array(list(self.found.sizes.values()), np.int64)
        powers = range(2, int(shorter.max(initial=0)).bit_length())
        return [(2**power, int(counts[shorter >= 2**power].sum())) for power in powers]


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
    names = [tuple(source.item_name(found.numbers[place]) for place in group) for group in groups]
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
    )


def _damages(source: Source) -> Iterable[str]:
    if isinstance(source, PreparedSource):
        for name in source.folder.damaged_files():
            yield f"{name}: its bytes differ from what was written; prepare the folder again"


def _examine(context: tuple[Source, Frame | None], numbers: Sequence[int]) -> Findings:
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
    else:
        size, mode, is_several = _examine_file(content, frame)
    label = source.label(number)
    found.sizes[size] += 1
    found.modes[mode] += 1
    found.animated += is_several
    found.digests += _digest(content)
    found.numbers.append(number)
    found.labels[label] += 1
    found.classes.append(label)


def _examine_file(content: bytes, frame: Frame | None) -> tuple[tuple[int, int], str, bool]:
    """Upright size, mode, and whether there are several pictures."""
    image = open_image(content)
    mode = image.mode
    with decoding_errors():
        place = find_place(image, frame or _ANY_FRAME)
        is_several = is_animated(image)
        # Reads all of the file, which finds damage, but works out few of the pixels where the format allows.
        image.draft(None, (1, 1))
        image.load()
    return place.size, mode, is_several


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
        content = np.ascontiguousarray(content)
    digest.update(content)
    return digest.digest()[:_DIGEST_BYTES]


def _equal_groups(digests: bytearray) -> list[list[int]]:
    """Places of equal digests, in groups of two and more, in order."""
    values = np.frombuffer(digests, f"V{_DIGEST_BYTES}")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    groups: dict[int, list[int]] = {}
    for place in np.flatnonzero(counts[inverse] > 1).tolist():
        groups.setdefault(int(inverse[place]), []).append(place)
    return list(groups.values())
