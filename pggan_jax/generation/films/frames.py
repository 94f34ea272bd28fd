"""Frames of films: images along a path through the latent space, images in turn, text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pggan_jax.generation.model import Model
from pggan_jax.generation.walks import Loop, Walk
from pggan_jax.images import make_grid, nearest_upscale

LOWEST_HEIGHT = 256
"""Frames of smaller images are enlarged until they are at least so high."""
_LARGEST_WIDTH = 1920
_PROBES = 16
_TEXT_SHARE = 18
_SMALLEST_TEXT, _LARGEST_TEXT = 11, 40
_LONGEST_PART = "0" * 11


def default_zoom(height: int, width: int, *, lowest_width: int = 1) -> int:
    """The smallest factor that makes frames `LOWEST_HEIGHT` high.

    It is smaller where frames would be wider than 1,920 pixels.

    Args:
        height, width: of the images.
        lowest_width: of the frames, for text in them.

    Returns:
        1 or more.
    """
    wanted = max(math.ceil(LOWEST_HEIGHT / height), math.ceil(lowest_width / width))
    return max(1, min(wanted, _LARGEST_WIDTH // width))


def viewable(image: np.ndarray) -> np.ndarray:
    """Return what of an image of any number of channels can be shown.

    Returns:
        `[height, width, 3]`, red, green and blue; `[height, width, 1]`, grey, of an image with fewer channels.
    """
    return image[..., :3] if image.shape[-1] > 2 else image[..., :1]


def walk_frames(model: Model, walk: Walk) -> Iterator[np.ndarray]:
    """Yield the image of each frame of a walk, `[height, width, channels]`."""
    return _images(model, iter(walk))


def loop_frames(model: Model, loop: Loop, *, labels: np.ndarray, columns: int) -> Iterator[np.ndarray]:
    """Yield each frame of closed loops side by side.

    The film begins where the image moves least, out of 16 places around the loop: where it is played again from the start,
    no step is seen.

    Args:
        model: draws the images.
        loop: latents of all loops.
        labels: `[loops, label_size]`.
        columns: loops in a row.
    """
    rows = (
        (latent, label)
        for latents in loop.from_frame(_calmest_frame(model, loop, labels))
        for latent, label in zip(latents, labels, strict=True)
    )
    images = _images(model, rows)
    while tiles := list(islice(images, loop.count)):
        yield make_grid(np.stack(tiles), columns)


def _calmest_frame(model: Model, loop: Loop, labels: np.ndarray) -> int:
    """The frame that differs least from the one before, of some that lie evenly around the loop."""
    probes = sorted({probe * loop.frames // _PROBES for probe in range(_PROBES)})
    pairs = (latents for probe in probes for latents in loop.latents(probe - 1, 2))
    images = _images(model, ((latent, label) for latents in pairs for latent, label in zip(latents, labels, strict=True)))
    steps = []
    for probe in probes:
        before, after = np.split(np.stack(list(islice(images, 2 * loop.count))).astype(np.float32), 2)
        steps.append((float(np.abs(after - before).mean()), probe))
    return min(steps)[1]


def _images(model: Model, rows: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
    """Yield the image of each latent and label; one batch is in memory."""
    while batch := list(islice(rows, model.sampler.small_batch)):
        latents, labels = (np.stack(column) for column in zip(*batch, strict=True))
        yield from model.synthesize(latents, labels)


def show_in_turn(images: Iterable[np.ndarray], count: int, *, frames: int, fps: int) -> Iterator[np.ndarray]:
    """Yield each frame of a film that shows images for equal times, the last for a second.

    Args:
        images: `count` or fewer. Of more images than frames, only some are shown.
        count: how many are expected.
        frames: of the film.
        fps: frames per second.
    """
    last = min(fps, frames // 2) if count > 1 else frames
    shown, moving = 0, frames - last
    image = None
    for number, image in enumerate(images):
        # Frames before this image's end: all but the last share the rest of the film, and the first is always shown.
        end = -(-(number + 1) * moving // max(1, count - 1)) if number < count - 1 else frames
        for _ in range(end - shown):
            yield image
        shown = max(shown, end)
    if image is not None:
        for _ in range(frames - shown):
            yield image


def caption_height(height: int, width: int, parts: int) -> int:
    """Return the height of the band that `add_caption` adds to an image of this size."""
    return math.ceil(1.8 * _text_size(height, width, parts))


def _text_size(height: int, width: int, parts: int) -> int:
    """The same in all frames, whatever they say."""
    size = int(np.clip(height / _TEXT_SHARE, _SMALLEST_TEXT, _LARGEST_TEXT))
    while size > _SMALLEST_TEXT and ImageFont.load_default(size).getlength(_LONGEST_PART) + size > width / parts:
        size -= 1
    return size


def add_caption(image: np.ndarray, parts: Sequence[str]) -> np.ndarray:
    """Return the image with a black band of text below it.

    Args:
        image: uint8 `[height, width, channels]` with 1 or 3 channels.
        parts: of the text, spread evenly so that each keeps its place from frame to frame.
    """
    height, width, channels = image.shape
    size = _text_size(height, width, len(parts))
    band = Image.new("L", (width, caption_height(height, width, len(parts))))
    draw = ImageDraw.Draw(band)
    for number, part in enumerate(parts):
        left = number * width // len(parts) + size // 2
        draw.text((left, band.height / 2), part, fill=255, font=ImageFont.load_default(size), anchor="lm")
    text = np.broadcast_to(np.asarray(band)[..., None], (band.height, width, channels))
    return np.concatenate([image, text])


def enlarge_to(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlarge each pixel to a square as large as fits, and fill up with black."""
    factor = max(1, min(height // image.shape[0], width // image.shape[1]))
    enlarged = nearest_upscale(image, factor)[:height, :width]
    missing = height - enlarged.shape[0], width - enlarged.shape[1]
    return np.pad(enlarged, ((0, missing[0]), (0, missing[1]), (0, 0)))
