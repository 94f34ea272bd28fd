"""Image files with names and labels, returned undecoded.

The common base of folders and archives.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from pggan_jax.data.images.decode import UnusableImageError, not_image_reason
from pggan_jax.data.sources.file_names import CompactNames, printable
from pggan_jax.data.sources.labels import NO_LABEL, find_labels
from pggan_jax.errors import UserError
from pggan_jax.system.image_files import FORMATS, FORMATS_IN_WORDS, detect_format

# No usable image is larger; reading one would take this much memory in every worker.
MAX_FILE_BYTES = 2**30
# The beginning of a larger file is checked first: it must be that of an image.
UNSEEN_BYTES = 2**20
_COMPLAINTS_SHOWN = 2


class ImageCollection(ABC):
    """Image files sorted by path, with a class each; pickled as a few flat arrays.

    Attributes:
        name: as the user wrote it, printable.
        channels: 3; files of other modes are converted where they are decoded.
        class_names: one per class; empty without labels.
        former_class_names: the class names in the order of earlier versions; empty where it is the same.
        problems: problems of the collection as a whole, one line each.
        notes: skipped files with the reason, one line each.
    """

    channels = 3

    def __init__(
        self,
        name: str,
        names: CompactNames,
        *,
        load: Callable[[bytes], bytes | None],
        problems: Iterable[str],
        notes: Iterable[str] = (),
    ) -> None:
        """Label the files.

        Args:
            name: as the user wrote it, printable.
            names: paths of the images, sorted, at least one.
            load: as in `find_labels`.
            problems: found while listing.
            notes: files skipped while listing.

        Raises:
            UserError: `dataset.json` cannot be used.
        """
        self.name = name
        self._names = names
        try:
            labels = find_labels(names, load)
        except ValueError as error:
            raise source_error(name, str(error)) from None
        self.class_names, self.former_class_names = labels.class_names, labels.former_class_names
        self.problems = (*problems, *labels.problems)
        self.notes = tuple(notes)
        self._label_numbers = labels.numbers
        self._labels_digest = hashlib.sha256(labels.origin).digest() if labels.origin else b""

    def __len__(self) -> int:
        """Return the number of images, unusable ones included."""
        return len(self._names)

    def item_name(self, index: int) -> str:
        """Return the printable path of image `index` relative to the collection."""
        return printable(self._names[index])

    def label(self, index: int) -> int:
        """Return the class of image `index`, 0..len(class_names)-1.

        0 where there are no classes or no label.
        """
        return max(int(self._label_numbers[index]), 0)

    def read(self, index: int) -> bytes:
        """Return the undecoded file of image `index`.

        Called from several threads and processes at once.

        Raises:
            UnusableImageError: it cannot be read or has no label; the message continues the image's name.
        """
        if self._label_numbers[index] == NO_LABEL:
            raise UnusableImageError("has no label in dataset.json; add one or remove the image")
        return self._content(index)

    def fingerprint(self) -> str:
        """Return a digest of all that determines images and labels, without decoding any."""
        digest = hashlib.sha256()
        for index, name in enumerate(self._names):
            digest.update(b"\0" + name + b"\0" + self._state(index))
        digest.update(self._labels_digest)
        return digest.hexdigest()

    @abstractmethod
    def _content(self, index: int) -> bytes:
        """Return the bytes of image `index`; raise an UnusableImageError if they cannot be read."""

    @abstractmethod
    def _state(self, index: int) -> bytes:
        """Return bytes that change when the content of image `index` does."""


def source_error(name: str, reason: str) -> UserError:
    """Return the error that refuses the source `name` as a whole."""
    return UserError(f"data.source = {name!r}: {reason}")


def no_images_error(name: str, problems: Iterable[str], *, instead: str = "") -> UserError:
    """Return the error for a collection without images.

    The formats, what was found, and what to write `instead`.
    """
    found = list(problems)
    more = [f"and {len(found) - _COMPLAINTS_SHOWN} more"] if len(found) > _COMPLAINTS_SHOWN else []
    reasons = [
        f"no image file in it or below ({FORMATS_IN_WORDS})",
        *filter(None, [instead]),
        *found[:_COMPLAINTS_SHOWN],
        *more,
    ]
    return source_error(name, "; ".join(reasons))


def check_head(head: bytes) -> None:
    """Check the first bytes of a file before the rest is read.

    Raises:
        UnusableImageError: they are not those of an image.
    """
    kind = detect_format(head)
    if kind not in FORMATS:
        raise UnusableImageError(not_image_reason(kind))


def check_size(size: int) -> None:
    """Check the size of a file before it is read.

    Raises:
        UnusableImageError: it is empty or too large.
    """
    if size == 0:
        raise UnusableImageError("is empty (0 bytes); copy it again or remove it")
    if size > MAX_FILE_BYTES:
        raise UnusableImageError(f"is too large ({size:,} bytes, at most {MAX_FILE_BYTES:,} are read); save a smaller image")
