"""Where images come from: what every source offers, and `open_source`, which turns the setting `data.source` into one.

A source knows its items one by one and by number. It must not know sizes that others want, levels, storage or the order of
training. A new kind is a class with the members of `Source`, a line in `source_names`, and one in `_OPENERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.source_kinds import parse_source

_DRAWN_RESOLUTION = 64


class Source(Protocol):
    """Images by number. Can be pickled: worker processes get a copy.

    Attributes:
        name: the setting that opens this source, for messages.
        channels: what most of its images have of their own, and `data.channels=0` gives.
        class_names: one name per class, in the order of the label numbers; empty for images without labels.
        complaints: what is wrong beside single images, one line each.
    """

    name: str
    channels: int
    class_names: tuple[str, ...]
    complaints: tuple[str, ...]

    def __len__(self) -> int:
        """How many images there are, unusable ones included."""
        ...

    def item_name(self, index: int) -> str:
        """What to call image `index` in a message, such as its path; can be printed anywhere."""
        ...

    def read(self, index: int) -> bytes | np.ndarray:
        """Image `index` as an encoded file or as uint8 `[height, width, channels]`.

        Raises:
            UnusableImageError: this one image cannot be used; the reader leaves it out and goes on.
        """
        ...

    def label(self, index: int) -> int:
        """The class of image `index`, 0..len(class_names)-1; 0 where there are no classes."""
        ...

    def fingerprint(self) -> str:
        """A digest of all that determines images and labels, without decoding any."""
        ...


def notes_of(source: Source) -> tuple[str, ...]:
    """What a source has passed over where it looked for images, one line each; sources that do not look have none."""
    return getattr(source, "notes", ())


def open_source(spec: str, *, resolution: int = 0, channels: int = 0) -> Source:
    """The source that `data.source` names, checked but with no image decoded.

    Args:
        spec: one of the forms in `source_names.SOURCE_KINDS`.
        resolution: side in pixels at which sources that draw their images (digits, photos, synthetic) do so, and the level
            that tfrecords and prepared open; 0 leaves it to them. Others keep the sizes they have.
        channels: for sources that draw; 0 takes their own.

    Raises:
        UserError: there is no such source, or it cannot be read.
    """
    try:
        kind, argument = parse_source(spec)
    except ValueError as error:
        raise UserError(f"source {spec!r}: {error}") from None
    return _OPENERS[kind](argument, resolution, channels)


# Each imports its module when it is opened: some bring large packages with them, and most runs use one.
def _digits(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.builtin import DigitsSource

    return DigitsSource(resolution=resolution or _DRAWN_RESOLUTION)


def _photos(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.builtin import PhotosSource

    return PhotosSource(resolution=resolution or _DRAWN_RESOLUTION)


def _folder(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.folder import FolderSource

    return FolderSource(argument)


def _zip(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.zip import ArchiveSource

    return ArchiveSource(argument)


def _tfds(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.tfds import TfdsSource

    return TfdsSource(argument)


def _tfrecords(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.record_images import open_tfrecords

    return open_tfrecords(argument, resolution=resolution)


def _stacked(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.synthetic import StackedSource

    return StackedSource(open_source(argument, resolution=resolution))


def _synthetic(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.synthetic import SyntheticSource

    return SyntheticSource(argument, resolution=resolution or _DRAWN_RESOLUTION, channels=channels or 3)


def _prepared(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.preparation.prepared_folder import PreparedSource

    return PreparedSource(argument, resolution=resolution)


_OPENERS: dict[str, Callable[[str, int, int], Source]] = {
    "digits": _digits,
    "photos": _photos,
    "folder": _folder,
    "zip": _zip,
    "tfds": _tfds,
    "tfrecords": _tfrecords,
    "prepared": _prepared,
    "stacked": _stacked,
    "synthetic": _synthetic,
}
