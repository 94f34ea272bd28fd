"""What a check has found: counts over all images, the images that cannot be used, and what follows from them."""

from __future__ import annotations

from array import array
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pggan_jax.data.checking.pixel_findings import PixelFindings, observations
from pggan_jax.data.images.crop_resize import Frame, kept_box
from pggan_jax.data.images.decode import UnusableImageError

FEW_IMAGES = 1000
UNEQUAL_CLASSES = 10
# Refuses nothing but pixels of unknown range.
ANY_FRAME = Frame(1, 1, 3)


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
        pixels: what they show.
        colours: how many have colours.
    """

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    animated: int = 0
    unusable: list[Problem] = field(default_factory=list)
    digests: bytearray = field(default_factory=bytearray)
    numbers: array[int] = field(default_factory=lambda: array("q"))
    classes: array[int] = field(default_factory=lambda: array("l"))
    pixels: PixelFindings = field(default_factory=PixelFindings)
    colours: int = 0

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
        self.pixels.add(other.pixels)
        self.colours += other.colours


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
        alike: groups of names of images that look the same but have other bytes.
        frame: what they were judged by, if anything.
    """

    source: str
    images: int
    class_names: tuple[str, ...]
    found: Findings
    duplicates: tuple[tuple[str, ...], ...]
    conflicts: tuple[tuple[str, ...], ...]
    complaints: tuple[str, ...]
    notes: tuple[str, ...] = ()
    alike: tuple[tuple[str, ...], ...] = ()
    frame: Frame | None = None

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
        return lines + observations(
            self.found.pixels,
            self.usable,
            self.found.colours,
            is_scaled=self.frame is not None and self.frame.levels is not None,
        )

    def kept(self) -> tuple[float, float, tuple[int, int]] | None:
        """What the frame shows of the usable images: mean share of their area, the least, and a size that has it.

        Without a frame: what is left of them as squares. None without images.
        """
        shares = []
        for (width, height), count in self.found.sizes.items():
            with suppress(UnusableImageError):  # arrays of the frame's shape are taken as they are
                left, top, right, bottom = kept_box(width, height, self.frame or ANY_FRAME)
                shares.append(((right - left) * (bottom - top) / (width * height), (width, height), count))
        if not shares:
            return None
        least, size, _ = min(shares)
        return sum(share * count for share, _, count in shares) / sum(count for *_, count in shares), least, size

    def resolutions(self) -> list[tuple[int, int]]:
        """(resolution, how many usable images are at least as large), from 4 up to the last that fits any."""
        shorter = np.array([min(size) for size in self.found.sizes], np.int64)
        counts = np.array(list(self.found.sizes.values()), np.int64)
        powers = range(2, int(shorter.max(initial=0)).bit_length())
        return [(2**power, int(counts[shorter >= 2**power].sum())) for power in powers]
