"""Waves of images of sound, decoded once for all metrics that measure them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pggan_jax.data.loader import Loader
from pggan_jax.errors import UserError
from pggan_jax.evaluation.sounds import features
from pggan_jax.evaluation.sounds.bins import TimbreBins
from pggan_jax.generation.class_names import classes_of_pitches
from pggan_jax.images import ImageShape, to_uint8
from pggan_jax.metric_kinds import METRIC_KINDS, MetricKind
from pggan_jax.sound.representations import Representation


@dataclass(frozen=True)
class Clips:
    """Waves of a set of images, and what several metrics need of them.

    Attributes:
        waves: float64 `[count, samples]`.
        sample_rate: samples per second.
        inconsistency: of their complex spectrograms, float `[count]`; zeros if they have no phases.
    """

    waves: np.ndarray
    sample_rate: int
    inconsistency: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, representation: Representation) -> Clips:
        """Decode images, uint8 or float about [-1, 1].

        Raises:
            UserError: the images contain values that are not finite.
        """
        waves = representation.decode(images)
        # Decoding limits values, so that waves alone do not show infinite ones.
        if not (np.isfinite(images).all() and np.isfinite(waves).all()):
            raise UserError("generated sound contains values that are not finite: the run has diverged")
        apart = representation.inconsistency(images) if representation.channels == 2 else np.zeros(len(images))
        return cls(waves, representation.sample_rate, apart)

    def part(self, count: int) -> Clips:
        """Return the first clips."""
        return Clips(self.waves[:count], self.sample_rate, self.inconsistency[:count])

    @cached_property
    def tonal(self) -> np.ndarray:
        """Features that tell the pitch."""
        return features.tonal(self.waves, self.sample_rate)

    @cached_property
    def timbre(self) -> np.ndarray:
        """Features that tell the timbre."""
        return features.timbre(self.waves, self.sample_rate)

    @cached_property
    def bins(self) -> TimbreBins:
        """Bins of the timbres."""
        return TimbreBins(self.timbre)


class ClipCollector:
    """Collects clips instead of images.

    Args:
        count: number of clips.
    """

    def __init__(self, count: int):
        self._count = count
        self._parts: list[Clips] = []

    def add(self, clips: Clips, first: int) -> None:
        """Add the clips with the numbers first, first+1 ..."""
        self._parts.append(clips.part(self._count - first))

    def finish(self) -> Clips:
        """Return all clips."""
        waves, apart = ([getattr(one, name) for one in self._parts] for name in ("waves", "inconsistency"))
        return Clips(np.concatenate(waves), self._parts[0].sample_rate, np.concatenate(apart))


def collect_clips(shape: ImageShape, count: int, seed: int) -> ClipCollector:
    """Return a collector of clips: a factory for `Metric.collect`."""
    del shape, seed
    return ClipCollector(count)


class Batch:
    """A batch of images in the forms that collectors take, each made when it is first asked for.

    Args:
        images: uint8, or float about [-1, 1].
        representation: how they stand for sound; None for images.
    """

    def __init__(self, images: np.ndarray, representation: Representation | None):
        self._images, self._representation = images, representation

    @cached_property
    def pixels(self) -> np.ndarray:
        """The images as uint8."""
        return self._images if self._images.dtype == np.uint8 else to_uint8(self._images)

    @cached_property
    def clips(self) -> Clips:
        """The waves."""
        assert self._representation is not None, "metrics of sound are refused for images"
        return Clips.of(self._images, self._representation)

    def part(self, collector: object, count: int) -> Any:
        """Return the first images in the form that a collector takes."""
        return self.clips.part(count) if isinstance(collector, ClipCollector) else self.pixels[:count]


def check_medium(kind: MetricKind, loader: Loader) -> None:
    """Refuse metrics of sound for images, and the other way round.

    Raises:
        UserError: the metric cannot measure these data.
    """
    representation = loader.representation
    if representation is None:
        if kind.measures_sound:
            raise UserError(f"{kind.name} measures sound, and these are images; take swd, fid or ms_ssim")
        return
    has_pitches, has_phases = bool(pitches_of_classes(loader).size), representation.channels == 2
    possible = ", ".join(
        name for name, one in METRIC_KINDS.items() if one.measures_sound and one.suits(has_pitches, has_phases)
    )
    if not kind.measures_sound and not kind.also_on_sound:
        counterpart = kind.counterpart if METRIC_KINDS[kind.counterpart].suits(has_pitches, has_phases) else "ndb_sound"
        raise UserError(f"{kind.name} measures images, not sound; take {counterpart} instead, or another of {possible}")
    if kind.needs_pitch and not has_pitches:
        raise UserError(f"{kind.name} needs sound with labels of pitch; without them, take {possible}")
    if kind.needs_phase and not has_phases:
        raise UserError(f"{kind.name} needs a representation with phases, not {representation.name}; take {possible}")


def pitches_of_classes(loader: Loader) -> np.ndarray:
    """Return the MIDI pitch of each class, int `[classes]`; empty if the classes are no pitches."""
    return np.array(list(classes_of_pitches(loader.class_names, loader.label_kind)), np.int64)
