"""Show images of a source: at their own size, in a labelled grid, or compared."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pggan_jax.data.images.crop_resize import TargetFormat, crop_and_resize
from pggan_jax.data.images.decode import (
    MODES,
    UnusableImageError,
    colour_channels,
    decoding_errors,
    open_image,
    to_channels,
    upright,
)
from pggan_jax.data.sources.source import Source
from pggan_jax.images import make_grid, nearest_upscale

_CAPTION_HEIGHT = 14
_FONT_SIZE = 10
_GAP = 2
# Smaller images are enlarged by an integer factor, so that they and their captions are legible.
_SMALLEST_TILE = 64


def image_array(content: bytes | np.ndarray) -> np.ndarray:
    """Decode an image at its own size, upright: uint8 `[height, width, channels]`.

    Raises:
        UnusableImageError: it cannot be decoded.
    """
    image = open_image(content)
    with decoding_errors():
        channels = colour_channels(image)
        # Grey with transparency becomes RGBA, so that nothing is lost.
        converted = to_channels(upright(image), 4 if channels == 2 else channels)
        return np.asarray(converted).reshape(converted.height, converted.width, -1)


def equal_images(first: Source, second: Source, *, index: int) -> bool:
    """Return whether two sources have equal pixels at `index`.

    Undecodable files are equal if their bytes are.
    """
    try:
        one, other = first.read(index), second.read(index)
        if isinstance(one, bytes) and isinstance(other, bytes) and one == other:
            return True
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
            return np.array_equal(one, other)
        return np.array_equal(image_array(one), image_array(other))
    except UnusableImageError:
        return False


def fitting_resolution(source: Source, *, at_most: int) -> int:
    """Return the largest 4*2^k, at most `at_most`, that the first readable image fills.

    At least 4.
    """
    for number in range(len(source)):
        try:
            side = min(open_image(source.read(number)).size)
        except UnusableImageError:
            continue
        return max(4, min(at_most, 2 ** (side.bit_length() - 1)))
    return at_most


def labelled_grid(
    source: Source, numbers: Sequence[int] | np.ndarray, *, target: TargetFormat, columns: int
) -> tuple[np.ndarray, list[str]]:
    """Return a grid of some images, each above the name of its class.

    Args:
        source: the images.
        numbers: of the images.
        target: their format.
        columns: images in a row.

    Returns:
        uint8 `[height, width, channels]`, and one line for each image that cannot be used and is left black.
    """
    zoom = _zoom(target)
    height, width = zoom * target.height, zoom * target.width
    strip = _CAPTION_HEIGHT if source.class_names else 0
    tiles = np.zeros((len(numbers), height + strip, width, target.channels), np.uint8)
    problems = []
    for tile, number in zip(tiles, map(int, numbers), strict=True):
        try:
            tile[:height] = nearest_upscale(crop_and_resize(source.read(number), target), zoom)
        except UnusableImageError as error:
            problems.append(f"{source.item_name(number)} {error}")
            continue
        if strip:
            label = source.label(number)
            text = _plain_letters(source.class_names[label]) or f"class {label}"
            tile[height:] = caption(text, width, target.channels)
    return make_grid(tiles, columns, gap=_GAP), problems


def grid_shape(items: int, target: TargetFormat, *, columns: int) -> tuple[int, int]:
    """Return the maximal (height, width) in pixels of a `labelled_grid` of so many images."""
    zoom = _zoom(target)
    rows = -(-items // columns)
    return rows * (zoom * target.height + _CAPTION_HEIGHT + _GAP), columns * (zoom * target.width + _GAP)


def _zoom(target: TargetFormat) -> int:
    return max(_SMALLEST_TILE // min(target.height, target.width), 1)


def _plain_letters(text: str) -> str:
    """Remove accents, as Pillow's own font has only ASCII letters; return "" for other scripts."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return plain if plain.isascii() else ""


def caption(text: str, width: int, channels: int) -> np.ndarray:
    """Draw white text on black, shortened: uint8 `[_CAPTION_HEIGHT, width, channels]`."""
    font = ImageFont.load_default(size=_FONT_SIZE)
    available = width - 2
    if font.getlength(text) > available:
        kept = next((end for end in range(min(len(text), width), 0, -1) if font.getlength(text[:end] + "…") <= available), 0)
        text = text[:kept] + "…"
    image = Image.new("L", (width, _CAPTION_HEIGHT))
    ImageDraw.Draw(image).text((1, 1), text, fill="white", font=font)
    pixels = np.repeat(np.asarray(image)[..., None], channels, axis=-1)
    if MODES.get(channels, "").endswith("A"):
        pixels[..., -1] = 255
    return pixels
