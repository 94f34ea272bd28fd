"""The built-in source `notes`: synthesised notes of exact pitch in four families."""

from __future__ import annotations

import numpy as np

from pggan_jax.config.sound import SoundConfig, parse_pitches
from pggan_jax.data.sounds.clips import with_level
from pggan_jax.data.sources.source import count_and_seed
from pggan_jax.errors import UserError
from pggan_jax.sound.measures import hertz

LOWEST_PITCH, PITCHES = 60, 13
FAMILIES = ("organ", "pluck", "reed", "brass")
NOTES_COUNT, NOTES_SEED = 5200, 2018
_MOST_HARMONICS = 32
_ORGAN_HARMONICS = (1, 2, 3, 4, 6, 8)
_RELEASE_SECONDS = 0.04
# Version of the formula: raise it with every change of the waves, so that prepared old ones are not reused.
_VERSION = 1


class NotesSource:
    """Notes whose pitch and family follow from their number; each is generated when it is read.

    Note n has the pitch 60 + n mod 13 and the family n // 13 mod 4: organ, pluck, reed, brass.
    """

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, argument: str, config: SoundConfig) -> None:
        """Choose the notes.

        Args:
            argument: "", "COUNT" or "COUNT:SEED"; the defaults are 5,200 notes and seed 2018.
            config: sample rate, length, classes (pitch, family or none) and pitches.

        Raises:
            UserError: count, seed, pitches or classes are impossible.
        """
        self.name = f"notes:{argument}" if argument else "notes"
        count, self._seed = count_and_seed("notes", argument, count=NOTES_COUNT, seed=NOTES_SEED, example=10_000)
        self._rate, self._samples, self._level = config.sample_rate, config.samples, config.level
        wanted = parse_pitches(config.pitches)
        offsets = [one for one in range(PITCHES) if wanted is None or LOWEST_PITCH + one in wanted]
        if not offsets:
            highest = LOWEST_PITCH + PITCHES - 1
            raise UserError(
                f"sound.pitches = {config.pitches!r}: {self.name} has {LOWEST_PITCH} to {highest}; choose some of them"
            )
        if config.label_by == "folder":
            raise UserError(f"sound.label_by = folder: {self.name} has no folders; choose pitch, family or none")
        self._numbers = [n for n in range(count) if n % PITCHES in set(offsets)] if wanted is not None else range(count)
        self.label_kind = "pitch" if config.label_by == "auto" else config.label_by
        self._offsets = offsets
        names = {"pitch": [str(LOWEST_PITCH + one) for one in offsets], "family": list(FAMILIES), "none": []}
        self.class_names = tuple(names[self.label_kind])

    def __len__(self) -> int:
        return len(self._numbers)

    def item_name(self, index: int) -> str:
        """Return a name such as "note 17"."""
        return f"note {self._numbers[index]}"

    def label(self, index: int) -> int:
        """Return the class of a note: the place of its pitch or family among the class names."""
        number = self._numbers[index]
        if self.label_kind == "none":
            return 0
        return self._offsets.index(number % PITCHES) if self.label_kind == "pitch" else number // PITCHES % len(FAMILIES)

    def read(self, index: int) -> np.ndarray:
        """Return a note, float64 `[samples]`, peak 0.4 to 0.9 where `sound.level` keeps it."""
        wave = note(self._numbers[index], sample_rate=self._rate, samples=self._samples, seed=self._seed)
        return with_level(wave, self._level)

    def fingerprint(self) -> str:
        """Return all that determines the waves and labels."""
        pitches = [LOWEST_PITCH + one for one in self._offsets]
        text = f"notes {_VERSION} {len(self)} {self._seed} {self._rate} {self._samples} {self.label_kind} {pitches}"
        return text if self._level == "keep" else f"{text} {self._level}"


def note(number: int, *, sample_rate: int, samples: int, seed: int = NOTES_SEED) -> np.ndarray:
    """Synthesise one note (spec sound 2.4).

    Args:
        number: determines pitch and family, and with `seed` the timbre.
        sample_rate: samples per second.
        samples: length.
        seed: 0..2^64-1.

    Returns:
        float64 `[samples]`. No partial exceeds 0.45 of the sample rate.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
    f0 = float(hertz(LOWEST_PITCH + number % PITCHES))
    harmonics = max(1, min(int(0.45 * sample_rate / f0), _MOST_HARMONICS))
    bright, loud = rng.uniform(0, 1), rng.uniform(0.4, 0.9)
    phases = rng.uniform(0, 2 * np.pi, _MOST_HARMONICS)[:harmonics]
    u = rng.uniform(0, 1, 8)
    t = np.arange(samples) / sample_rate
    k = np.arange(1, harmonics + 1)[:, None]
    amplitudes = _AMPLITUDES[number // PITCHES % len(FAMILIES)](k, t, bright, u)
    wave = (amplitudes * np.sin(2 * np.pi * f0 * k * t + phases[:, None])).sum(axis=0)
    release = min(int(_RELEASE_SECONDS * sample_rate), samples)
    if release:
        wave[-release:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, release + 1) / release)
    return wave * (loud / np.abs(wave).max())


def _organ(k: np.ndarray, t: np.ndarray, bright: float, u: np.ndarray) -> np.ndarray:
    strengths = np.zeros(k.shape)
    for j, harmonic in enumerate(_ORGAN_HARMONICS):
        strengths[k == harmonic] = (0.1 + 0.9 * u[j]) * (0.5 + 0.5 * bright) ** j
    return strengths * np.minimum(1, t / 0.01)


def _pluck(k: np.ndarray, t: np.ndarray, bright: float, u: np.ndarray) -> np.ndarray:
    place, decay = 0.1 + 0.4 * u[0], 0.15 + 0.45 * u[1]
    strengths = np.abs(np.sin(np.pi * k * place)) * k ** -(1.8 - 0.8 * bright)
    return strengths * np.exp(-t * (1 + 0.35 * (k - 1) * (1.2 - bright)) / decay) * np.minimum(1, t / 0.002)


def _reed(k: np.ndarray, t: np.ndarray, bright: float, u: np.ndarray) -> np.ndarray:
    strengths = np.where(k % 2 == 1, k ** -(1.6 - 0.9 * bright), 0.06 * bright / k)
    return strengths * np.minimum(1, t / (0.02 + 0.04 * u[0]))


def _brass(k: np.ndarray, t: np.ndarray, bright: float, u: np.ndarray) -> np.ndarray:
    rise = 0.02 + 0.08 * u[0]
    return k ** -(2.2 - 1.2 * bright + 2 * np.exp(-t / rise)) * np.minimum(1, t / 0.015)


_AMPLITUDES = (_organ, _pluck, _reed, _brass)
