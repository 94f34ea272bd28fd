"""Files of images or sound with names and labels, returned undecoded.

The common base of folders and archives.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import BinaryIO

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.file_names import CompactNames, FileFilter, FileKind, printable
from pggan_jax.data.sources.labels import NO_LABEL, find_labels
from pggan_jax.errors import UserError

# No usable image is larger; reading one would take this much memory in every worker.
MAX_FILE_BYTES = 2**30
# The beginning of a larger file is checked first: it must be that of an image.
UNSEEN_BYTES = 2**20
_COMPLAINTS_SHOWN = 2


class FileCollection(ABC):
    """Files of one kind sorted by path, with a class each; pickled as a few flat arrays.

    Attributes:
        name: as the user wrote it, printable.
        kind: of the files: images or sound.
        channels: 3; image files of other modes are converted where they are decoded.
        class_names: one per class; empty without labels.
        former_class_names: the class names in the order of earlier versions; empty where it is the same.
        label_numbers: int32 `[files]`, class numbers or `NO_LABEL`; 0 without classes.
        problems: problems of the collection as a whole, one line each.
        label_problems: those of them that concern only the classes.
        notes: skipped files with the reason, one line each.
    """

    channels = 3

    def __init__(
        self,
        name: str,
        names: CompactNames,
        *,
        load: Callable[[bytes], bytes | None],
        found: FileFilter,
        problems: Iterable[str],
    ) -> None:
        """Label the files.

        Args:
            name: as the user wrote it, printable.
            names: paths of the files, sorted, at least one.
            load: as in `find_labels`.
            found: what has listed the files; it knows their kind and what was skipped.
            problems: found while listing.

        Raises:
            UserError: `dataset.json` cannot be used.
        """
        self.name, self.kind = name, found.kind
        self._names = names
        try:
            labels = find_labels(names, load, kind=found.kind)
        except ValueError as error:
            raise source_error(name, str(error)) from None
        self.class_names, self.former_class_names = labels.class_names, labels.former_class_names
        self.problems = (*problems, *labels.problems)
        self.label_problems = labels.problems
        self.notes = tuple(found.notes())
        self.label_numbers = labels.numbers
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
        return max(int(self.label_numbers[index]), 0)

    def path(self, index: int) -> bytes:
        """Return the path of file `index` relative to the collection."""
        return self._names[index]

    def read(self, index: int) -> bytes:
        """Return the undecoded file of image `index`.

        Called from several threads and processes at once.

        Raises:
            UnusableImageError: it cannot be read or has no label; the message continues the image's name.
        """
        if self.label_numbers[index] == NO_LABEL:
            raise UnusableImageError("has no label in dataset.json; add one or remove the image")
        return self._content(index)

    @abstractmethod
    def open(self, index: int) -> BinaryIO:
        """Open file `index`, whatever its label; raise an UnusableImageError if that fails."""

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


def nothing_found_error(name: str, found: FileFilter, *problems: str, instead: str = "") -> UserError:
    """Return the error for a collection without a file of its kind.

    The formats, what was found, and what to write `instead`.
    """
    complaints = [*found.problems(), *problems, *found.notes()]
    more = [f"and {len(complaints) - _COMPLAINTS_SHOWN} more"] if len(complaints) > _COMPLAINTS_SHOWN else []
    kind = found.kind
    reasons = [
        f"no {kind.noun} file in it or below ({kind.formats_in_words})",
        *filter(None, [instead]),
        *complaints[:_COMPLAINTS_SHOWN],
        *more,
    ]
    return source_error(name, "; ".join(reasons))


def check_head(head: bytes, kind: FileKind) -> None:
    """Check the first bytes of a file before the rest is read.

    Raises:
        UnusableImageError: they are not those of a file of the kind.
    """
    found = kind.detect(head)
    if found not in kind.formats:
        raise UnusableImageError(kind.refusal(found))


def check_size(size: int, kind: FileKind | None = None) -> None:
    """Check the size of a file before it is read as a whole.

    Raises:
        UnusableImageError: it is empty or too large.
    """
    if size == 0:
        raise UnusableImageError("is empty (0 bytes); copy it again or remove it")
    if size > MAX_FILE_BYTES:
        noun = kind.noun if kind else "file"
        raise UnusableImageError(f"is too large ({size:,} bytes, at most {MAX_FILE_BYTES:,} are read); save a smaller {noun}")
