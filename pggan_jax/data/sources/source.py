"""The interface of all image sources."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from pggan_jax.errors import UserError

_MAX_COUNT = 10**9
"""Of generated items: the order of so many takes 8 GB; a larger number is a typing error."""
_MAX_SEED = 2**64 - 1


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


def count_and_seed(kind: str, argument: str, *, count: int, seed: int, example: int) -> tuple[int, int]:
    """Parse the argument of a source that generates its items: "", "COUNT" or "COUNT:SEED".

    Args:
        kind: the kind of source, such as "synthetic".
        argument: what follows it.
        count, seed: the defaults.
        example: a count, for messages.

    Raises:
        UserError: a number has another form or is out of range.
    """
    name = f"{kind}:{argument}" if argument else kind
    count_text, _, seed_text = argument.partition(":")

    def number(what: str, text: str, *, default: int, lowest: int, highest: int) -> int:
        if not text:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) <= 20 and lowest <= int(text) <= highest):
            raise UserError(
                f"data.source = {name!r}: {what} is {text!r}, must be a whole number from {lowest} to {highest}, "
                f"as in {kind}:{example} or {kind}:{example}:7"
            )
        return int(text)

    return (
        number("COUNT", count_text, default=count, lowest=1, highest=_MAX_COUNT),
        number("SEED", seed_text, default=seed, lowest=0, highest=_MAX_SEED),
    )
