"""The specification of a preparation.

Which images, in which order, cropped how, at which resolutions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pggan_jax.config import DataConfig
from pggan_jax.data.images.crop_resize import TargetFormat
from pggan_jax.data.pyramid import level_shapes
from pggan_jax.data.sources.source import Source
from pggan_jax.errors import UserError
from pggan_jax.images import BASE_SHAPE, parse_base_shape, parse_range


@dataclass(frozen=True)
class PreparationSpec:
    """All that determines the prepared bytes besides the source.

    Fields not listed are as in `DataConfig`.

    Attributes:
        resolution: nominal resolution of the largest level, 4*2^k.
        base_shape: (height, width) of the first level.
        channels: 0 takes the source's own.
        range: "full", "auto" or "LOW,HIGH", as `data.range`.
        copies_mirrored: store the mirror image after each image.
    """

    resolution: int
    base_shape: tuple[int, int] = BASE_SHAPE
    channels: int = 0
    crop: str = "center"
    resample: str = "lanczos"
    modes: str = "convert"
    max_images: int = 0
    shuffle_seed: int = -1
    copies_mirrored: bool = False
    range: str = "full"

    @classmethod
    def from_config(cls, data: DataConfig) -> PreparationSpec:
        """Take the fields from the data section of a configuration."""
        shared = ("resolution", "channels", "crop", "resample", "modes", "range", "max_images", "shuffle_seed")
        return cls(base_shape=parse_base_shape(data.base_shape), **{name: getattr(data, name) for name in shared})

    def for_source(self, source: Source) -> PreparationSpec:
        """Return the specification with the number of channels filled in.

        Raises:
            UserError: the source cannot give so many channels.
        """
        channels = self.channels or source.channels
        # Grey can be repeated; all else converts only between grey, RGB and RGBA.
        if channels not in (1, 3, 4) and source.channels not in (1, channels):
            raise UserError(
                f"channels = {channels}: {source.name} gives 1 (grey), 3 (RGB) or 4 (RGBA); 0 takes its own {source.channels}"
            )
        return replace(self, channels=channels)

    @property
    def shapes(self) -> dict[int, tuple[int, int]]:
        """(height, width) by nominal resolution, largest first."""
        return level_shapes(self.resolution, self.base_shape)

    @property
    def target(self) -> TargetFormat:
        """The format of every prepared image.

        `range="auto"` gives the full range (see `pixel_range.resolve_range`).
        """
        height, width = self.shapes[self.resolution]
        value_range = parse_range(self.range)
        numbers = None if isinstance(value_range, str) else value_range
        return TargetFormat(height, width, self.channels, self.crop, self.resample, self.modes, numbers)

    @property
    def rows_per_image(self) -> int:
        """Rows of the arrays that one image fills: 1, or 2 with its mirror image."""
        return 2 if self.copies_mirrored else 1

    @property
    def bytes_per_row(self) -> int:
        """Bytes of the pixels of all levels, and of the label."""
        return sum(height * width * self.channels for height, width in self.shapes.values()) + np.int32().nbytes

    def count(self, images: int) -> int:
        """Return how many of `images` images are used."""
        return min(images, self.max_images or images)

    def order(self, images: int) -> np.ndarray:
        """Return the int64 numbers of the images used, in the order of storage.

        A shuffled order equals that of the authors' dataset tool (spec 4.1).
        """
        if self.shuffle_seed < 0:
            return np.arange(self.count(images))
        order = np.arange(images)
        np.random.RandomState(self.shuffle_seed).shuffle(order)
        return order[: self.count(images)]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object.

        `range` is omitted where it is "full", so that folders of earlier versions keep their key.
        """
        known = asdict(self) | {"base_shape": list(self.base_shape)}
        if self.range == "full":
            del known["range"]
        return known
