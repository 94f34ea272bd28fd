"""Encoded image files and arrays to pictures: what is an image, which way is up, what its colours mean. Knows no folders."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from pggan_jax.image_files import FORMATS_IN_WORDS, OWN_PICTURE, UNREADABLE_IMAGES, open_encoded

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
COLOUR_NAMES = {1: "grey", 2: "grey with transparency", 3: "RGB", 4: "RGBA"}
# A file of a few kilobytes can claim gigabytes of pixels; nothing larger than this is decoded.
MAX_PIXELS = 2**27
# Pixels of one value pack a thousand to one. Above this size such a file holds nothing but a burden.
_PIXELS_TO_DOUBT = 2**25
_MOST_PIXELS_PER_BYTE = 250
DEEP_VALUES = 2**16
_DEEP_PPM = "pggan_jax deep"  # survives a turn, which the format does not
_TILE_TAGS = (322, 323)  # width and height of the parts of a TIFF

# What Pillow warns of (broken EXIF data, a large picture) either does no harm or comes back as an error.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnusableImageError(Exception):
    """One image that cannot be used; the message says why and what helps, without the image's name."""


@contextmanager
def decoding_errors() -> Iterator[None]:
    """Turn whatever Pillow raises on a damaged file, which may be nearly anything, into an UnusableImageError."""
    try:
        yield
    except UnusableImageError:
        raise
    except MemoryError:
        raise UnusableImageError("takes more memory to decode than there is; shrink it or remove it") from None
    except Image.UnidentifiedImageError as error:
        raise UnusableImageError(no_image(str(error))) from None
    except Image.DecompressionBombError:
        raise UnusableImageError(f"has more than {MAX_PIXELS:,} pixels; shrink it") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "truncated" in reason.lower():
            raise UnusableImageError("is truncated, its end is missing; fetch it again or remove it") from None
        raise UnusableImageError(f"cannot be decoded ({reason}); save it again or remove it") from None


def no_image(kind: str) -> str:
    """Why a file of this kind, as `recognise` has it, is not read, and what helps."""
    if kind in UNREADABLE_IMAGES:
        return f"is {kind}, which is not read (only {FORMATS_IN_WORDS} are); convert it to PNG or JPEG"
    if kind.startswith("a ") and kind != "a text":
        return f"is {kind}, not an image; remove it or save it as PNG or JPEG"
    return "is not an image; remove it or save it as PNG or JPEG"


def open_image(content: bytes | np.ndarray) -> Image.Image:
    """A picture, of a file its header alone: pixels are decoded when they are asked for, inside `decoding_errors`.

    Args:
        content: an encoded file, or uint8 `[height, width, channels]` with 1 to 4 channels.

    Raises:
        UnusableImageError: not an image, other channels, or more pixels than `MAX_PIXELS`.
    """
    if isinstance(content, np.ndarray):
        if content.shape[-1] not in MODES:
            raise UnusableImageError(f"has {content.shape[-1]} channels; only 1 to 4 can be shown, resized or converted")
        return Image.fromarray(content[..., 0] if content.shape[-1] == 1 else content, MODES[content.shape[-1]])
    if not content:
        raise UnusableImageError("is empty (zero bytes); fetch it again or remove it")
    with decoding_errors():
        image = open_encoded(content)
    _refuse_bomb(image, len(content))
    if _is_deep_ppm(image):
        image.info[_DEEP_PPM] = True
    if OWN_PICTURE in image.info:
        raise UnusableImageError(f"is a picture of {image.info[OWN_PICTURE]}, written by this program; move it elsewhere")
    return image


def _refuse_bomb(image: Image.Image, size: int) -> None:
    """Refuse a file of `size` bytes whose header promises more than is decoded."""
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise UnusableImageError(f"has {image.width}x{image.height} pixels; at most {MAX_PIXELS:,} are decoded: shrink it")
    if pixels > _PIXELS_TO_DOUBT and pixels > _MOST_PIXELS_PER_BYTE * size:
        raise UnusableImageError(
            f"has {image.width}x{image.height} pixels in {size:,} bytes, nothing but a single colour, or a trap; remove it"
        )
    if image.format == "TIFF":
        width, height = (getattr(image, "tag_v2", {}).get(tag, 1) for tag in _TILE_TAGS)
        if not (isinstance(width, int) and isinstance(height, int)) or width * height > MAX_PIXELS:
            raise UnusableImageError(f"is stored in parts of {width}x{height} pixels, too large to decode; save it again")


def is_animated(image: Image.Image) -> bool:
    """Whether there are several pictures, of which only the first is ever used; the previews in a camera's MPO do not count."""
    return image.format != "MPO" and getattr(image, "is_animated", False)


def colour_channels(image: Image.Image) -> int:
    """Channels an image has of its own: 1 grey, 2 grey with transparency, 3 colour, 4 colour with transparency.

    Raises:
        UnusableImageError: floating-point or 32-bit pixels, whose range nobody knows.
    """
    if image.mode == "F" or (image.mode == "I" and not _is_deep(image)):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise UnusableImageError(f"has {kind} pixels of unknown range; save it with 8 or 16 bits")
    colours = 1 if image.mode in ("1", "L", "LA", "La") or _is_deep(image) else 3
    return int(colours + image.has_transparency_data)


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says."""
    transpose = _TRANSPOSE.get(orientation(image))
    return image.transpose(transpose) if transpose is not None else image


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 where there is none. From 5 on, width and height change places."""
    if image.format == "TIFF":
        return 1  # Pillow turns these by itself, and tells their upright size before.
    if image.format == "PNG":
        image.load()  # EXIF data may follow the pixels. Damaged pixels are told here, not taken for broken EXIF data.
    try:
        number = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1  # Broken EXIF data may raise nearly anything; the picture may be good all the same.
    return number if number in range(1, 9) else 1


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


def to_channels(image: Image.Image, channels: int, *, levels: tuple[int, int] | None = None) -> Image.Image:
    """Any image as 8-bit grey (1), RGB (3) or RGBA (4). Transparent pixels are shown over white unless RGBA is wanted.

    Of 16-bit grey the values `levels` become 0 and 255, and what lies beyond them, too; None scales all 65,536 values.
    """
    mode = MODES[channels]
    if image.mode == mode and not (mode != "RGBA" and image.has_transparency_data):
        return image
    if _is_deep(image):
        image = _with_8_bits(image, levels)
    if mode != "RGBA" and image.has_transparency_data:
        image = image.convert("RGBA")
        # What transparent pixels hide is arbitrary; show what a viewer with a white page shows.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _is_deep(image: Image.Image) -> bool:
    """Whether it is grey with 16 bits, of either byte order."""
    return image.mode.startswith("I;16") or _is_deep_ppm(image)


def _is_deep_ppm(image: Image.Image) -> bool:
    """Pillow opens a PGM of more than 8 bits with 32 and scales it to 0..65535."""
    return image.mode == "I" and bool(image.info.get(_DEEP_PPM, image.format == "PPM"))


def deep_pixels(image: Image.Image) -> np.ndarray | None:
    """uint16 `[height, width]` of grey with 16 bits, as it is stored; None of other images, whose pixels are not decoded."""
    return np.asarray(image).astype(np.uint16) if _is_deep(image) else None


def _with_8_bits(image: Image.Image, levels: tuple[int, int] | None) -> Image.Image:
    """16-bit grey scaled to 0..255; Pillow's own conversion would clip everything above 255 to white."""
    pixels = np.asarray(image)
    if levels is None:
        scaled = (pixels.astype(np.uint32) + 128) // 257
    else:
        low, high = levels
        scaled = (2 * 255 * (np.clip(pixels, low, high).astype(np.int64) - low) + (high - low)) // (2 * (high - low))
    grey = Image.fromarray(scaled.astype(np.uint8))
    # A PNG may name one value that stands for transparent pixels.
    hidden = image.info.get("transparency")
    if hidden is not None:
        grey.putalpha(Image.fromarray(np.where(pixels == hidden, 0, 255).astype(np.uint8)))
    return grey
