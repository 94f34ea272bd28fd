"""One encoded image file to one square uint8 array: orientation, colour, centre crop, size. Knows no folders, no levels."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

# Kept in step with what requirements.txt's Pillow reads without extra packages.
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class UnusableImageError(Exception):
    """One image that cannot be used; the message says why."""


def decode_image(file: Path | BinaryIO, *, resolution: int, channels: int) -> np.ndarray:
    """Decode the first frame, turn it upright, crop the central square and downsize it.

    Args:
        file: path or open binary file.
        resolution: side of the result in pixels.
        channels: 1 for luminance, 3 for RGB (transparent pixels over white), 4 for RGBA.

    Returns:
        uint8 `[resolution, resolution, channels]`.

    Raises:
        UnusableImageError: not an image, damaged, smaller than the resolution, or of unknown brightness range.
    """
    try:
        with Image.open(file) as image:
            width, height = image.size
            # Before decoding: the header says enough, and small images are the commonest reason.
            if min(width, height) < resolution:
                raise UnusableImageError(f"{width}x{height} is smaller than {resolution}x{resolution}")
            upright = _to_mode(ImageOps.exif_transpose(image), MODES[channels])
    except (UnusableImageError, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        raise UnusableImageError("is not an image") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files, SyntaxError included.
        raise UnusableImageError(f"cannot be decoded ({type(error).__name__}: {error})") from None
    width, height = upright.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    # reducing_gap: whole-number box reduction first, then Lanczos; as good to the eye and several times faster.
    square = upright.resize(
        (resolution, resolution), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side), reducing_gap=3.0
    )
    return np.asarray(square).reshape(resolution, resolution, channels)


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Any Pillow mode as L, RGB or RGBA."""
    if image.mode == "F":
        raise UnusableImageError("has floating-point pixels of unknown range")
    if image.mode.startswith("I"):
        # 16-bit grey; Pillow's own conversion would clip everything above 255 to white.
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) // 257).astype(np.uint8))
    if mode != "RGBA" and image.has_transparency_data:
        image = image.convert("RGBA")
        # What transparent pixels hide is arbitrary; show what a viewer with a white page shows.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
