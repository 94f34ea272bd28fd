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


def tile_of(image: np.ndarray) -> np.ndarray:
    """Scale images by a whole factor: to at least 48 pixels if small, to at most 128 if large.

    Args:
        image: uint8 `[..., height, width, channels]`.
    """
    height, width = image.shape[-3:-1]
    if (factor := _reduction(height, width)) > 1:
        cut = image[..., : height // factor * factor, : width // factor * factor, :]
        small = cut.reshape(*image.shape[:-3], height // factor, factor, width // factor, factor, image.shape[-1])
        return np.rint(small.mean(axis=(-4, -2))).astype(np.uint8)
    return nearest_upscale(image, zoom_of(height, width))


def zoom_of(height: int, width: int) -> int:
    """Return the factor that enlarges small images to at least 48 pixels on their longer side."""
    return max(1, -(-SMALLEST_TILE // max(height, width)))


def tile_shape(height: int, width: int) -> tuple[int, int]:
    """Return the (height, width) of `tile_of` an image."""
    zoom, factor = zoom_of(height, width), _reduction(height, width)
    return height * zoom // factor, width * zoom // factor


def _reduction(height: int, width: int) -> int:
    return -(-max(height, width) // LARGEST_TILE)


def rows_shape(tile: tuple[int, int], labels: Sequence[str], *, columns: int, has_header: bool = True) -> tuple[int, int]:
    """Return the (height, width) of the `labelled_rows` of so many columns.

    Args:
        tile: (height, width) of an image.
        labels: one per row.
        columns: images in a row.
        has_header: whether there is a text above each column.
    """
    left, top, step = _rows_layout(tile[0], labels, has_header=has_header)
    return top + len(labels) * step, left + columns * (tile[1] + _GAP)


def _rows_layout(height: int, labels: Sequence[str], *, has_header: bool) -> tuple[int, int, int]:
    """Return the left and top of the first image, and the height of a row."""
    font = ImageFont.load_default(size=_FONT_SIZE)
    left = 2 * _MARGIN + max(int(font.getlength(line)) + 1 for label in labels for line in plain(label).split("\n"))
    step = max(height + _GAP, max(_LINE * (1 + label.count("\n")) for label in labels) + _GAP)
    return left, _LINE + _MARGIN if has_header else _MARGIN, step


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
    left, top, step = _rows_layout(height, labels, has_header=bool(above))
    size = rows_shape((height, width), labels, columns=columns, has_header=bool(above))
    sheet = Image.new("L", size[::-1], 255)
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


def arithmetic_shape(tile: tuple[int, int], labels: Sequence[str], *, images: Sequence[int]) -> tuple[int, int]:
    """Return the (height, width) of an `arithmetic_sheet`.

    Args:
        tile: (height, width) of an image, as `tile_shape` gives them.
        labels: one per operand.
        images: number of images of each operand.
    """
    height, width = tile
    bottom = _MARGIN + max(3, *images) * (height + _FRAME) + _SPACE
    return bottom + _LINE + _MARGIN, 2 * _MARGIN + sum(_column_widths(width, labels)) + _SPACE + 3 * (width + _FRAME)


def _column_widths(width: int, labels: Sequence[str]) -> list[int]:
    font = ImageFont.load_default(size=_FONT_SIZE)
    return [max(width, int(font.getlength(plain(label))) + 1) + _SPACE for label in labels]


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
    wide = _column_widths(width, labels)
    size = arithmetic_shape((height, width), labels, images=[len(images) for images in columns])
    bottom, left = size[0] - _LINE - _MARGIN, _MARGIN + sum(wide) + _SPACE
    sheet = Image.new("L", size[::-1], 255)
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
