"""How a collection becomes a data set: which images, in which order, fitted how, at which resolutions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pggan_jax.config import DataConfig
from pggan_jax.data.images.crop_resize import Frame
from pggan_jax.data.levels import BASE_SHAPE, level_shapes
from pggan_jax.data.sources.open_source import Source
from pggan_jax.errors import UserError
from pggan_jax.images import parse_range


@dataclass(frozen=True)
class Preparation:
    """All that determines the prepared bytes besides the source; the names of `DataConfig` where it has them.

    Attributes:
        resolution: nominal resolution of the largest level, 4*2^k.
        base_shape: (height, width) of the first level.
        channels: 0 takes the source's own.
        range: "full", "auto" or "LOW,HIGH", as `data.range`.
        copies_mirrored: follow each image by its mirror image.
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
    def of_config(cls, data: DataConfig) -> Preparation:
        """What the data section of a configuration asks for."""
        shared = ("resolution", "channels", "crop", "resample", "modes", "range", "max_images", "shuffle_seed")
        return cls(**{name: getattr(data, name) for name in shared})

    def for_source(self, source: Source) -> Preparation:
        """With the number of channels filled in.

        Raises:
            UserError: this source cannot give so many.
        """
        channels = self.channels or source.channels
        # Grey can be repeated; everything else converts between grey, RGB and RGBA only.
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
    def frame(self) -> Frame:
        """What every image is made into; with all 16-bit values while `range` is "auto" (`pixel_range.resolve_range`)."""
        height, width = self.shapes[self.resolution]
        levels = parse_range(self.range)
        numbers = None if isinstance(levels, str) else levels
        return Frame(height, width, self.channels, self.crop, self.resample, self.modes, numbers)

    @property
    def rows_per_image(self) -> int:
        """Rows that one image gives."""
        return 2 if self.copies_mirrored else 1

    @property
    def bytes_per_row(self) -> int:
        """Pixels of all levels, and the label."""
        return sum(height * width * self.channels for height, width in self.shapes.values()) + np.int32().nbytes

    def count(self, images: int) -> int:
        """How many of so many images are wanted."""
        return min(images, self.max_images or images)

    def order(self, images: int) -> np.ndarray:
        """int64 numbers of the images wanted, in the order they are stored; shuffled as the authors' tool does (spec 4.1)."""
        if self.shuffle_seed < 0:
            return np.arange(self.count(images))
        order = np.arange(images)
        np.random.RandomState(self.shuffle_seed).shuffle(order)
        return order[: self.count(images)]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; without the range that earlier versions took, so that what they prepared is still found."""
        known = asdict(self) | {"base_shape": list(self.base_shape)}
        if self.range == "full":
            del known["range"]
        return known
