"""Images that `project` reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.generation.model import Model


def names_of(paths: Sequence[str], *, taken: str) -> list[str]:
    """Return the names of the results: those of the files, without suffix.

    Raises:
        UserError: two are equal, or one is `taken`.
    """
    names = [Path(path).stem for path in paths]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise UserError(f"{count} images have the name {name}, and results are named by it; rename one of them")
    if taken in names:
        raise UserError(f"{paths[names.index(taken)]}: {taken}.png is the name of the comparison; rename the image")
    return names


def read_file(path: str) -> bytes:
    """Return the content of an image file.

    Raises:
        UserError: it cannot be read, or is no image.
    """
    from pggan_jax.data.images.decode import UnusableImageError, open_image

    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder; name image files, such as {path.rstrip('/')}/*.png")
    try:
        content = Path(path).read_bytes()
        open_image(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); name image files") from None
    except UnusableImageError as error:
        raise UserError(f"{path}: {error}") from None
    return content


def read_pixels(path: str, content: bytes, model: Model, *, fit: bool) -> np.ndarray:
    """Return the pixels of an image in the model's shape, uint8 `[height, width, channels]`.

    Raises:
        UserError: the image is damaged, or has another shape and `fit` is false.
    """
    from PIL import Image, ImageOps

    from pggan_jax.data.images.decode import (
        MODES,
        UnusableImageError,
        colour_channels,
        decoding_errors,
        open_image,
        to_channels,
        upright,
    )

    height, width, channels = model.shape
    if channels not in MODES:
        raise UserError(f"{model.name}: makes images of {channels} channels; only those of 1 to 4 channels can be projected")
    try:
        image = open_image(content)
        with decoding_errors():
            colour_channels(image)
            image = to_channels(upright(image), channels)
            if image.size != (width, height) and fit:
                image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
            pixels = np.asarray(image).reshape(image.height, image.width, channels)
    except UnusableImageError as error:
        raise UserError(f"{path}: {error}") from None
    if pixels.shape[:2] != (height, width):
        raise UserError(
            f"{path}: is {image.height}x{image.width} (height x width), and {model.name} makes {height}x{width}; "
            "add --fit to crop and resize it"
        )
    return pixels
