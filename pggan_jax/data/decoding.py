"""Encoded image files and arrays to pictures: what is an image, which way is up, what its colours mean. Knows no folders."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

# Kept in step with what requirements.txt's Pillow reads without extra packages.
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
COLOUR_NAMES = {1: "grey", 2: "grey with transparency", 3: "RGB", 4: "RGBA"}
# A file of a few kilobytes can claim gigabytes of pixels; nothing larger than this is decoded.
MAX_PIXELS = 2**27

# Pillow's own warning comes below that limit, its own error above it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class UnusableImageError(Exception):
    """One image that cannot be used; the message says why and what helps, without the image's name."""


@contextmanager
def decoding_errors() -> Iterator[None]:
    """Turn whatever Pillow raises on a damaged file, which may be nearly anything, into an UnusableImageError."""
    try:
        yield
    except (UnusableImageError, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        raise UnusableImageError("is not an image; remove it or save it as PNG or JPEG") from None
    except Image.DecompressionBombError:
        raise UnusableImageError(f"has more than {MAX_PIXELS:,} pixels; shrink it") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnusableImageError(f"cannot be decoded ({reason}); save it again or remove it") from None


def open_image(content: bytes | np.ndarray) -> Image.Image:
    """A picture, of a file its header alone: pixels are decoded when they are asked for, inside `decoding_errors`.

    Args:
        content: an encoded file, or uint8 `[height, width, channels]` with 1 to 4 channels.

    Raises:
        UnusableImageError: not an image, other channels, or more pixels than `MAX_PIXELS`.
    """
    if isinstance(content, np.ndarray):
        if content.shape[-1] not in MODES:
            raise UnusableImageError(f"has {content.shape[-1]} channels, which cannot be shown or converted")
        return Image.fromarray(content[..., 0] if content.shape[-1] == 1 else content, MODES[content.shape[-1]])
    if not content:
        raise UnusableImageError("is empty (zero bytes); fetch it again or remove it")
    with decoding_errors():
        image = Image.open(io.BytesIO(content))
    if image.width * image.height > MAX_PIXELS:
        raise UnusableImageError(f"has {image.width}x{image.height} pixels; at most {MAX_PIXELS:,} are decoded: shrink it")
    return image


def is_animated(image: Image.Image) -> bool:
    """Whether there are several frames; only the first is ever used."""
    return getattr(image, "n_frames", 1) > 1


def colour_channels(image: Image.Image) -> int:
    """Channels an image has of its own: 1 grey, 2 grey with transparency, 3 colour, 4 colour with transparency.

    Raises:
        UnusableImageError: floating-point pixels, whose range nobody knows.
    """
    if image.mode == "F":
        raise UnusableImageError("has floating-point pixels of unknown range; save it with 8 or 16 bits")
    colours = 1 if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I") else 3
    return colours + image.has_transparency_data


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says."""
    transpose = _TRANSPOSE.get(orientation(image))
    return image.transpose(transpose) if transpose is not None else image


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 where there is none. From 5 on, width and height change places."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Broken EXIF data: the picture may be good all the same.
        return image.getexif().get(_ORIENTATION_TAG, 1)


_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Any image as 8-bit grey (1), RGB (3) or RGBA (4). Transparent pixels are shown over white unless RGBA is wanted."""
    mode = MODES[channels]
    if image.mode == mode and not (mode != "RGBA" and image.has_transparency_data):
        return image
    if image.mode.startswith("I"):
        # 16-bit grey; Pillow's own conversion would clip everything above 255 to white.
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) // 257).astype(np.uint8))
    if mode != "RGBA" and image.has_transparency_data:
        image = image.convert("RGBA")
        # What transparent pixels hide is arbitrary; show what a viewer with a white page shows.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
