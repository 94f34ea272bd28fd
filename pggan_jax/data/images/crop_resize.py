"""Crop and resize an image of any shape to an array of the wanted shape and channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from pggan_jax.data.images.decode import (
    COLOUR_NAMES,
    UnusableImageError,
    colour_channels,
    decoding_errors,
    open_image,
    orientation,
    to_channels,
    upright,
)
from pggan_jax.images import parse_crop

FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}
# Much larger images are first reduced by an integer factor to this many times the wanted size, then by the filter: several
# times faster, and according to Pillow's documentation "almost indistinguishable" from the filter alone.
_REDUCING_GAP = 3.0
# The other filters are fast without, and are chosen for exact means or single pixels.
_REDUCED_FILTERS = ("lanczos", "bicubic", "bilinear")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class TargetFormat:
    """Size, channels and conversion rules of the resulting images.

    Attributes:
        height, width: in pixels.
        channels: 1 grey, 3 RGB, 4 RGBA; other numbers accept grey images (repeated) or arrays of exactly this many channels.
        crop: "center", "none", "pad", "fit" or "LEFT,TOP,WIDTH,HEIGHT", as `data.crop`.
        resample: one of `FILTERS`.
        modes: "convert" or "refuse", as `data.modes`.
        value_range: the 16-bit values that become black and white; None scales all values.
    """

    height: int
    width: int
    channels: int
    crop: str = "center"
    resample: str = "lanczos"
    modes: str = "convert"
    value_range: tuple[int, int] | None = None

    @cached_property
    def window(self) -> tuple[int, int, int, int] | None:
        """The crop window in the upright image as (left, top, right, bottom); None without one."""
        crop = parse_crop(self.crop)
        if isinstance(crop, str):
            return None
        left, top, width, height = crop
        return left, top, left + width, top + height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def crop_and_resize(content: bytes | np.ndarray, target: TargetFormat) -> np.ndarray:
    """Convert one image to the target format.

    First image of an animation, upright, cropped, converted, resized.

    Args:
        content: an encoded file, or uint8 `[height, width, channels]`.
        target: size, channels and conversion rules.

    Returns:
        uint8 `[target.height, target.width, target.channels]`.

    Raises:
        UnusableImageError: damaged, too small, or of a shape or channels that the target refuses.
    """
    shape = (target.height, target.width, target.channels)
    if isinstance(content, np.ndarray) and content.shape == shape:
        return content
    image = open_image(content)
    with decoding_errors():
        placement = find_placement(image, target)
        pixels = np.asarray(_convert(image, placement, target)).reshape(target.height, target.width, -1)
    return pixels if pixels.shape == shape else np.repeat(pixels, target.channels, axis=-1)


@dataclass(frozen=True)
class Placement:
    """How one image is placed in the target.

    Attributes:
        size: width and height of the upright image.
        is_turned: whether it is stored with width and height exchanged.
        box: the part of the upright image that is kept.
        inner: width and height of that part in the target, where it is centred.
    """

    size: tuple[int, int]
    is_turned: bool
    box: Box
    inner: tuple[int, int]


def find_placement(image: Image.Image, target: TargetFormat) -> Placement:
    """Return the placement of an image from its header alone.

    To be called inside `decoding_errors`.

    Raises:
        UnusableImageError: too small, or of a shape or channels that the target refuses.
    """
    channels = colour_channels(image)
    if target.modes == "refuse" and channels != target.channels:
        wanted = COLOUR_NAMES.get(target.channels, f"{target.channels} channels")
        raise UnusableImageError(f"is {COLOUR_NAMES[channels]}, not {wanted}; convert it, or set modes=convert")
    if target.channels not in (1, 3, 4) and channels != 1:
        raise UnusableImageError(f"is {COLOUR_NAMES[channels]}; only grey images can be repeated to {target.channels} channels")
    is_turned = orientation(image) >= 5
    size = image.size[::-1] if is_turned else image.size
    return Placement(size, is_turned, crop_box(*size, target=target), _inner_size(*size, target))


def crop_box(width: int, height: int, *, target: TargetFormat) -> Box:
    """Return the part of an upright image that is kept, as (left, top, right, bottom).

    Raises:
        UnusableImageError: too small, too large, or of a shape that the target refuses.
    """
    if target.crop == "pad" and (width > target.width or height > target.height):
        raise UnusableImageError(f"is {width}x{height}, larger than {target}; crop=pad does not shrink, crop=fit does")
    return (0, 0, width, height) if target.crop in ("pad", "fit") else _filling_box(width, height, target)


def _inner_size(width: int, height: int, target: TargetFormat) -> tuple[int, int]:
    """Return the size of the kept part in the target: all of it, unless it is padded."""
    if target.crop not in ("pad", "fit"):
        return target.width, target.height
    # In integers, so that one side fills the target exactly. Never enlarged.
    if width <= target.width and height <= target.height:
        return width, height
    if width * target.height >= height * target.width:
        return target.width, max(1, (2 * height * target.width + width) // (2 * width))
    return max(1, (2 * width * target.height + height) // (2 * height)), target.height


def _convert(image: Image.Image, placement: Placement, target: TargetFormat) -> Image.Image:
    """Return the image at the size and in the mode of the target; grey if it has no mode."""
    image = _shrink(image, placement, target)
    return image if placement.inner == (target.width, target.height) else _pad(image, target)


def _shrink(image: Image.Image, placement: Placement, target: TargetFormat) -> Image.Image:
    """Return the kept part at its size in the target."""
    scale = _draft(image, placement, target)
    image = _converted(image, target)
    left, top, right, bottom = placement.box
    box = (left * scale, top * scale, right * scale, bottom * scale)
    if (right - left, bottom - top) == placement.inner:
        return image if image.size == placement.inner else image.crop(box)
    gap = _REDUCING_GAP if target.resample in _REDUCED_FILTERS else None
    return image.resize(placement.inner, FILTERS[target.resample], box=box, reducing_gap=gap)


def _converted(image: Image.Image, target: TargetFormat) -> Image.Image:
    return to_channels(upright(image), target.channels if target.channels in (1, 3, 4) else 1, value_range=target.value_range)


def _filling_box(width: int, height: int, target: TargetFormat) -> Box:
    """Return the part of an upright image that fills the target."""
    left, top, right, bottom = target.window or (0, 0, width, height)
    if right > width or bottom > height:
        raise UnusableImageError(f"is {width}x{height}; the crop window {target.crop} exceeds it; use a smaller window")
    width, height = right - left, bottom - top
    if target.crop == "none" and width * target.height != height * target.width:
        raise UnusableImageError(f"is {width}x{height}, another shape than {target}; crop it, or set crop=center")
    scale = min(width / target.width, height / target.height)
    if scale < 1 and target.window:
        raise UnusableImageError(
            f"has {width}x{height} pixels in the crop window {target.crop}, fewer than {target}; use a larger window"
        )
    if scale < 1:
        raise UnusableImageError(f"is {width}x{height}, smaller than {target}; remove it, or set a lower resolution")
    inner_width, inner_height = min(width, round(scale * target.width)), min(height, round(scale * target.height))
    left, top = left + (width - inner_width) // 2, top + (height - inner_height) // 2
    return left, top, left + inner_width, top + inner_height


def _draft(image: Image.Image, placement: Placement, target: TargetFormat) -> float:
    """Let the JPEG decoder omit detail that `_REDUCING_GAP` averages away.

    Return its scale, at most 1.
    """
    if image.format not in ("JPEG", "MPO") or target.resample not in _REDUCED_FILTERS:
        return 1.0
    left, top, right, bottom = placement.box
    factor = _REDUCING_GAP * min(placement.inner[0] / (right - left), placement.inner[1] / (bottom - top))
    width, height = image.size
    drafted = image.draft(None, (int(width * factor) + 1, int(height * factor) + 1))
    # Sizes are rounded up; the box that Pillow returns is exact.
    return drafted[1][2] / width if drafted else 1.0


def _pad(image: Image.Image, target: TargetFormat) -> Image.Image:
    """Return the unscaled image in the middle of black."""
    padded = Image.new(image.mode, (target.width, target.height))
    padded.paste(image, ((target.width - image.width) // 2, (target.height - image.height) // 2))
    return padded
