"""The interface of all sources of sound."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class WaveSource(Protocol):
    """Clips by number; picklable, as worker processes get a copy.

    Attributes:
        name: the setting that opens the source, for messages.
        class_names: one name per class, in the order of the class numbers; MIDI pitches as text, such as "60", where
            classes are pitches; empty for clips without labels.
        label_kind: what the classes are: pitch, family or folder; none without labels.
        problems: problems of the source as a whole, one line each.
        notes: what it skipped when it searched for sound, one line each.
    """

    name: str
    class_names: tuple[str, ...]
    label_kind: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of clips, unusable ones included."""
        ...

    def item_name(self, index: int) -> str:
        """Return the printable name of clip `index` for messages, such as its path."""
        ...

    def read(self, index: int) -> np.ndarray:
        """Return clip `index`, float64 `[samples]`, at the wanted rate and of the wanted length.

        Raises:
            UnusableImageError: this clip cannot be used; the caller leaves it out and continues.
        """
        ...

    def label(self, index: int) -> int:
        """Return the class of clip `index`, 0..len(class_names)-1; 0 where there are no classes."""
        ...

    def fingerprint(self) -> str:
        """Return a digest of all that determines clips and labels, without decoding any."""
        ...
