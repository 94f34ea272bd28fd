"""Sheets: labelled rows of images."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pggan_jax.images import nearest_upscale

_FONT_SIZE = 12
_LINE = 15
_GAP = 2
_MARGIN = 4
_SPACE = 14
_FRAME = 8
SMALLEST_TILE, LARGEST_TILE = 48, 128
MOST_PIXELS = 178_000_000
"""Of a sheet; image readers refuse larger files."""


def tile_of(image: np.ndarray) -> np.ndarray:
    """Enlarge small images to at least 48 pixels, and reduce large ones to at most 128.

    By a whole factor.

    Args:
        image: uint8 `[..., height, width, channels]`.
    """
    height, width = image.shape[-3:-1]
    if max(height, width) > LARGEST_TILE:
        factor = -(-max(height, width) // LARGEST_TILE)
        cut = image[..., : height // factor * factor, : width // factor * factor, :]
        small = cut.reshape(*image.shape[:-3], height // factor, factor, width // factor, factor, image.shape[-1])
        return np.rint(small.mean(axis=(-4, -2))).astype(np.uint8)
    return nearest_upscale(image, max(1, -(-SMALLEST_TILE // max(height, width))))


def labelled_rows(rows: Sequence[np.ndarray], labels: Sequence[str], *, above: Sequence[str] = ()) -> np.ndarray:
    """Draw rows of images with a label at the left of each row.

    Args:
        rows: uint8 `[columns, height, width, channels]` each, all of one shape.
        labels: one per row; lines are separated by a newline.
        above: one per column, or none.

    Returns:
        uint8 `[height, width, channels]`, black on white.
    """
    columns, height, width, channels = rows[0].shape
    font = ImageFont.load_default(size=_FONT_SIZE)
    left = 2 * _MARGIN + max(int(font.getlength(line)) + 1 for label in labels for line in plain(label).split("\n"))
    top = _LINE + _MARGIN if above else _MARGIN
    step = max(height + _GAP, max(_LINE * (1 + label.count("\n")) for label in labels) + _GAP)
    sheet = Image.new("L", (left + columns * (width + _GAP), top + len(rows) * step), 255)
    draw = ImageDraw.Draw(sheet)
    for column, text in enumerate(above):
        middle = left + column * (width + _GAP) + width / 2
        draw.text((middle, top - _MARGIN), plain(text), fill=0, font=font, anchor="mb")
    for row, label in enumerate(labels):
        draw.multiline_text((_MARGIN, top + row * step + height / 2), plain(label), fill=0, font=font, anchor="lm", spacing=2)
    pixels = _with_channels(sheet, channels)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            y, x = top + row * step, left + column * (width + _GAP)
            pixels[y : y + height, x : x + width] = image
    return pixels


def arithmetic_sheet(operands: Sequence[np.ndarray], labels: Sequence[str], *, result: np.ndarray) -> np.ndarray:
    """Draw the operands of an expression as columns, and its result at the right.

    Args:
        operands: uint8 `[images, height, width, channels]` each; the last image of several stands apart, at the bottom.
        labels: one per operand.
        result: uint8 `[9, height, width, channels]`, drawn as 3 x 3 with a frame around the middle.

    Returns:
        uint8 `[height, width, channels]`, black on white.
    """
    columns, middle = [tile_of(images) for images in operands], tile_of(result)
    _, height, width, channels = middle.shape
    font = ImageFont.load_default(size=_FONT_SIZE)
    wide = [max(width, int(font.getlength(plain(label))) + 1) + _SPACE for label in labels]
    rows = max(3, *map(len, columns))
    bottom = _MARGIN + rows * (height + _FRAME) + _SPACE
    left = _MARGIN + sum(wide) + _SPACE
    sheet = Image.new("L", (left + 3 * (width + _FRAME) + _MARGIN, bottom + _LINE + _MARGIN), 255)
    draw = ImageDraw.Draw(sheet)
    places = []
    x = _MARGIN
    for images, label, room in zip(columns, labels, wide, strict=True):
        for number, image in enumerate(images[::-1]):
            y = bottom - (number + 1) * (height + _GAP) - (_SPACE if number else 0)
            places.append((y, x + (room - _SPACE - width) // 2, image))
        draw.text((x + (room - _SPACE) / 2, bottom + _LINE), plain(label), fill=0, font=font, anchor="mb")
        x += room
    top = bottom - 3 * (height + _FRAME)
    for number, image in enumerate(middle):
        places.append((top + number // 3 * (height + _FRAME), left + number % 3 * (width + _FRAME), image))
    y, x, _ = places[-5]
    draw.rectangle((x - 4, y - 4, x + width + 3, y + height + 3), outline=0, width=2)
    draw.text((left + 1.5 * (width + _FRAME), bottom + _LINE), "result", fill=0, font=font, anchor="mb")
    draw.text((left - _SPACE, top + 1.5 * (height + _FRAME)), "=", fill=0, font=font, anchor="mm")
    pixels = _with_channels(sheet, channels)
    for y, x, image in places:
        pixels[y : y + height, x : x + width] = image
    return pixels


def _with_channels(sheet: Image.Image, channels: int) -> np.ndarray:
    pixels = np.repeat(np.asarray(sheet)[..., None], channels, axis=-1)
    if channels in (2, 4):
        pixels[..., -1] = 255
    return pixels


def plain(text: str) -> str:
    """Replace what Pillow's own font cannot draw: accents are removed, other letters become "?"."""
    letters = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return letters.encode("ascii", "replace").decode()
