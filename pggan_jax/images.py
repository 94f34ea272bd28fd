"""Pixels: uint8 and [-1, 1], nearest up, grids, PNG files. NumPy on the host; knows nothing of networks or runs.

Host images are uint8 `[batch, height, width, channels]` with values 0..255; network images are float `[-1, 1]`.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pggan_jax.image_files import OWN_PICTURE
from pggan_jax.system.files import write_atomically

_MOST_DIGITS = 9


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Network images [-1, 1] to uint8 by round(x*127.5 + 127.5), saturated (spec 7.1). Not-a-number becomes 0."""
    scaled = np.rint(np.asarray(images, np.float32) * 127.5 + 127.5)
    return np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8)


def nearest_upscale(images: np.ndarray, factor: int) -> np.ndarray:
    """Each pixel of `[..., height, width, channels]` becomes a factor x factor block."""
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def grid_size(name: str, resolution: int) -> tuple[int, int]:
    """(columns, rows) of a picture grid (spec 7.1).

    Args:
        name: "1080p", "4k", or columns and rows such as "10x8".
        resolution: side of one image.

    Raises:
        ValueError: `name` is none of these.
    """
    if name == "1080p":
        return int(np.clip(1920 // resolution, 3, 32)), int(np.clip(1080 // resolution, 2, 32))
    if name == "4k":
        return int(np.clip(3840 // resolution, 7, 32)), int(np.clip(2160 // resolution, 4, 32))
    columns, _, rows = name.partition("x")
    is_short = max(len(columns), len(rows)) <= _MOST_DIGITS
    if not (is_short and columns.isdecimal() and rows.isdecimal() and int(columns) and int(rows)):
        raise ValueError(f"grid size {name!r} is neither 1080p, 4k nor columns x rows such as 10x8")
    return int(columns), int(rows)


def parse_crop(text: str) -> str | tuple[int, int, int, int]:
    """How images of other shapes are fitted: "center", "none", "pad", "fit", or a window (left, top, width, height) in pixels.

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
    """Which values of images with 16 bits become black and white: "full", "auto", or (lowest, highest).

    Raises:
        ValueError: `text` is none of these.
    """
    if text in ("full", "auto"):
        return text
    parts = [part.strip() for part in text.split(",")]
    # Longer numbers are too large anyway.
    numbers = [int(part) for part in parts if part.isascii() and part.isdecimal() and len(part) <= 5]
    if len(parts) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1] <= 65535:
        raise ValueError("must be full, auto, or LOW,HIGH with 0 <= LOW < HIGH <= 65535, such as 0,4095")
    return numbers[0], numbers[1]


def make_grid(images: np.ndarray, columns: int, *, gap: int = 0) -> np.ndarray:
    """Tile uint8 images `[batch, height, width, channels]` row by row into one picture.

    Args:
        images: the tiles. A last row that is not full is filled with black.
        columns: tiles in a row.
        gap: black pixels after each tile, to the right and below.

    Returns:
        `[rows*(height+gap), columns*(width+gap), channels]`.
    """
    batch, height, width, channels = images.shape
    rows = -(-batch // columns)
    padded = np.zeros((rows * columns, height + gap, width + gap, channels), np.uint8)
    padded[:batch, :height, :width] = images
    tiles = padded.reshape(rows, columns, height + gap, width + gap, channels).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(rows * (height + gap), columns * (width + gap), channels)


def encode_png(image: np.ndarray, *, holds: str = "") -> bytes:
    """A uint8 picture `[height, width, channels]` as PNG.

    1, 2, 3 or 4 channels are grey, grey+alpha, RGB, RGBA; of more, the first 3 are shown. A picture that `holds` several images
    says so in a text chunk, by which it is told from images to train on.
    """
    channels = image.shape[-1]
    if channels == 1:
        image = image[..., 0]
    elif channels > 4:
        image = image[..., :3]
    buffer = io.BytesIO()
    info = PngInfo()
    if holds:
        info.add_text(OWN_PICTURE, holds)
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def write_png(path: str | os.PathLike, image: np.ndarray, *, holds: str = "") -> None:
    """Write a uint8 picture as PNG; a reader never sees half a file. `holds` as in `encode_png`."""
    write_atomically(Path(path), encode_png(image, holds=holds))
