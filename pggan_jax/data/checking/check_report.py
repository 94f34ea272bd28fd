"""The result of a check: counts over all images, unusable images and warnings."""

from __future__ import annotations

from array import array
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pggan_jax.data.checking.pixel_stats import PixelStats, describe_pixels
from pggan_jax.data.images.crop_resize import TargetFormat, crop_box
from pggan_jax.data.images.decode import UnusableImageError

FEW_IMAGES = 1000
UNEQUAL_CLASSES = 10
# Accepts all images but those with pixels of unknown range.
ANY_TARGET = TargetFormat(1, 1, 3)


class Problem(NamedTuple):
    """One image that cannot be used."""

    name: str
    reason: str


@dataclass
class CollectionStats:
    """Counts over some images of a source.

    Attributes:
        sizes: number of images by (width, height), upright.
        modes: number of images by Pillow's name of their mode.
        labels: number of usable images by class number.
        animated: number of files with several images.
        unusable: the images that cannot be used.
        digests: 16 bytes of each usable image's content, concatenated.
        numbers, classes: of the same images; compact arrays, as there may be millions.
        pixels: statistics of their pixels.
        colours: number of colour images.
    """

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    animated: int = 0
    unusable: list[Problem] = field(default_factory=list)
    digests: bytearray = field(default_factory=bytearray)
    numbers: array[int] = field(default_factory=lambda: array("q"))
    classes: array[int] = field(default_factory=lambda: array("l"))
    pixels: PixelStats = field(default_factory=PixelStats)
    colours: int = 0

    def add(self, other: CollectionStats) -> None:
        """Add the counts over other images."""
        # Counter.update, as += goes through all previous entries each time.
        self.sizes.update(other.sizes)
        self.modes.update(other.modes)
        self.labels.update(other.labels)
        self.animated += other.animated
        self.unusable += other.unusable
        self.digests += other.digests
        self.numbers += other.numbers
        self.classes += other.classes
        self.pixels.add(other.pixels)
        self.colours += other.colours


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    Attributes:
        source: its name.
        images: number of images read, unusable ones included.
        class_names: of the source.
        stats: counts over its images.
        duplicates: groups of names of images with the same bytes.
        conflicts: the groups whose members have different labels.
        problems: problems of the collection as a whole.
        notes: what was skipped.
        similar: groups of names of images that look the same but have other bytes.
        target: the format by which they were judged; None without one.
    """

    source: str
    images: int
    class_names: tuple[str, ...]
    stats: CollectionStats
    duplicates: tuple[tuple[str, ...], ...]
    conflicts: tuple[tuple[str, ...], ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    similar: tuple[tuple[str, ...], ...] = ()
    target: TargetFormat | None = None

    @property
    def usable(self) -> int:
        """Number of images that a preparation would keep."""
        return self.images - len(self.stats.unusable)

    @property
    def copies(self) -> int:
        """Number of images that are copies of another one."""
        return sum(len(group) - 1 for group in self.duplicates)

    @property
    def needs_decision(self) -> bool:
        """Whether something should be fixed or accepted before training."""
        return bool(self.stats.unusable or self.problems or self.conflicts)

    @property
    def warnings(self) -> list[str]:
        """Remarks that need no decision, one line each."""
        lines = []
        if 0 < self.usable < FEW_IMAGES:
            lines.append(f"few images ({self.usable:,}): below {FEW_IMAGES:,} the discriminator soon memorises them")
        counts = [self.stats.labels[number] for number in range(len(self.class_names))]
        empty = counts.count(0)
        if empty:
            lines.append(f"{empty:,} of {len(counts):,} classes have no image")
        elif counts and max(counts) > UNEQUAL_CLASSES * min(counts):
            most, least = (self.class_names[counts.index(pick(counts))] for pick in (max, min))
            lines.append(f"very unequal classes: {max(counts):,} of {most}, {min(counts):,} of {least}")
        if self.stats.animated:
            lines.append(f"several images in one file ({self.stats.animated:,} animations or pages): the first is used")
        return lines + describe_pixels(
            self.stats.pixels,
            images=self.usable,
            colour_images=self.stats.colours,
            is_scaled=self.target is not None and self.target.value_range is not None,
        )

    def kept_area(self) -> tuple[float, float, tuple[int, int]] | None:
        """Return the share of the images' area that the crop keeps.

        Mean, minimum, and its image size.

        Without a target the crop is the largest square. None without images.
        """
        shares = []
        for (width, height), count in self.stats.sizes.items():
            with suppress(UnusableImageError):  # arrays of the target's shape are used as they are
                left, top, right, bottom = crop_box(width, height, target=self.target or ANY_TARGET)
                shares.append(((right - left) * (bottom - top) / (width * height), (width, height), count))
        if not shares:
            return None
        least, size, _ = min(shares)
        return sum(share * count for share, _, count in shares) / sum(count for *_, count in shares), least, size

    def resolutions(self) -> list[tuple[int, int]]:
        """Return (resolution, number of usable images at least as large), from 4 upwards."""
        shorter = np.array([min(size) for size in self.stats.sizes], np.int64)
        counts = np.array(list(self.stats.sizes.values()), np.int64)
        powers = range(2, int(shorter.max(initial=0)).bit_length())
        return [(2**power, int(counts[shorter >= 2**power].sum())) for power in powers]
