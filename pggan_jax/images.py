"""Host images in NumPy: conversion from [-1, 1] to uint8, upscaling, grids, PNG files.

Host images are uint8 `[batch, height, width, channels]` with values 0..255; network images are float `[-1, 1]`.
"""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pggan_jax.system.files import write_atomically
from pggan_jax.system.image_files import GENERATED_MARK

BASE_SHAPE = (4, 4)
"""Height and width of the first level, unless `data.base_shape` says otherwise."""
LEAST_BASE_PIXELS, MOST_BASE_PIXELS = 8, 64
_MOST_DIGITS = 9


@dataclass(frozen=True)
class ImageShape:
    """Shape of the images of one level. Printed as HEIGHTxWIDTH, such as 6x8.

    Attributes:
        resolution: nominal resolution, 4*2^k: the key of the level in settings, as if the first one were 4x4.
        height, width: in pixels, the base shape doubled k times.
    """

    resolution: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Pixels of one image."""
        return self.height * self.width

    @property
    def is_nominal(self) -> bool:
        """Whether height and width are the nominal resolution, as with the base shape 4x4."""
        return self.height == self.width == self.resolution

    @property
    def label(self) -> str:
        """Such as 32 where that is height and width, else such as 24x32."""
        return str(self.resolution) if self.is_nominal else str(self)

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


def image_shape(resolution: int, base_shape: tuple[int, int] = BASE_SHAPE) -> ImageShape:
    """Return the shape of a level, 4*2^k: the base shape (height, width), doubled k times."""
    return ImageShape(resolution, resolution * base_shape[0] // 4, resolution * base_shape[1] // 4)


def parse_base_shape(text: str) -> tuple[int, int]:
    """Parse `data.base_shape`, such as "3x4", to (height, width).

    Raises:
        ValueError: `text` has another form, or too few or too many pixels.
    """
    height, cross, width = text.partition("x")
    is_short = max(len(height), len(width)) <= _MOST_DIGITS
    numbers = (int(height), int(width)) if is_short and _is_number(height) and _is_number(width) else (0, 0)
    if not cross or not LEAST_BASE_PIXELS <= numbers[0] * numbers[1] <= MOST_BASE_PIXELS:
        raise ValueError(
            f"must be HEIGHTxWIDTH with {LEAST_BASE_PIXELS} to {MOST_BASE_PIXELS} pixels in all, such as 4x4, 3x4 or 2x16"
        )
    return numbers


def fitting_base(height: int, width: int) -> tuple[str, int] | None:
    """Return base shape (text) and resolution that give images of that size; None if none do.

    Of several base shapes it is that with about 16 pixels, like 4x4.
    """
    found, factor = [], 1
    while not (height % factor or width % factor):
        pixels = (height // factor) * (width // factor)
        if LEAST_BASE_PIXELS <= pixels <= MOST_BASE_PIXELS:
            found.append((abs(math.log2(pixels / 16)), factor))
        factor *= 2
    if not found:
        return None
    _, factor = min(found)
    return f"{height // factor}x{width // factor}", 4 * factor


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


@dataclass(frozen=True)
class ImageSpec:
    """What the networks have to know of the data.

    Attributes:
        height: of the images at full resolution, in pixels.
        width: as above.
        channels: colour channels.
        label_size: length of the one-hot labels, 0 for none.
    """

    height: int
    width: int
    channels: int
    label_size: int = 0


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Convert network images [-1, 1] to uint8 by round(x*127.5 + 127.5), clipped (spec 7.1).

    NaN becomes 0.
    """
    scaled = np.rint(np.asarray(images, np.float32) * 127.5 + 127.5)
    return np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8)


def nearest_upscale(images: np.ndarray, factor: int) -> np.ndarray:
    """Repeat each pixel of `[..., height, width, channels]` to a block of `factor` x `factor`."""
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def grid_size(name: str, *, height: int, width: int) -> tuple[int, int]:
    """Return (columns, rows) of an image grid (spec 7.1).

    Args:
        name: "1080p", "4k", or columns and rows such as "10x8".
        height, width: of one image, in pixels.

    Raises:
        ValueError: `name` is none of these.
    """
    if name == "1080p":
        return int(np.clip(1920 // width, 3, 32)), int(np.clip(1080 // height, 2, 32))
    if name == "4k":
        return int(np.clip(3840 // width, 7, 32)), int(np.clip(2160 // height, 4, 32))
    try:
        return parse_columns_rows(name)
    except ValueError:
        raise ValueError(f"grid size is {name!r}, must be 1080p, 4k, or COLUMNSxROWS such as 10x8") from None


def parse_columns_rows(text: str) -> tuple[int, int]:
    """Parse the size of an image grid, COLUMNSxROWS such as "10x8", to (columns, rows).

    Raises:
        ValueError: `text` has another form, or a number is 0.
    """
    columns, _, rows = text.partition("x")
    is_short = max(len(columns), len(rows)) <= _MOST_DIGITS
    if not (is_short and _is_number(columns) and _is_number(rows) and int(columns) and int(rows)):
        raise ValueError(f"grid size is {text!r}, must be COLUMNSxROWS such as 10x8")
    return int(columns), int(rows)


def parse_crop(text: str) -> str | tuple[int, int, int, int]:
    """Parse `data.crop`: a word, or a window (left, top, width, height) in pixels.

    The words are "center", "none", "pad" and "fit".

    Raises:
        ValueError: `text` is none of these.
    """
    if text in ("center", "none", "pad", "fit"):
        return text
    parts = text.split(",")
    numbers = tuple(int(part) for part in parts if part.strip().isdecimal() and len(part) <= _MOST_DIGITS)
    if len(parts) != 4 or len(numbers) != 4 or not (numbers[2] and numbers[3]):
        raise ValueError("must be center, none, pad, fit, or a window LEFT,TOP,WIDTH,HEIGHT in pixels, such as 25,57,128,128")
    return numbers


def parse_range(text: str) -> str | tuple[int, int]:
    """Parse `data.range`, the 16-bit values that become black and white.

        Returns:
        "full", "auto", or (lowest, highest).

    Raises:
        ValueError: `text` is none of these.
    """
    if text in ("full", "auto"):
        return text
    parts = [part.strip() for part in text.split(",")]
    # Longer numbers are out of range.
    numbers = [int(part) for part in parts if part.isascii() and part.isdecimal() and len(part) <= 5]
    if len(parts) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1] <= 65535:
        raise ValueError("must be full, auto, or LOW,HIGH with 0 <= LOW < HIGH <= 65535, such as 0,4095")
    return numbers[0], numbers[1]


def make_grid(images: np.ndarray, columns: int = 0, *, gap: int = 0) -> np.ndarray:
    """Tile uint8 images `[batch, height, width, channels]` row by row into one image.

    Args:
        images: the tiles; an incomplete last row is filled with black.
        columns: tiles in a row; 0 makes the grid about square.
        gap: black pixels after each tile, to the right and below.

    Returns:
        `[rows*(height+gap), columns*(width+gap), channels]`.
    """
    batch, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(batch))
    rows = -(-batch // columns)
    padded = np.zeros((rows * columns, height + gap, width + gap, channels), np.uint8)
    padded[:batch, :height, :width] = images
    tiles = padded.reshape(rows, columns, height + gap, width + gap, channels).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(rows * (height + gap), columns * (width + gap), channels)


def as_pillow(image: np.ndarray) -> Image.Image:
    """Return a uint8 image `[height, width, channels]` as one of Pillow.

    1, 2, 3 or 4 channels are grey, grey+alpha, RGB, RGBA; of more, the first 3 are used.
    """
    channels = image.shape[-1]
    pixels = image[..., 0] if channels == 1 else image if channels <= 4 else image[..., :3]
    return Image.fromarray(np.ascontiguousarray(pixels))


def encode_png(image: np.ndarray, *, holds: str = "") -> bytes:
    """Encode a uint8 image `[height, width, channels]` as PNG.

    Args:
        image: as `as_pillow` takes it.
        holds: what an image made of several ones shows, such as "several images"; stored in a text chunk that excludes the file
            from training.
    """
    buffer = io.BytesIO()
    info = PngInfo()
    if holds:
        info.add_text(GENERATED_MARK, holds)
    as_pillow(image).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def write_png(path: str | os.PathLike, image: np.ndarray, *, holds: str = "") -> None:
    """Write a uint8 image as PNG, atomically; arguments as of `encode_png`."""
    write_atomically(Path(path), encode_png(image, holds=holds))
