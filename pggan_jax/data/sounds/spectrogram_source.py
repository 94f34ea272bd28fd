"""Sound as a source of images: clips by number, each encoded by a representation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from tqdm import tqdm

from pggan_jax.data.images.decode import UnusableImageError, decoding_errors
from pggan_jax.data.preparation.worker_pool import default_workers, ordered_map
from pggan_jax.data.pyramid import first_reasons
from pggan_jax.data.sounds.clips import SILENT_WINDOW
from pggan_jax.data.sounds.wave_source import WaveSource
from pggan_jax.data.sources.source import Source
from pggan_jax.errors import UserError
from pggan_jax.sound.representations import Representation

_CLIPS_PER_REQUEST = 64
_SAMPLES_WORTH_WORKERS = 2**24
Ranges = list[tuple[float, float]]


class SpectrogramSource:
    """Clips of sound as uint8 images `[frames, bins, channels]`.

    Attributes:
        waves: the clips.
        settings: the representation that was asked for; part of the fingerprint.
        representation: the same with fitted ranges once `fitted` has measured them.
        name, channels, class_names, problems, notes: as of every source.
        label_kind: of the clips.
        allow_few: whether more than half of the clips may be unusable.
    """

    allow_few = False

    def __init__(self, waves: WaveSource, settings: Representation, *, fitted: Representation | None = None) -> None:
        """Wrap a source of waves."""
        self.waves, self.settings, self.representation = waves, settings, fitted or settings
        self.name, self.channels, self.label_kind = waves.name, settings.channels, waves.label_kind
        self.class_names, self.problems, self.notes = waves.class_names, waves.problems, waves.notes

    def __len__(self) -> int:
        return len(self.waves)

    def item_name(self, index: int) -> str:
        """Return the name of the clip."""
        return self.waves.item_name(index)

    def label(self, index: int) -> int:
        """Return the class of the clip."""
        return self.waves.label(index)

    def read(self, index: int) -> np.ndarray:
        """Return clip `index` as uint8 `[frames, bins, channels]`."""
        if not self.representation.is_fitted:
            raise AssertionError("the ranges are measured first, by fitted()")
        return self.representation.to_bytes(self.representation.encode(self.waves.read(index)))

    def fingerprint(self) -> str:
        """Return a digest of clips and representation; it is the same before and after fitting."""
        return f"{json.dumps(self.settings.to_json(), sort_keys=True)} {self.waves.fingerprint()}"

    def check_usable(self, rows: int, skipped: Sequence[str]) -> None:
        """Raise a UserError if more clips were left out, silent parts apart, than used."""
        left_out = [line for line in skipped if not line.endswith(SILENT_WINDOW)]
        if len(left_out) > rows and not self.allow_few:
            raise UserError(
                f"{self.name}: {len(left_out):,} of {rows + len(left_out):,} clips cannot be used: {first_reasons(left_out)}; "
                "launch.py check lists them, and launch.py prepare --allow_few takes the others"
            )

    def fitted(self, numbers: np.ndarray, *, workers: int | None = None, progress: bool = True) -> SpectrogramSource:
        """Return the source with the ranges of its values.

        They are measured in all clips, unless the settings give them.

        The result does not depend on the order of the clips or the number of workers.

        Args:
            numbers: of the clips that are used.
            workers: processes; None takes one per core where it is worth it, 0 measures in this process.
            progress: show a bar on stderr when it takes more than two seconds.

        Raises:
            UserError: no clip can be used.
        """
        if self.representation.is_fitted:
            return self
        ranges = _measure_all(self, numbers, workers, progress)
        fitted = SpectrogramSource(self.waves, self.settings, fitted=self.settings.fitted(ranges))
        fitted.allow_few = self.allow_few
        return fitted


def fitted_source(source: Source, numbers: np.ndarray, *, workers: int | None = None, progress: bool = True) -> Source:
    """Return a source of sound with measured ranges, every other source as it is.

    Arguments as of `SpectrogramSource.fitted`.
    """
    return source.fitted(numbers, workers=workers, progress=progress) if isinstance(source, SpectrogramSource) else source


def scaled_like(source: Source, known: Representation | None) -> Source:
    """Return a source of sound with the ranges of a known representation.

    A source of images, of another representation, or whose ranges are known is returned as it is.
    """
    if known is None or not isinstance(source, SpectrogramSource) or source.representation.is_fitted:
        return source
    if differences(source.settings, known):
        return source
    # Ranges given by settings, so that they are part of the fingerprint.
    scaled = SpectrogramSource(source.waves, known)
    scaled.allow_few = source.allow_few
    return scaled


def representation_of(source: Source) -> Representation | None:
    """Return how the images of a source were made of sound; None for images."""
    found = getattr(source, "representation", None)
    return found if isinstance(found, Representation) else None


def differences(stored: Representation, wanted: Representation) -> str:
    """Return in words how two representations differ; ranges count only where both are known."""
    theirs, ours = _spelled_out(stored), _spelled_out(wanted)
    names = [name for name in theirs if name != "scale" or (theirs[name] and ours[name])]
    return "; ".join(f"{name} {theirs[name]}, asked for {ours[name]}" for name in names if theirs[name] != ours[name])


def _spelled_out(representation: Representation) -> dict[str, Any]:
    """Return the JSON form with the numbers that a 0 stands for."""
    sizes = {"length": representation.samples}
    if representation.name == "if_mel":
        sizes["mel_bins"] = representation.bins
    return representation.to_json() | sizes


def _measure_all(source: SpectrogramSource, numbers: np.ndarray, workers: int | None, progress: bool) -> Ranges:
    if workers is None:
        workers = default_workers() if len(numbers) * source.settings.samples >= _SAMPLES_WORTH_WORKERS else 0
    requests = [numbers[start : start + _CLIPS_PER_REQUEST] for start in range(0, len(numbers), _CLIPS_PER_REQUEST)]
    total: Ranges | None = None
    bar = tqdm(total=len(numbers), desc="measuring sound", unit="clip", delay=2, disable=None if progress else True)
    with bar, closing(ordered_map(_measure, source, requests=requests, workers=workers)) as parts:
        for request, part in zip(requests, parts, strict=True):
            total = _merged(total, part)
            bar.update(len(request))
    if total is None:
        raise UserError(
            f"{source.name}: none of {len(numbers):,} clips is usable; launch.py check {source.name} lists the reasons"
        )
    return total


def _measure(source: SpectrogramSource, numbers: np.ndarray) -> Ranges | None:
    """Measure the ranges of some clips; called in the workers."""
    total: Ranges | None = None
    for number in map(int, numbers):
        try:
            with decoding_errors():
                total = _merged(total, source.settings.measure(source.waves.read(number)))
        except UnusableImageError:
            continue
    return total


def _merged(first: Ranges | None, second: Ranges | None) -> Ranges | None:
    if first is None or second is None:
        return first or second
    return [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(first, second, strict=True)]
