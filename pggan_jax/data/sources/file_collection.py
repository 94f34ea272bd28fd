"""What a folder and an archive have in common: image files with names and labels, handed out as the bytes they are."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from pggan_jax.data.images.decode import UnusableImageError, no_image
from pggan_jax.data.sources.file_names import CompactNames, printable
from pggan_jax.data.sources.labels import NO_LABEL, find_labels
from pggan_jax.errors import UserError
from pggan_jax.image_files import FORMATS, FORMATS_IN_WORDS, recognise

# No image that can be trained on is larger; reading one would take this much memory in every worker.
MAX_FILE_BYTES = 2**30
# Of a larger file the beginning is read first: it must be that of an image.
UNSEEN_BYTES = 2**20
_COMPLAINTS_SHOWN = 2


class ImageCollection(ABC):
    """Image files sorted by path, with a class each. Pickled as a few flat arrays.

    Attributes:
        name: as the user wrote it, printable.
        channels: 3; files of other modes are converted where they are decoded.
        class_names: one per class; empty without labels.
        former_class_names: their order in earlier versions of this program, where it was another.
        complaints: what is wrong beside single images, one line each.
        notes: what was passed over, and why, one line each.
    """

    channels = 3

    def __init__(
        self,
        name: str,
        names: CompactNames,
        *,
        load: Callable[[bytes], bytes | None],
        complaints: Iterable[str],
        notes: Iterable[str] = (),
    ) -> None:
        """Label the files.

        Args:
            name: as the user wrote it, printable.
            names: paths of the images, sorted, at least one.
            load: as in `find_labels`.
            complaints: what came up while listing.
            notes: what was passed over.

        Raises:
            UserError: `dataset.json` cannot be used.
        """
        self.name = name
        self._names = names
        try:
            labels = find_labels(names, load)
        except ValueError as error:
            raise refusal(name, str(error)) from None
        self.class_names, self.former_class_names = labels.class_names, labels.former_class_names
        self.complaints = (*complaints, *labels.complaints)
        self.notes = tuple(notes)
        self._label_numbers = labels.numbers
        self._labels_digest = hashlib.sha256(labels.origin).digest() if labels.origin else b""

    def __len__(self) -> int:
        """How many images there are, unusable ones included."""
        return len(self._names)

    def item_name(self, index: int) -> str:
        """Path of image `index` from the top of the collection, printable."""
        return printable(self._names[index])

    def label(self, index: int) -> int:
        """The class of image `index`, 0..len(class_names)-1; 0 where there are no classes or no label."""
        return max(int(self._label_numbers[index]), 0)

    def read(self, index: int) -> bytes:
        """The file of image `index`, undecoded. Called from several threads and processes at once.

        Raises:
            UnusableImageError: it cannot be read or has no label; the message goes on from the image's name.
        """
        if self._label_numbers[index] == NO_LABEL:
            raise UnusableImageError("has no label in dataset.json; add one or remove the image")
        return self._content(index)

    def fingerprint(self) -> str:
        """A digest of all that determines images and labels, without decoding any."""
        digest = hashlib.sha256()
        for index, name in enumerate(self._names):
            digest.update(b"\0" + name + b"\0" + self._state(index))
        digest.update(self._labels_digest)
        return digest.hexdigest()

    @abstractmethod
    def _content(self, index: int) -> bytes:
        """The bytes of image `index`; UnusableImageError if they cannot be had."""

    @abstractmethod
    def _state(self, index: int) -> bytes:
        """What changes when the content of image `index` does."""


def refusal(name: str, reason: str) -> UserError:
    """The error that refuses the source `name` as a whole."""
    return UserError(f"data.source = {name!r}: {reason}")


def no_images(name: str, complaints: Iterable[str], *, instead: str = "") -> UserError:
    """The error for a collection without images: what is wanted, what was found, and what to write `instead`."""
    found = list(complaints)
    more = [f"and {len(found) - _COMPLAINTS_SHOWN} more"] if len(found) > _COMPLAINTS_SHOWN else []
    reasons = [
        f"no image file in it or below ({FORMATS_IN_WORDS})",
        *filter(None, [instead]),
        *found[:_COMPLAINTS_SHOWN],
        *more,
    ]
    return refusal(name, "; ".join(reasons))


def check_head(head: bytes) -> None:
    """Refuse what begins like no image, before the rest of it is read.

    Raises:
        UnusableImageError: with what it is.
    """
    kind = recognise(head)
    if kind not in FORMATS:
        raise UnusableImageError(no_image(kind))


def check_size(size: int) -> None:
    """Refuse a file of `size` bytes that holds nothing or too much, before it is read.

    Raises:
        UnusableImageError: with the reason and the limit.
    """
    if size == 0:
        raise UnusableImageError("is empty (0 bytes); copy it again or remove it")
    if size > MAX_FILE_BYTES:
        raise UnusableImageError(f"is too large ({size:,} bytes, at most {MAX_FILE_BYTES:,} are read); save a smaller image")
