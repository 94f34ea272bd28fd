"""Where images come from: what every source offers, and `open_source`, which turns the setting `data.source` into one.

A source knows its images at one resolution, one by one and by number. It must not know the levels, their storage or the order
of training. A new kind of source is a class with the members of `Source`, one entry in `_KINDS`, and its name
in `config_rules`, which refuses others before anything is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pggan_jax.data.embedded import DigitsSource, PhotosSource
from pggan_jax.data.folder import FolderSource
from pggan_jax.errors import UserError


class Source(Protocol):
    """Images by number at one resolution. `image` is called from several threads at once.

    Attributes:
        name: the setting that opens this source, for messages.
        channels: colour channels of every image.
        class_names: one name per class, in the order of the label numbers; empty for images without labels.
    """

    name: str
    channels: int
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """How many images there are, unusable ones included."""
        ...

    def image(self, index: int) -> np.ndarray:
        """Image `index` as uint8 `[resolution, resolution, channels]`.

        Raises:
            UnusableImageError: this one image cannot be used; the reader leaves it out and goes on.
        """
        ...

    def label(self, index: int) -> int:
        """The class of image `index`, 0..len(class_names)-1; 0 where there are no classes."""
        ...

    def fingerprint(self) -> str:
        """A digest of all that determines images and labels besides resolution and channels, without decoding any."""
        ...


@dataclass(frozen=True)
class _Kind:
    """How one kind of source is written in the setting, and what opens it."""

    usage: str
    open: Callable[..., Source]
    takes_argument: bool


_KINDS = {
    "digits": _Kind("digits", DigitsSource, takes_argument=False),
    "photos": _Kind("photos", PhotosSource, takes_argument=False),
    "folder": _Kind("folder:DIR", FolderSource, takes_argument=True),
}


def open_source(spec: str, *, resolution: int, channels: int) -> Source:
    """The source that `data.source` names, checked but with no image decoded.

    Args:
        spec: "digits", "photos" or "folder:DIR".
        resolution: side of the images in pixels.
        channels: colour channels of the images; 0 takes the source's own.

    Raises:
        UserError: there is no such source, or it cannot give such images.
    """
    kind_name, colon, argument = spec.partition(":")
    usages = ", ".join(kind.usage for kind in _KINDS.values())
    if kind_name not in _KINDS:
        raise UserError(f"data.source = {spec!r}: must be one of {usages}")
    kind = _KINDS[kind_name]
    if kind.takes_argument != bool(argument) or (colon and not argument):
        raise UserError(f"data.source = {spec!r}: write it as {kind.usage}")
    if kind.takes_argument:
        return kind.open(argument, resolution=resolution, channels=channels)
    return kind.open(resolution=resolution, channels=channels)
