"""Read all clips of a source of sound once and report contents and problems."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from pggan_jax.data.checking.check_report import Problem
from pggan_jax.data.images.decode import UnusableImageError, decoding_errors
from pggan_jax.data.preparation.worker_pool import default_workers, ordered_map
from pggan_jax.data.sounds.clips import SILENT_WINDOW, Clip
from pggan_jax.data.sounds.round_trip import RoundTrip, fitted_to, some_waves, through_bytes
from pggan_jax.data.sounds.spectrogram_source import SpectrogramSource
from pggan_jax.sound.representations import Representation

NAMES_KEPT = 3
FEW_CLIPS = 500
_CLIPS_PER_REQUEST = 64
_CLIPS_WORTH_WORKERS = 512
_DIGEST_BYTES = 16


@dataclass
class SoundStats:
    """Counts over some clips of a source.

    Attributes:
        rates, channels, encodings: number of usable clips by those of their file.
        seconds: (shortest, longest, sum) of the files of usable clips.
        labels: number of usable clips by class number.
        remarks: number of usable clips by key of `clips.REMARKS`.
        examples: by the same key the first few names, each with a detail.
        silent: number of silent parts of longer files.
        unusable: the clips that cannot be used.
        digests: number of clips by digest of their wave.
    """

    rates: Counter[int] = field(default_factory=Counter)
    channels: Counter[int] = field(default_factory=Counter)
    encodings: Counter[str] = field(default_factory=Counter)
    seconds: tuple[float, float, float] = (np.inf, 0.0, 0.0)
    labels: Counter[int] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    silent: int = 0
    unusable: list[Problem] = field(default_factory=list)
    digests: Counter[bytes] = field(default_factory=Counter)

    def add(self, other: SoundStats) -> None:
        """Add the counts over other clips, which follow these."""
        for name in ("rates", "channels", "encodings", "labels", "remarks", "digests"):
            getattr(self, name).update(getattr(other, name))
        (a, b, c), (d, e, f) = self.seconds, other.seconds
        self.seconds = (min(a, d), max(b, e), c + f)
        for key, names in other.examples.items():
            mine = self.examples.setdefault(key, [])
            mine += names[: NAMES_KEPT - len(mine)]
        self.silent += other.silent
        self.unusable += other.unusable

    def add_clip(self, clip: Clip, name: str, *, label: int) -> None:
        """Count one usable clip."""
        self.rates[clip.rate] += 1
        self.channels[clip.channels] += 1
        self.encodings[clip.encoding] += 1
        shortest, longest, total = self.seconds
        self.seconds = (min(shortest, clip.seconds), max(longest, clip.seconds), total + clip.seconds)
        self.labels[label] += 1
        for key, detail in clip.remarks.items():
            self.remarks[key] += 1
            names = self.examples.setdefault(key, [])
            if len(names) < NAMES_KEPT:
                names.append(f"{name}: {detail}" if detail else name)
        self.digests[hashlib.sha256(np.ascontiguousarray(clip.wave).data).digest()[:_DIGEST_BYTES]] += 1


@dataclass(frozen=True)
class SoundReport:
    """The result of a check of sound.

    Attributes:
        source: its name.
        clips: number of clips read, unusable ones included.
        class_names: of the source.
        representation: as the settings describe it.
        stats: counts over the clips.
        round_trip: how well some clips survive; None without a usable one.
        problems, notes: of the source as a whole.
    """

    source: str
    clips: int
    class_names: tuple[str, ...]
    representation: Representation
    stats: SoundStats
    round_trip: RoundTrip | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def usable(self) -> int:
        """Number of clips that a preparation would keep."""
        return self.clips - len(self.stats.unusable) - self.stats.silent

    @property
    def copies(self) -> int:
        """Number of clips that are equal to an earlier one."""
        return sum(count - 1 for count in self.stats.digests.values())

    @property
    def warnings(self) -> list[str]:
        """Remarks that need no decision, one line each."""
        lines = []
        if 0 < self.usable < FEW_CLIPS:
            lines.append(f"few clips ({self.usable:,}): below {FEW_CLIPS:,} the discriminator soon memorises them")
        representation = self.representation
        if 0 < representation.mel_bins < representation.n_fft // 4:
            lines.append("fewer mel bands than half the bins: up to 4 notes in 10 lose their pitch")
        empty = sum(not self.stats.labels[number] for number in range(len(self.class_names)))
        if empty:
            lines.append(f"{empty:,} of {len(self.class_names):,} classes have no clip")
        return lines


def check_sound(
    source: SpectrogramSource,
    *,
    numbers: Sequence[int] | np.ndarray | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> SoundReport:
    """Read every clip once, and measure the round trip of a few.

    Args:
        source: the clips.
        numbers: of the clips to read; None reads all.
        workers: number of processes; None takes one per core, 0 works in this process.
        progress: show a bar on stderr when it takes more than two seconds and stderr is a terminal.
    """
    numbers = np.arange(len(source)) if numbers is None else np.asarray(numbers)
    if workers is None:
        workers = default_workers() if len(numbers) >= _CLIPS_WORTH_WORKERS else 0
    requests = (numbers[start : start + _CLIPS_PER_REQUEST] for start in range(0, len(numbers), _CLIPS_PER_REQUEST))
    stats = SoundStats()
    bar = tqdm(total=len(numbers), desc=f"checking {source.name}", unit="clip", delay=2, disable=None if progress else True)
    with bar, closing(ordered_map(_examine, source, requests=requests, workers=workers)) as parts:
        for part in parts:
            stats.add(part)
            bar.update(part.rates.total() + part.silent + len(part.unusable))
    return SoundReport(
        source.name,
        len(numbers),
        source.class_names,
        source.settings,
        stats,
        _round_trip(source, numbers),
        source.problems,
        source.notes,
    )


def _round_trip(source: SpectrogramSource, numbers: np.ndarray) -> RoundTrip | None:
    _, waves = some_waves(source, numbers)
    waves = [wave for wave in waves if wave.any()]
    if not waves:
        return None
    representation = fitted_to(source, waves)
    return RoundTrip.of(waves, [through_bytes(wave, representation) for wave in waves])


def _examine(source: SpectrogramSource, numbers: np.ndarray) -> SoundStats:
    """Count over some clips; called in the workers."""
    stats = SoundStats()
    for number in map(int, numbers):
        try:
            with decoding_errors():
                clip = _clip(source, number)
        except UnusableImageError as error:
            if str(error) == SILENT_WINDOW:
                stats.silent += 1
            else:
                stats.unusable.append(Problem(source.item_name(number), str(error)))
            continue
        stats.add_clip(clip, source.item_name(number), label=source.label(number))
    return stats


def _clip(source: SpectrogramSource, number: int) -> Clip:
    examine = getattr(source.waves, "examine", None)
    if examine is not None:
        found: Clip = examine(number)
        return found
    wave, rate = source.waves.read(number), source.settings.sample_rate
    return Clip(wave, rate, 1, len(wave) / rate, "")
