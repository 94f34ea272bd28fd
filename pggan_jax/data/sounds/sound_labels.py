"""Classes of audio files by name or folder, and which files the settings keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pggan_jax.config.sound import SoundConfig, parse_pitches
from pggan_jax.data.sounds.note_names import EXAMPLE, parse_note_name
from pggan_jax.data.sources.file_collection import FileCollection
from pggan_jax.errors import UserError

NO_LABEL = -1
_FORM = f"the form {EXAMPLE}"


@dataclass(frozen=True)
class SoundLabels:
    """Classes of the files that are kept.

    Attributes:
        class_names: one per class; pitches as text, such as "60", in increasing order.
        numbers: int32 `[kept]` class numbers; `NO_LABEL` for a file without one, 0 without classes.
        kept: int64 `[kept]` numbers of the files.
        label_by: pitch, family, folder or none; `folder` are the classes of the collection, also those of `dataset.json`.
        notes: what filters keep, and why the classes are not pitches; one line each.
    """

    class_names: tuple[str, ...]
    numbers: np.ndarray
    kept: np.ndarray
    label_by: str
    notes: tuple[str, ...] = ()


class _Names(NamedTuple):
    """What the names of files say, `[files]` each; pitch -1 for names of another form."""

    pitches: np.ndarray
    families: np.ndarray
    sources: np.ndarray
    family_names: list[str]
    source_names: list[str]

    @property
    def parsed(self) -> np.ndarray:
        """Whether the name of each file has the form."""
        return self.pitches >= 0

    def at(self, kept: np.ndarray) -> _Names:
        """Return the names of some files."""
        return _Names(self.pitches[kept], self.families[kept], self.sources[kept], self.family_names, self.source_names)


def choose_labels(files: FileCollection, config: SoundConfig) -> SoundLabels:
    """Choose files and classes by the settings.

    Raises:
        UserError: no file is kept, or none has the label that the settings ask for.
    """
    names = _parse_names(files)
    notes: list[str] = []
    kept = _filtered(files, names, config, notes)
    names = names.at(kept)
    label_by = _resolved(config.label_by, names, notes)
    if label_by in ("pitch", "family") and not names.parsed.any():
        raise UserError(
            f"sound.label_by = {label_by}: no file name in {files.name} has {_FORM}; choose folder or none, or rename the files"
        )
    class_names, numbers = _numbered(label_by, files, names, kept)
    return SoundLabels(class_names, numbers, kept, label_by, tuple(notes))


def _numbered(label_by: str, files: FileCollection, names: _Names, kept: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names, and the class number of each file that is kept."""
    if label_by == "none":
        return (), np.zeros(len(kept), np.int32)
    if label_by == "folder":
        return files.class_names, files.label_numbers[kept]
    if label_by == "pitch":
        found = sorted(set(names.pitches[names.parsed].tolist()))
        numbers, class_names = np.searchsorted(found, names.pitches), tuple(map(str, found))
    else:
        class_names = tuple(sorted({names.family_names[one] for one in set(names.families[names.parsed].tolist())}))
        place = np.array([class_names.index(one) if one in class_names else 0 for one in names.family_names])
        numbers = place[names.families]
    return class_names, np.where(names.parsed, numbers, NO_LABEL).astype(np.int32)


def _parse_names(files: FileCollection) -> _Names:
    pitches = np.full(len(files), -1, np.int16)
    families, sources = np.zeros(len(files), np.int32), np.zeros(len(files), np.int32)
    family_numbers: dict[str, int] = {}
    source_numbers: dict[str, int] = {}
    for index in range(len(files)):
        name = parse_note_name(files.path(index).rpartition(b"/")[2].decode("utf-8", "replace"))
        if name:
            pitches[index] = name.pitch
            families[index] = family_numbers.setdefault(name.family, len(family_numbers))
            sources[index] = source_numbers.setdefault(name.source, len(source_numbers))
    return _Names(pitches, families, sources, list(family_numbers) or [""], list(source_numbers) or [""])


def _filtered(files: FileCollection, names: _Names, config: SoundConfig, notes: list[str]) -> np.ndarray:
    """Return the numbers of the files that `sound.pitches` and `sound.instrument_sources` keep."""
    is_kept = np.ones(len(files), bool)
    filters = []
    if pitches := parse_pitches(config.pitches):
        is_kept &= np.isin(names.pitches, sorted(pitches))
        filters.append(f"sound.pitches={config.pitches}")
    if config.instrument_sources:
        wanted = config.instrument_sources.split(",")
        is_kept &= names.parsed & np.isin(names.sources, [n for n, one in enumerate(names.source_names) if one in wanted])
        filters.append(f"sound.instrument_sources={config.instrument_sources}")
    if not filters:
        return np.arange(len(files))
    kept = np.flatnonzero(is_kept)
    chosen = " with ".join(filters)
    unnamed = int((~names.parsed).sum())
    more = f"; {unnamed:,} names do not have {_FORM}" if unnamed else ""
    if not len(kept):
        raise UserError(f"{chosen}: keeps none of {len(files):,} files in {files.name}{more}; choose another filter")
    notes.append(f"{chosen} keeps {len(kept):,} of {len(files):,} files{more}")
    return kept


def _resolved(label_by: str, names: _Names, notes: list[str]) -> str:
    """Return what `auto` stands for."""
    if label_by != "auto":
        return label_by
    parsed, count = int(names.parsed.sum()), len(names.pitches)
    if parsed == count:
        return "pitch"
    if parsed:
        notes.append(
            f"{parsed:,} of {count:,} file names have {_FORM} and {count - parsed:,} do not: classes are folders, not pitches; "
            "sound.label_by=pitch uses only the former"
        )
    return "folder"
