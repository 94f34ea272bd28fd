"""Sets of images to evaluate: reals of a data set, or images of a generator.

A thread reads batches ahead. Image i of a set depends on its seed and on i only: neither the batch size nor the order of the
metrics changes a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from pggan_jax.config import DataConfig
from pggan_jax.data.loader import Loader
from pggan_jax.data.open_loader import open_loader
from pggan_jax.data.prefetch import Prefetcher
from pggan_jax.data.sample_order import rows_for_samples
from pggan_jax.data.sounds.spectrogram_source import differences
from pggan_jax.errors import UserError
from pggan_jax.generation.model import Model
from pggan_jax.generation.sampling import Sampler, one_hot
from pggan_jax.images import ImageShape, to_uint8
from pggan_jax.metric_kinds import METRIC_KINDS
from pggan_jax.sound.representations import Representation

# Random streams of evaluation, different from those of training with the same seed.
_FLIPS, _LATENTS = 0x666C6970, 0x6C617465


@dataclass(frozen=True)
class ImageSet:
    """Images by number.

    Attributes:
        name: what the images are, for messages and records.
        count: number of images.
        shape: their height and width.
        classes: int32 `[count]`, all 0 without labels.
        read: (start, stop) to uint8 images `[stop - start, height, width, channels]`.
        read_floats: the same as the generator returns them, float32 about [-1, 1]; None for images of a data set.
    """

    name: str
    count: int
    shape: ImageShape
    classes: np.ndarray
    read: Callable[[int, int], np.ndarray]
    read_floats: Callable[[int, int], np.ndarray] | None = None

    def unrounded(self) -> ImageSet:
        """Return the same images, as float32 without rounding if they are generated."""
        return replace(self, read=self.read_floats or self.read)

    def flipped(self) -> ImageSet:
        """Return the same images, mirrored left to right."""
        return replace(self, read=lambda start, stop: self.read(start, stop)[:, :, ::-1])

    def batches(self, size: int, *, until: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (number of the first image, images) for the first `until` images."""
        spans = [(start, min(start + size, until)) for start in range(0, until, size)]
        with Prefetcher(lambda span: self.read(*span), spans) as ready:
            for (start, _), images in zip(spans, ready, strict=True):
                yield start, images


@dataclass(frozen=True)
class RealPool:
    """The images of a data set at one resolution, in an order that depends on a seed only.

    Attributes:
        loader: the data.
        resolution: the level.
        seed: of the order and the flips.
        mirror: flip each image with probability 1/2, as training did.
        name: what the images are, for messages and records.
    """

    loader: Loader
    resolution: int
    seed: int
    mirror: bool = False
    name: str = "reals"

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def shape(self) -> ImageShape:
        """Height and width of the images."""
        return self.loader.shape_at(self.resolution)

    def draw(self, first: int, count: int) -> ImageSet:
        """Return `count` different images, from number `first` of the order on."""
        rows = rows_for_samples(np.arange(first, first + count), seed=self.seed, size=len(self.loader))
        flips = np.random.Philox(key=[self.seed, _FLIPS]).random_raw(len(self.loader))[rows] & 1

        def read(start: int, stop: int) -> np.ndarray:
            images = self.loader.images(self.resolution, rows[start:stop])
            if not self.mirror:
                return images
            return np.where(flips[start:stop, None, None, None] == 1, images[:, :, ::-1], images)

        table = self.loader.class_table()
        classes = table[rows] if len(table) == len(self.loader) else np.zeros(count, np.int32)
        return ImageSet(self.name, count, self.shape, classes, read)


def held_out_pool(reals: RealPool, data: DataConfig) -> RealPool | None:
    """Return the images that a run kept from training, with the same seed; None without.

    Args:
        reals: its training images.
        data: their settings.
    """
    loader = reals.loader.held_out
    name = data.held_out_source or f"held-out images of {data.source}"
    return RealPool(loader, reals.resolution, reals.seed, name=name) if loader else None


def without_unused(data: DataConfig, metrics: Sequence[str], *, replaced: bool = False) -> DataConfig:
    """Return the settings without another source of held-out images if nothing reads it.

    Args:
        data: of the reals.
        metrics: names, known or not.
        replaced: whether other held-out images are given.
    """
    used = any(METRIC_KINDS[name].uses_held_out for name in metrics if name in METRIC_KINDS)
    return data if used and not replaced else replace(data, held_out_source="")


def open_reals(data: DataConfig, *, seed: int, scale: Representation | None, is_own: bool) -> Loader:
    """Open reals to compare a model with; sound on the scale of the model's.

    Args:
        data: their settings.
        seed: of their order.
        scale: representation of the model; None for images.
        is_own: whether they are the data that the model was trained on, which have its scale unless they have changed.

    Raises:
        UserError: the data cannot be used.
    """
    loader = open_loader(data, seed=seed, report=print, scale=None if is_own else scale)
    own = loader.representation
    if is_own and scale and own and differences(own, scale):
        loader = open_loader(data, seed=seed, report=print, scale=scale)
    return loader


def check_scale(loader: Loader, wanted: Representation | None, *, named: str) -> None:
    """Refuse data that are not images, or sound, of the same form as those of a model.

    Args:
        loader: the data.
        wanted: representation of the model; None for images.
        named: the data, for messages.

    Raises:
        UserError: they differ.
    """
    found = loader.representation
    if (found is None) != (wanted is None):
        kinds = ("images", "sound") if found is None else ("sound", "images")
        raise UserError(f"{named}: has {kinds[0]}, and the run was trained on {kinds[1]}; give {kinds[1]}")
    if found and wanted and (different := differences(found, wanted)):
        different = different.replace("asked for", "the run has")
        raise UserError(f"{named}: is other sound than that of the run ({different}); give the files themselves as sound:DIR")


def use_classes_of(model: Model, loader: Loader, *, named: str) -> None:
    """Number the classes of the data as the model does.

    Args:
        model: uses class numbers.
        loader: the data.
        named: the data, for messages.

    Raises:
        UserError: the data have other channels, classes or another representation of sound than the model.
    """
    check_scale(loader, model.representation, named=named)
    channels = model.shape[2]
    if (loader.channels, loader.label_size) != (channels, model.label_size):
        raise UserError(
            f"{named}: has {loader.channels} colour channels and {loader.label_size} classes; the run was trained on "
            f"{channels} and {model.label_size}"
        )
    loader.use_class_order(model.class_names or loader.former_class_names)


@partial(jax.jit, static_argnums=2)  # at module level, so that it is compiled once for all sets of images
def _sample_latents(key: jax.Array, numbers: jax.Array, latent_size: int) -> jax.Array:
    return jax.vmap(lambda number: jax.random.normal(jax.random.fold_in(key, number), (latent_size,), np.float32))(numbers)


def generated_images(
    sampler: Sampler, params: Mapping[str, Any], *, classes: np.ndarray, alpha: float, seed: int, count: int
) -> ImageSet:
    """Return the set of images of a generator.

    Args:
        sampler: the generator at its resolution.
        params: its parameters, usually the moving average.
        classes: int32, those of the reals; image i has the class number i modulo their number.
        alpha: weight of the newest layers.
        seed: of the latents.
        count: number of images.
    """
    classes, params = np.resize(classes, count), jax.device_put(params)
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), _LATENTS)

    def read_floats(start: int, stop: int) -> np.ndarray:
        # Whole chunks: a smaller one would be another program, with other rounding.
        numbers = np.arange(start, start + -(-(stop - start) // sampler.chunk) * sampler.chunk)
        labels = one_hot(np.take(classes, numbers, mode="wrap"), sampler.label_size)
        latents = np.asarray(_sample_latents(key, numbers.astype(np.uint32), sampler.latent_size))
        return sampler.floats(params, latents, labels, alpha)[: stop - start]

    def read(start: int, stop: int) -> np.ndarray:
        return to_uint8(read_floats(start, stop))

    return ImageSet("fakes", count, sampler.shape, classes, read, read_floats)
