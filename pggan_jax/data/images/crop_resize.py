"""Pictures of any shape into arrays of one shape: crop, shrink, channels. Knows one image at a time, and no sources."""

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
# Much larger images are first reduced by whole numbers to this many times the wanted size, then by the filter: several times
# faster, and Pillow's documentation calls the result "almost indistinguishable" from the filter alone.
_REDUCING_GAP = 3.0
# The other filters are fast without, and exact means or single pixels are the reason to choose them.
_REDUCED_FILTERS = ("lanczos", "bicubic", "bilinear")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Frame:
    """What every image is made into.

    Attributes:
        height, width: in pixels.
        channels: 1 grey, 3 RGB, 4 RGBA; other numbers take grey images (repeated) or arrays of just so many channels.
        crop: "center", "none", "pad", "fit" or "LEFT,TOP,WIDTH,HEIGHT", as `data.crop`.
        resample: one of `FILTERS`.
        modes: "convert" or "refuse", as `data.modes`.
        levels: the 16-bit values that become black and white; None scales all of them.
    """

    height: int
    width: int
    channels: int
    crop: str = "center"
    resample: str = "lanczos"
    modes: str = "convert"
    levels: tuple[int, int] | None = None

    @cached_property
    def window(self) -> tuple[int, int, int, int] | None:
        """The part of the upright image that `crop` names, as (left, top, right, bottom); None without one."""
        crop = parse_crop(self.crop)
        if isinstance(crop, str):
            return None
        left, top, width, height = crop
        return left, top, left + width, top + height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def fit(content: bytes | np.ndarray, frame: Frame) -> np.ndarray:
    """One image in the frame: first picture of an animation, turned upright, cropped, its channels converted, shrunk.

    Args:
        content: an encoded file, or uint8 `[height, width, channels]`.
        frame: what to make of it.

    Returns:
        uint8 `[frame.height, frame.width, frame.channels]`.

    Raises:
        UnusableImageError: damaged, too small, or of a shape or channels that the frame refuses.
    """
    shape = (frame.height, frame.width, frame.channels)
    if isinstance(content, np.ndarray) and content.shape == shape:
        return content
    image = open_image(content)
    with decoding_errors():
        place = find_place(image, frame)
        pixels = np.asarray(_put(image, place, frame)).reshape(frame.height, frame.width, -1)
    return pixels if pixels.shape == shape else np.repeat(pixels, frame.channels, axis=-1)


@dataclass(frozen=True)
class Place:
    """How one image goes into a frame.

    Attributes:
        size: width and height of the upright image.
        is_turned: whether it is stored with width and height exchanged.
        box: the part of the upright image that is kept.
        inner: width and height that it gets, in the middle of the frame.
    """

    size: tuple[int, int]
    is_turned: bool
    box: Box
    inner: tuple[int, int]


def find_place(image: Image.Image, frame: Frame) -> Place:
    """Whether and how an image fits, from its header alone. To be called inside `decoding_errors`.

    Raises:
        UnusableImageError: too small, or of a shape or channels that the frame refuses.
    """
    channels = colour_channels(image)
    if frame.modes == "refuse" and channels != frame.channels:
        wanted = COLOUR_NAMES.get(frame.channels, f"{frame.channels} channels")
        raise UnusableImageError(f"is {COLOUR_NAMES[channels]}, not {wanted}; convert it, or allow modes=convert")
    if frame.channels not in (1, 3, 4) and channels != 1:
        raise UnusableImageError(f"is {COLOUR_NAMES[channels]}; only grey images can be given {frame.channels} channels")
    is_turned = orientation(image) >= 5
    size = image.size[::-1] if is_turned else image.size
    return Place(size, is_turned, kept_box(*size, frame), _inner_size(*size, frame))


def kept_box(width: int, height: int, frame: Frame) -> Box:
    """The part of an upright image of that size which a frame shows, as (left, top, right, bottom).

    Raises:
        UnusableImageError: too small, too large, or of another shape than the frame takes.
    """
    if frame.crop == "pad" and (width > frame.width or height > frame.height):
        raise UnusableImageError(f"is {width}x{height}, larger than {frame}; crop=pad never shrinks, crop=fit does")
    return (0, 0, width, height) if frame.crop in ("pad", "fit") else _crop_box(width, height, frame)


def _inner_size(width: int, height: int, frame: Frame) -> tuple[int, int]:
    """The size that the kept part of an image gets: the frame's, unless it is padded."""
    if frame.crop not in ("pad", "fit"):
        return frame.width, frame.height
    # In whole numbers, so that one side fills the frame exactly. Never enlarged.
    if width <= frame.width and height <= frame.height:
        return width, height
    if width * frame.height >= height * frame.width:
        return frame.width, max(1, (2 * height * frame.width + width) // (2 * width))
    return max(1, (2 * width * frame.height + height) // (2 * height)), frame.height


def _put(image: Image.Image, place: Place, frame: Frame) -> Image.Image:
    """The picture at the frame's size in its mode (grey where the frame has no mode of its own)."""
    image = _shrink(image, place, frame)
    return image if place.inner == (frame.width, frame.height) else _pad(image, frame)


def _shrink(image: Image.Image, place: Place, frame: Frame) -> Image.Image:
    """The kept part at its size in the frame."""
    scale = _draft(image, place, frame)
    image = _converted(image, frame)
    left, top, right, bottom = place.box
    box = (left * scale, top * scale, right * scale, bottom * scale)
    if (right - left, bottom - top) == place.inner:
        return image if image.size == place.inner else image.crop(box)
    gap = _REDUCING_GAP if frame.resample in _REDUCED_FILTERS else None
    return image.resize(place.inner, FILTERS[frame.resample], box=box, reducing_gap=gap)


def _converted(image: Image.Image, frame: Frame) -> Image.Image:
    return to_channels(upright(image), frame.channels if frame.channels in (1, 3, 4) else 1, levels=frame.levels)


def _crop_box(width: int, height: int, frame: Frame) -> Box:
    """The part of an upright image that fills the frame."""
    left, top, right, bottom = frame.window or (0, 0, width, height)
    if right > width or bottom > height:
        raise UnusableImageError(f"is {width}x{height}; the crop {frame.crop} does not lie inside it")
    width, height = right - left, bottom - top
    if frame.crop == "none" and width * frame.height != height * frame.width:
        raise UnusableImageError(f"is {width}x{height}, another shape than {frame}; crop it, or take crop=center")
    scale = min(width / frame.width, height / frame.height)
    if scale < 1 and frame.window:
        raise UnusableImageError(f"leaves {width}x{height} of crop {frame.crop}, smaller than {frame}; take a larger crop")
    if scale < 1:
        raise UnusableImageError(f"is {width}x{height}, smaller than {frame}; remove it, or take a lower resolution")
    inner_width, inner_height = min(width, round(scale * frame.width)), min(height, round(scale * frame.height))
    left, top = left + (width - inner_width) // 2, top + (height - inner_height) // 2
    return left, top, left + inner_width, top + inner_height


def _draft(image: Image.Image, place: Place, frame: Frame) -> float:
    """Let a JPEG decoder leave out detail that `_REDUCING_GAP` would average away; the scale that it decodes at, at most 1."""
    if image.format not in ("JPEG", "MPO") or frame.resample not in _REDUCED_FILTERS:
        return 1.0
    left, top, right, bottom = place.box
    factor = _REDUCING_GAP * min(place.inner[0] / (right - left), place.inner[1] / (bottom - top))
    width, height = image.size
    drafted = image.draft(None, (int(width * factor) + 1, int(height * factor) + 1))
    # Sizes are rounded up; the box that Pillow returns is exact.
    return drafted[1][2] / width if drafted else 1.0


def _pad(image: Image.Image, frame: Frame) -> Image.Image:
    """The unscaled image in the middle of black."""
    padded = Image.new(image.mode, (frame.width, frame.height))
    padded.paste(image, ((frame.width - image.width) // 2, (frame.height - image.height) // 2))
    return padded
