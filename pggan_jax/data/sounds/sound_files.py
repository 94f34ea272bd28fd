"""The source `sound:DIR` or `sound:FILE.zip`: every audio file in it, as clips."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import asdict

import numpy as np
from tqdm import tqdm

from pggan_jax.config.sound import SoundConfig
from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sounds.audio_files import (
    AUDIO_SUFFIXES,
    FORMATS,
    FORMATS_IN_WORDS,
    UNREADABLE_KINDS,
    UNREADABLE_SUFFIXES,
    detect_audio,
    not_audio_reason,
    open_audio,
)
from pggan_jax.data.sounds.clips import Clip, count_windows, read_clip
from pggan_jax.data.sounds.note_names import EXAMPLE
from pggan_jax.data.sounds.sound_labels import NO_LABEL, choose_labels
from pggan_jax.data.sources.file_collection import FileCollection
from pggan_jax.data.sources.file_names import FileKind
from pggan_jax.data.sources.folder import FolderSource
from pggan_jax.data.sources.zip import ArchiveSource
from pggan_jax.sound.wave_files import is_joined_wave

AUDIO = FileKind(
    noun="sound",
    folder_source="sound",
    archive_source="sound",
    formats=FORMATS,
    formats_in_words=FORMATS_IN_WORDS,
    suffixes=AUDIO_SUFFIXES,
    detect=detect_audio,
    refusal=not_audio_reason,
    unreadable_suffixes=UNREADABLE_SUFFIXES,
    unreadable_kinds=UNREADABLE_KINDS,
    remedy="WAV or FLAC",
    is_generated=is_joined_wave,
)
_HEADERS_SAMPLED = 32
_CLIP_SETTINGS = (
    "sample_rate",
    "n_fft",
    "take",
    "channel",
    "level",
    "keep_silence",
    "label_by",
    "pitches",
    "instrument_sources",
)
# Version of the rules of `clips.py`: raise it with every change of the waves, so that prepared old ones are not reused.
_VERSION = 1


class SoundFiles:
    """Clips of the audio files of a collection: one of each file, or several slices."""

    def __init__(self, files: FileCollection, config: SoundConfig) -> None:
        """Choose files and classes; a few headers are read, and all of them for `sound.take=slices`.

        Raises:
            UserError: the settings keep no file, or no file has the label that they ask for.
        """
        labels = choose_labels(files, config)
        self.name, self.class_names = files.name, labels.class_names
        self._files, self._config = files, config
        self._kept, self._labels, self.label_kind = labels.kept, labels.numbers, labels.label_by
        unused = () if self.label_kind == "folder" else files.label_problems
        self.problems = tuple(line for line in files.problems if line not in unused)
        self.notes = (*files.notes, *labels.notes, *self._notes_on_rates())
        # Clips of file n: from ends[n - 1] to ends[n]; None where each file is one.
        self._ends = self._count_clips() if config.take == "slices" else None

    def __len__(self) -> int:
        return len(self._kept) if self._ends is None else int(self._ends[-1])

    def item_name(self, index: int) -> str:
        """Return the path of the file, with "#" and the number of the slice, from 0, behind it."""
        place, window = self._find(index)
        name = self._files.item_name(int(self._kept[place]))
        return name if self._ends is None else f"{name}#{window}"

    def label(self, index: int) -> int:
        """Return the class of the clip's file; 0 where it has none."""
        return max(int(self._labels[self._find(index)[0]]), 0)

    def read(self, index: int) -> np.ndarray:
        """Return clip `index`, float64 `[samples]`.

        Raises:
            UnusableImageError: it cannot be used.
        """
        return self.examine(index).wave

    def examine(self, index: int) -> Clip:
        """Return clip `index` with what is remarkable about it; raises UnusableImageError as `read`."""
        place, window = self._find(index)
        if self._labels[place] == NO_LABEL:
            if self.label_kind == "folder":
                raise UnusableImageError("has no label in dataset.json; add one or remove the file")
            raise UnusableImageError(f"has no {self.label_kind} in its name, which needs the form {EXAMPLE}; rename it")
        with self._files.open(int(self._kept[place])) as file, open_audio(file) as audio:
            return read_clip(audio, self._config, window=window)

    def fingerprint(self) -> str:
        """Return a digest of the files and of the settings that determine clips and labels."""
        chosen = asdict(self._config)
        settings = [_VERSION, self._config.samples, *(chosen[name] for name in _CLIP_SETTINGS)]
        return hashlib.sha256(f"{settings} {self._files.fingerprint()}".encode()).hexdigest()

    def _find(self, index: int) -> tuple[int, int]:
        """Return the place of a clip's file among those that are kept, and the number of its window."""
        if self._ends is None:
            return index, 0
        place = int(np.searchsorted(self._ends, index, side="right"))
        return place, index - (int(self._ends[place - 1]) if place else 0)

    def _header(self, place: int) -> tuple[int, int] | None:
        """Return number of samples and sample rate of a file; None if it cannot be opened."""
        try:
            with self._files.open(int(self._kept[place])) as file, open_audio(file) as audio:
                return audio.frames, audio.rate
        except UnusableImageError:
            return None

    def _count_clips(self) -> np.ndarray:
        counts = np.ones(len(self._kept), np.int64)
        bar = tqdm(range(len(counts)), desc=f"opening {self.name}", unit="file", delay=2, disable=None)
        for place in bar:
            header = self._header(place)
            if header:
                try:
                    counts[place] = count_windows(*header, self._config)
                except UnusableImageError:
                    continue
        return np.cumsum(counts)

    def _notes_on_rates(self) -> list[str]:
        """Return a line if files, of a few that are opened, have a lower rate than the clips."""
        wanted = self._config.sample_rate
        places = np.unique(np.linspace(0, len(self._kept) - 1, _HEADERS_SAMPLED).astype(int))
        rates = Counter(header[1] for header in map(self._header, places.tolist()) if header)
        low = {rate: count for rate, count in rates.items() if rate < wanted}
        if not low:
            return []
        rate = max(low, key=lambda one: low[one])
        return [
            f"{sum(low.values())} of {rates.total()} files that were looked at have fewer samples per second than "
            f"sound.sample_rate = {wanted:,}: sound of {rate:,} contains nothing above {rate // 2:,} Hz, the upper "
            f"{1 - rate / wanted:.0%} of the bins stays empty"
        ]


def open_files(path: str) -> FileCollection:
    """List the audio files of a folder or of a zip archive.

    Raises:
        UserError: it does not exist, or holds no audio file.
    """
    from pggan_jax.system.paths import expand_path

    try:
        is_archive = os.path.isfile(expand_path(path)) or path.lower().endswith(".zip")
    except ValueError:
        is_archive = False
    return ArchiveSource(path, kind=AUDIO) if is_archive else FolderSource(path, kind=AUDIO)
