"""Items of a source as pictures for people: at their own size, side by side with labels, or held against one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pggan_jax.data.decoding import UnusableImageError, colour_channels, decoding_errors, open_image, to_channels, upright
from pggan_jax.data.framing import Frame, fit
from pggan_jax.data.sources import Source
from pggan_jax.images import make_grid

_CAPTION_HEIGHT = 14
_CAPTION_COLOUR = 255
_GAP = 2


def as_picture(content: bytes | np.ndarray) -> np.ndarray:
    """An item at its own size and with its own channels, upright, uint8 `[height, width, channels]`.

    Raises:
        UnusableImageError: it cannot be decoded.
    """
    image = open_image(content)
    with decoding_errors():
        channels = colour_channels(image)
        # Grey with transparency becomes RGBA, so that nothing is lost.
        picture = to_channels(upright(image), 4 if channels == 2 else channels)
        return np.asarray(picture).reshape(picture.height, picture.width, -1)


def equal_images(first: Source, second: Source, index: int) -> bool:
    """Whether two sources have the same pixels at a position; images that cannot be decoded equal nothing."""
    try:
        return np.array_equal(as_picture(first.read(index)), as_picture(second.read(index)))
    except UnusableImageError:
        return False


def labelled_grid(source: Source, numbers: Sequence[int], frame: Frame, *, columns: int) -> tuple[np.ndarray, list[str]]:
    """Some items side by side, each above the name of its class.

    Args:
        source: where they come from.
        numbers: which items.
        frame: how they are fitted.
        columns: items in a row.

    Returns:
        uint8 `[height, width, channels]`, and one line for each item that cannot be used and is left black.
    """
    caption = _CAPTION_HEIGHT if source.class_names else 0
    tiles = np.zeros((len(numbers), frame.height + caption, frame.width, frame.channels), np.uint8)
    problems = []
    for tile, number in zip(tiles, map(int, numbers), strict=True):
        try:
            tile[: frame.height] = fit(source.read(number), frame)
        except UnusableImageError as error:
            problems.append(f"{source.item_name(number)} {error}")
            continue
        if caption:
            tile[frame.height :] = _caption(source.class_names[source.label(number)], frame.width)[..., None]
    return make_grid(tiles, columns, gap=_GAP), problems


def _caption(text: str, width: int) -> np.ndarray:
    """White on black, as much as there is room for: uint8 `[_CAPTION_HEIGHT, width]`."""
    image = Image.new("L", (width, _CAPTION_HEIGHT))
    ImageDraw.Draw(image).text((1, 1), text, fill=_CAPTION_COLOUR, font=ImageFont.load_default(size=10))
    return np.asarray(image)
