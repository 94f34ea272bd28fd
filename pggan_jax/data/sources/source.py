"""The interface of all image sources."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Source(Protocol):
    """Images by number; picklable, as worker processes get a copy.

    A source is independent of the wanted resolution, the levels, the storage and the order of training.

    Attributes:
        name: the setting that opens the source, for messages.
        channels: of most of its images; used for `data.channels=0`.
        class_names: one name per class, in the order of the class numbers; empty for images without labels.
        problems: problems of the source as a whole, one line each.
    """

    name: str
    channels: int
    class_names: tuple[str, ...]
    problems: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images, unusable ones included."""
        ...

    def item_name(self, index: int) -> str:
        """Return the printable name of image `index` for messages, such as its path."""
        ...

    def read(self, index: int) -> bytes | np.ndarray:
        """Return image `index` as an encoded file or as uint8 `[height, width, channels]`.

        Raises:
            UnusableImageError: this image cannot be used; the caller leaves it out and continues.
        """
        ...

    def label(self, index: int) -> int:
        """Return the class of image `index`, 0..len(class_names)-1; 0 where there are no classes."""
        ...

    def fingerprint(self) -> str:
        """Return a digest of all that determines images and labels, without decoding any."""
        ...


def source_notes(source: Source) -> tuple[str, ...]:
    """Return what a source skipped when it searched for images, one line each.

    Other sources have none.
    """
    return getattr(source, "notes", ())
