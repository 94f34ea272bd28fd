"""Decode image files and arrays.

Recognise usable images, apply the EXIF orientation, convert colours.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from pggan_jax.system.image_files import FORMATS_IN_WORDS, UNREADABLE_IMAGES, generated_content, open_encoded

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
COLOUR_NAMES = {1: "grey", 2: "grey with transparency", 3: "RGB", 4: "RGBA"}
# A file of a few kilobytes can claim gigabytes of pixels; larger images are not decoded.
MAX_PIXELS = 2**27
# Pixels of one value compress a thousand to one; above this size such files are refused.
_SUSPICIOUS_PIXELS = 2**25
_MAX_PIXELS_PER_BYTE = 250
VALUES_16_BIT = 2**16
_PPM_16_BIT = "pggan_jax deep"  # kept by a rotation, which drops `image.format`
_TILE_TAGS = (322, 323)  # width and height of the tiles of a TIFF

# What Pillow warns about (broken EXIF data, a large image) is harmless or is raised as an error later.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnusableImageError(Exception):
    """An image that cannot be used.

    The message gives reason and remedy, without the image's name.
    """


@contextmanager
def decoding_errors() -> Iterator[None]:
    """Turn every error that Pillow raises on a damaged file into an UnusableImageError."""
    try:
        yield
    except UnusableImageError:
        raise
    except MemoryError:
        raise UnusableImageError("needs more memory to decode than is free; shrink it or remove it") from None
    except Image.UnidentifiedImageError as error:
        raise UnusableImageError(not_image_reason(str(error))) from None
    except Image.DecompressionBombError:
        raise UnusableImageError(f"has more than {MAX_PIXELS:,} pixels; shrink it") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "truncated" in reason.lower():
            raise UnusableImageError("is truncated, its end is missing; copy it again or remove it") from None
        raise UnusableImageError(f"cannot be decoded ({reason}); save it again or remove it") from None


def not_image_reason(kind: str) -> str:
    """Return why a file of the kind that `detect_format` returns is not read, and the remedy."""
    if kind in UNREADABLE_IMAGES:
        return f"is {kind}, which is not supported (only {FORMATS_IN_WORDS}); convert it to PNG or JPEG"
    if kind.startswith("a ") and kind != "a text":
        return f"is {kind}, not an image; remove it or save it as PNG or JPEG"
    return "is not an image; remove it or save it as PNG or JPEG"


def open_image(content: bytes | np.ndarray) -> Image.Image:
    """Open an image; pixels of a file are decoded later, inside `decoding_errors`.

    Args:
        content: an encoded file, or uint8 `[height, width, channels]` with 1 to 4 channels.

    Raises:
        UnusableImageError: not an image, other channels, or more pixels than `MAX_PIXELS`.
    """
    if isinstance(content, np.ndarray):
        if content.shape[-1] not in MODES:
            raise UnusableImageError(
                f"has {content.shape[-1]} channels; only images of 1 to 4 channels can be shown, resized or converted"
            )
        return Image.fromarray(content[..., 0] if content.shape[-1] == 1 else content, MODES[content.shape[-1]])
    if not content:
        raise UnusableImageError("is empty (0 bytes); copy it again or remove it")
    with decoding_errors():
        image = open_encoded(content)
    _refuse_bomb(image, len(content))
    if _is_16_bit_ppm(image):
        image.info[_PPM_16_BIT] = True
    if shown := generated_content(image):
        raise UnusableImageError(f"shows {shown} and was written by this program; move it elsewhere")
    return image


def _refuse_bomb(image: Image.Image, size: int) -> None:
    """Raise an error for a file of `size` bytes whose header states too many pixels."""
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise UnusableImageError(f"has {image.width}x{image.height} pixels, at most {MAX_PIXELS:,} are decoded; shrink it")
    if pixels > _SUSPICIOUS_PIXELS and pixels > _MAX_PIXELS_PER_BYTE * size:
        raise UnusableImageError(
            f"has {image.width}x{image.height} pixels in {size:,} bytes, as only an image of a single colour has; remove it"
        )
    if image.format == "TIFF":
        width, height = (getattr(image, "tag_v2", {}).get(tag, 1) for tag in _TILE_TAGS)
        if not (isinstance(width, int) and isinstance(height, int)) or width * height > MAX_PIXELS:
            raise UnusableImageError(f"is stored in tiles of {width}x{height} pixels, too large to decode; save it again")


def is_animated(image: Image.Image) -> bool:
    """Return whether a file has several images, of which only the first is used.

    Previews in MPO files do not count.
    """
    return image.format != "MPO" and getattr(image, "is_animated", False)


def colour_channels(image: Image.Image) -> int:
    """Return the number of channels: 1 grey, 3 colour, and one more with transparency.

    Raises:
        UnusableImageError: floating-point or 32-bit pixels, whose range is unknown.
    """
    if image.mode == "F" or (image.mode == "I" and not _is_16_bit(image)):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise UnusableImageError(f"has {kind} pixels of unknown range; save it with 8 or 16 bits")
    colours = 1 if image.mode in ("1", "L", "LA", "La") or _is_16_bit(image) else 3
    return int(colours + image.has_transparency_data)


def upright(image: Image.Image) -> Image.Image:
    """Return the image rotated and flipped as its EXIF orientation says."""
    transpose = _TRANSPOSE.get(orientation(image))
    return image.transpose(transpose) if transpose is not None else image


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8.

    1 where there is none. From 5 on, width and height are exchanged.
    """
    if image.format == "TIFF":
        return 1  # Pillow rotates these itself and states their upright size.
    if image.format == "PNG":
        image.load()  # EXIF data may follow the pixels; damaged pixels must raise here.
    try:
        number = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1  # Broken EXIF data may raise any error; the pixels may be intact.
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


def to_channels(image: Image.Image, channels: int, *, value_range: tuple[int, int] | None = None) -> Image.Image:
    """Convert an image to 8-bit grey (1), RGB (3) or RGBA (4).

    Transparent pixels become white unless RGBA is wanted.

    In 16-bit grey the values `value_range` and those beyond become 0 and 255; None scales all 65,536 values.
    """
    mode = MODES[channels]
    if image.mode == mode and not (mode != "RGBA" and image.has_transparency_data):
        return image
    if _is_16_bit(image):
        image = _with_8_bits(image, value_range)
    if mode != "RGBA" and image.has_transparency_data:
        image = image.convert("RGBA")
        # The colour of transparent pixels is arbitrary; a viewer with a white page shows white.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _is_16_bit(image: Image.Image) -> bool:
    """Return whether an image is grey with 16 bits, in either byte order."""
    return image.mode.startswith("I;16") or _is_16_bit_ppm(image)


def _is_16_bit_ppm(image: Image.Image) -> bool:
    """Return whether an image is a PGM of more than 8 bits.

    Pillow opens it with 32 bits, scaled to 0..65535.
    """
    return image.mode == "I" and bool(image.info.get(_PPM_16_BIT, image.format == "PPM"))


def pixels_16_bit(image: Image.Image) -> np.ndarray | None:
    """Return the stored pixels of 16-bit grey, uint16 `[height, width]`.

    None, undecoded, for other images.
    """
    return np.asarray(image).astype(np.uint16) if _is_16_bit(image) else None


def _with_8_bits(image: Image.Image, value_range: tuple[int, int] | None) -> Image.Image:
    """Scale 16-bit grey to 0..255.

    Pillow's own conversion would clip all values above 255 to white.
    """
    pixels = np.asarray(image)
    if value_range is None:
        scaled = (pixels.astype(np.uint32) + 128) // 257
    else:
        low, high = value_range
        scaled = (2 * 255 * (np.clip(pixels, low, high).astype(np.int64) - low) + (high - low)) // (2 * (high - low))
    grey = Image.fromarray(scaled.astype(np.uint8))
    # A PNG may define one value as transparent.
    hidden = image.info.get("transparency")
    if hidden is not None:
        grey.putalpha(Image.fromarray(np.where(pixels == hidden, 0, 255).astype(np.uint8)))
    return grey
