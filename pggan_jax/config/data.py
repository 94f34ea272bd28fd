"""Settings of the real images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pggan_jax.config.fields import MAX_IMAGES, MAX_RESOLUTION, setting
from pggan_jax.config.sound import SoundConfig
from pggan_jax.images import ImageShape, image_shape, parse_base_shape
from pggan_jax.source_kinds import SOURCE_KINDS

AUGMENTATIONS = ("color", "translation", "cutout")
RESAMPLES = ("lanczos", "bicubic", "bilinear", "box", "nearest")


@dataclass(frozen=True)
class DataConfig:
    """The real images."""

    source: str = setting(
        "digits", "where images come from: " + "; ".join(f"{kind.usage}: {kind.help}" for kind in SOURCE_KINDS.values())
    )
    resolution: int = setting(32, "side of the finished images in pixels, 4*2^k", minimum=4, maximum=MAX_RESOLUTION)
    base_shape: str = setting(
        "4x4",
        "HEIGHTxWIDTH of the first level, for images that are not square. Levels double it, and settings name them as if it "
        "were 4x4: with 3x4, data.resolution=64 makes images of 48x64",
    )
    channels: int = setting(
        0, "colour channels; 0 takes the source's own (1 for digits, 3 for photos, folders and archives)", minimum=0, maximum=16
    )
    labels: bool = setting(False, "train with class labels: concatenated input in G, auxiliary classifier in D")
    mirror: bool = setting(False, "flip each real image left-right with probability 1/2")
    augment: tuple[str, ...] = setting(
        (),
        "what changes each image, real or generated, before the discriminator sees it (DiffAugment, for few images): "
        "color,translation,cutout or some of them; empty: nothing",
        choices=AUGMENTATIONS,
    )
    crop: str = setting(
        "center",
        "how images of other shapes are fitted: center takes the largest square in the middle; none refuses them; pad adds "
        "black borders to smaller ones, unscaled; fit keeps the whole of each, shrunk if it is larger, with black borders; "
        "LEFT,TOP,WIDTH,HEIGHT cuts that window first",
    )
    resample: str = setting("lanczos", "filter that shrinks larger images", choices=RESAMPLES)
    modes: str = setting(
        "convert",
        "convert images with other colour channels than data.channels, or refuse (leave out) them",
        choices=("convert", "refuse"),
    )
    range: str = setting(
        "full",
        "values that become black and white with 16 bits: full scales all 65,536; auto the range that the images use, "
        "without 1 pixel in 10,000 at either end; LOW,HIGH that range, as 0,4095 for 12 bits; no effect on 8 bits",
    )
    max_images: int = setting(0, "use at most so many images; 0 uses all", minimum=0, maximum=MAX_IMAGES)
    shuffle_seed: int = setting(
        -1,
        "store images in the order of this seed's permutation (123 in the authors' files); -1 keeps the order of the source",
        minimum=-1,
        maximum=2**32 - 1,
    )
    held_out: float = setting(
        0.0,
        "share of the images kept from training, chosen by run.seed; how much better the discriminator scores training images "
        "is logged as held_out_gap, which grows when it memorises; 0 keeps none",
        minimum=0,
        maximum=0.5,
    )
    held_out_source: str = setting(
        "",
        "source of the held-out images, instead of a share of data.source: written in the same way, such as tfds:mnist:test or "
        "folder:DIR; all of it is used, whatever data.max_images and data.shuffle_seed say; empty for none",
    )
    sound: SoundConfig = field(default_factory=SoundConfig)

    @property
    def sources(self) -> tuple[str, ...]:
        """Everything that is read: `source`, and `held_out_source` if there is one."""
        return tuple(filter(None, (self.source, self.held_out_source)))

    def without_held_out(self) -> DataConfig:
        """Return the same settings for all images of the source."""
        return replace(self, held_out=0.0, held_out_source="")

    def all_of(self, source: str) -> DataConfig:
        """Return the same settings for all images of a source, in its order, none of them held out."""
        return replace(self.without_held_out(), source=source, max_images=0, shuffle_seed=-1)

    def shape_at(self, resolution: int) -> ImageShape:
        """Height and width of the images of a level."""
        return image_shape(resolution, parse_base_shape(self.base_shape))
