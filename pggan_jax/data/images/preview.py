"""Items of a source as pictures for people: at their own size, side by side with labels, or held against one another."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pggan_jax.data.images.crop_resize import Frame, fit
from pggan_jax.data.images.decode import (
    MODES,
    UnusableImageError,
    colour_channels,
    decoding_errors,
    open_image,
    to_channels,
    upright,
)
from pggan_jax.data.sources.open_source import Source
from pggan_jax.images import make_grid, nearest_upscale

_CAPTION_HEIGHT = 14
_FONT_SIZE = 10
_GAP = 2
# Smaller items are shown enlarged by a whole number, so that they and their captions can be made out.
_SMALLEST_TILE = 64


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
    """Whether two sources have the same pixels at a position; what cannot be decoded equals its exact copies alone."""
    try:
        one, other = first.read(index), second.read(index)
        if isinstance(one, bytes) and isinstance(other, bytes) and one == other:
            return True
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
            return np.array_equal(one, other)
        return np.array_equal(as_picture(one), as_picture(other))
    except UnusableImageError:
        return False


def fitting_resolution(source: Source, *, at_most: int) -> int:
    """The largest 4*2^k that the first image which can be opened fills, between 4 and `at_most`."""
    for number in range(len(source)):
        try:
            side = min(open_image(source.read(number)).size)
        except UnusableImageError:
            continue
        return max(4, min(at_most, 2 ** (side.bit_length() - 1)))
    return at_most


def labelled_grid(
    source: Source, numbers: Sequence[int] | np.ndarray, frame: Frame, *, columns: int
) -> tuple[np.ndarray, list[str]]:
    """Some items side by side, each above the name of its class.

    Args:
        source: where they come from.
        numbers: which items.
        frame: how they are fitted.
        columns: items in a row.

    Returns:
        uint8 `[height, width, channels]`, and one line for each item that cannot be used and is left black.
    """
    zoom = _zoom(frame)
    height, width = zoom * frame.height, zoom * frame.width
    caption = _CAPTION_HEIGHT if source.class_names else 0
    tiles = np.zeros((len(numbers), height + caption, width, frame.channels), np.uint8)
    problems = []
    for tile, number in zip(tiles, map(int, numbers), strict=True):
        try:
            tile[:height] = nearest_upscale(fit(source.read(number), frame), zoom)
        except UnusableImageError as error:
            problems.append(f"{source.item_name(number)} {error}")
            continue
        if caption:
            label = source.label(number)
            text = _plain_letters(source.class_names[label]) or f"class {label}"
            tile[height:] = _caption(text, width, frame.channels)
    return make_grid(tiles, columns, gap=_GAP), problems


def grid_shape(items: int, frame: Frame, *, columns: int) -> tuple[int, int]:
    """(height, width) in pixels, at most, of the picture that `labelled_grid` makes of so many items."""
    zoom = _zoom(frame)
    rows = -(-items // columns)
    return rows * (zoom * frame.height + _CAPTION_HEIGHT + _GAP), columns * (zoom * frame.width + _GAP)


def _zoom(frame: Frame) -> int:
    return max(_SMALLEST_TILE // min(frame.height, frame.width), 1)


def _plain_letters(text: str) -> str:
    """Without accents, as Pillow's own font has plain letters alone; empty where that leaves something else."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return plain if plain.isascii() else ""


def _caption(text: str, width: int, channels: int) -> np.ndarray:
    """White on opaque black, shortened to the room there is: uint8 `[_CAPTION_HEIGHT, width, channels]`."""
    font = ImageFont.load_default(size=_FONT_SIZE)
    room = width - 2
    if font.getlength(text) > room:
        kept = next((end for end in range(min(len(text), width), 0, -1) if font.getlength(text[:end] + "…") <= room), 0)
        text = text[:kept] + "…"
    image = Image.new("L", (width, _CAPTION_HEIGHT))
    ImageDraw.Draw(image).text((1, 1), text, fill="white", font=font)
    pixels = np.repeat(np.asarray(image)[..., None], channels, axis=-1)
    if MODES.get(channels, "").endswith("A"):
        pixels[..., -1] = 255
    return pixels
