"""A trained model in memory: images from seeds or latents, scores of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pggan_jax.config import Config
from pggan_jax.errors import UserError
from pggan_jax.generation.class_names import classes_of_seeds, number_of_class
from pggan_jax.generation.sampling import Sampler, float_images_of_seeds, images_of_seeds, latents_for_seeds, one_hot
from pggan_jax.generation.sounds import require_sound, wave_of_image
from pggan_jax.networks.build import Networks
from pggan_jax.networks.normalization import without_statistics
from pggan_jax.networks.tree_digest import digest_of_leaves, named_leaves
from pggan_jax.sound.representations import Representation
from pggan_jax.system.jax_environment import fixed_jax_settings

_SCORED_AT_ONCE = 64
_LARGEST_VALUE = 10.0
"""Of float images: a generator does not clip its images to [-1, 1], and 0 to 255 is another range."""

Labels = int | str | Sequence[int] | Sequence[str] | np.ndarray | None
"""A class for all images, one class per image (numbers or names), one-hot rows, or None for the default class of each seed."""


@dataclass(frozen=True, eq=False)
class Model:
    """A generator and a discriminator at the resolution that training has reached.

    Attributes:
        name: where it comes from, as the user wrote it.
        config: settings of the run.
        networks: the modules.
        generator: parameters of the generator, a nested dict of arrays, with the statistics of any batch norm.
        discriminator: parameters of the discriminator; None if the source has only a generator.
        alpha: weight of the newest layers, 0 to 1.
        kimg: thousands of real images shown to the discriminator.
        class_names: one per class; empty if there are no labels or no names.
        present_classes: numbers of the classes that had training images; empty without labels.
        representation: how the images stand for sound; None for images.
        label_kind: what the classes of sound are: pitch, family or folder; empty for images.
        program: that trained it.
    """

    name: str
    config: Config
    networks: Networks
    generator: Mapping[str, Any]
    discriminator: Mapping[str, Any] | None
    alpha: float
    kimg: float
    class_names: tuple[str, ...] = ()
    present_classes: tuple[int, ...] = ()
    representation: Representation | None = None
    label_kind: str = ""
    program: str = "pggan_jax"

    def __repr__(self) -> str:
        height, width, channels = self.shape
        labels = f", {self.label_size} classes" if self.label_size else ""
        return f"Model({self.name!r}: {height}x{width}, {channels} channels{labels}, kimg {self.kimg:g})"

    @property
    def resolution(self) -> int:
        """The level that was reached: 4, 8, 16 ..."""
        return self.networks.resolution

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image."""
        shape = self.networks.shape
        return shape.height, shape.width, self.networks.generator.channels

    @property
    def latent_size(self) -> int:
        """Length of a latent vector."""
        return self.networks.latent_size

    @property
    def label_size(self) -> int:
        """Number of classes; 0 without labels."""
        return self.networks.generator.label_size

    @cached_property
    def sampler(self) -> Sampler:
        """The compiled generator."""
        return Sampler(self.networks.generator)

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of what determines images: the generator, its level, and alpha."""
        settings = self.alpha, self.resolution, self.shape, self.label_size, self.networks.generator.config
        leaves = digest_of_leaves(named_leaves(without_statistics(self.generator)))
        return hashlib.sha256(f"{settings!r} {leaves}".encode()).hexdigest()[:16]

    @cached_property
    def device_parameters(self) -> Mapping[str, Any]:
        """The generator's parameters on the default device."""
        return jax.device_put(self.generator)

    def latents(self, seeds: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the latent of each seed: float32 `[seeds, latent_size]`, N(0, 1).

        Raises:
            UserError: a seed is not an integer from 0 to 2^32 - 1.
        """
        return latents_for_seeds(_checked_seeds(seeds), self.latent_size)

    def sample(self, seeds: Sequence[int] | range | np.ndarray, labels: Labels = None) -> np.ndarray:
        """Generate one image per seed.

        An image depends on its seed and class alone, whatever other images are generated with it: to the bit on one machine
        and device, if JAX has started after `load`; on accelerators as far as the compiler chooses the same kernels.

        Args:
            seeds: integers from 0 to 2^32 - 1.
            labels: see `Labels`; by default seed n shows class n modulo the number of classes.

        Returns:
            uint8 `[seeds, height, width, channels]`.

        Raises:
            UserError: a seed or a class is impossible, or the model has no labels.
        """
        latents = self.latents(seeds)
        return self.synthesize(latents, classes_of_seeds(seeds, self.present_classes) if labels is None else labels)

    def stream(self, seeds: Iterator[int], classes: Any, *, psi: float = 1.0) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (seed, class, image) one by one; at most two batches of images are in memory.

        Args:
            seeds: any number of them.
            classes: function from a list of seeds to their class numbers.
            psi: factor of the latents; of use only where the generator does not normalise them.
        """
        return images_of_seeds(self.sampler, self.device_parameters, seeds=seeds, classes=classes, alpha=self.alpha, psi=psi)

    def synthesize(self, latents: np.ndarray, labels: Labels = None) -> np.ndarray:
        """Generate one image per latent.

        Args:
            latents: `[count, latent_size]`; their length does not matter where the generator normalises latents.
            labels: see `Labels`; by default image n shows class n modulo the number of classes.

        Returns:
            uint8 `[count, height, width, channels]`.

        Raises:
            UserError: a latent has another size, or a class does not exist.
        """
        rows = self.one_hot(labels, count=len(self._checked(latents)))
        with fixed_jax_settings():
            return self.sampler.by_seed(self.device_parameters, self._checked(latents), labels=rows, alpha=self.alpha)

    def floats(self, latents: np.ndarray, labels: Labels = None) -> np.ndarray:
        """Generate as `synthesize` does, without rounding: float32, about [-1, 1], not clipped.

        Raises:
            UserError: as for `synthesize`.
        """
        rows = self.one_hot(labels, count=len(self._checked(latents)))
        with fixed_jax_settings():
            return self.sampler.floats_by_seed(self.device_parameters, self._checked(latents), labels=rows, alpha=self.alpha)

    def waves(self, seeds: Sequence[int] | range | np.ndarray, labels: Labels = None, *, invert: str = "") -> np.ndarray:
        """Generate one wave per seed, of a run on sound; they are never rounded to images of uint8.

        Args:
            seeds, labels: as for `sample`.
            invert: from spectrograms to waves: "if", "griffin_lim" or "if+N"; by default as the representation does.

        Returns:
            float64 `[seeds, samples]`, `representation.sample_rate` samples per second.

        Raises:
            UserError: as for `sample`; the run makes images, there is no such way to invert, or the network has diverged.
        """
        latents = self.latents(seeds)
        labels = classes_of_seeds(seeds, self.present_classes) if labels is None else labels
        return self.synthesize_waves(latents, labels, invert=invert, phase_seeds=np.asarray(seeds))

    def synthesize_waves(
        self, latents: np.ndarray, labels: Labels = None, *, invert: str = "", phase_seeds: np.ndarray | None = None
    ) -> np.ndarray:
        """Generate one wave per latent; see `waves`. The seeds are those of griffin_lim."""
        representation = require_sound(self.representation, self.name)
        seeds = np.arange(len(latents)) if phase_seeds is None else np.asarray(phase_seeds)
        rows = zip(self.floats(latents, labels), seeds.tolist(), strict=True)
        waves = [wave_of_image(image, representation, invert=invert, seed=seed, name=self.name) for image, seed in rows]
        return np.reshape(waves, (-1, representation.samples))

    def stream_waves(
        self, seeds: Iterator[int], classes: Any, *, psi: float = 1.0, invert: str = ""
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (seed, class, wave) one by one, as `stream` does for images; see `waves`."""
        representation, what = require_sound(self.representation, self.name), {"seeds": seeds, "classes": classes}
        images = float_images_of_seeds(self.sampler, self.device_parameters, **what, alpha=self.alpha, psi=psi)
        for seed, number, image in images:
            yield seed, number, wave_of_image(image, representation, invert=invert, seed=seed, name=self.name)

    def apply_generator(self, latents: jax.Array, labels: jax.Array) -> jax.Array:
        """Generate float images in [-1, 1], not clipped; differentiable, for use inside `jax.jit`.

        Args:
            latents: `[count, latent_size]`.
            labels: one-hot `[count, label_size]`.
        """
        return jnp.asarray(self.networks.generator.apply({"params": self.generator}, latents, labels, np.float32(self.alpha)))

    def discriminate(self, images: np.ndarray) -> np.ndarray:
        """Score images: higher means more like the training images.

        Minibatch stddev compares the images of a group, and batch norm takes their statistics, so a score depends on the other
        images. The conditional DCGAN scores without a class.

        Args:
            images: uint8, or float in [-1, 1], `[count, height, width, channels]`.

        Returns:
            float32 `[count]`.

        Raises:
            UserError: the images have another shape, or the model has no discriminator.
        """
        if self.discriminator is None:
            raise UserError(f"{self.name}: has no discriminator; use a source that has both networks")
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != self.shape:
            raise UserError(f"images of shape {images.shape} do not fit; give [count, height, width, channels] of {self.shape}")
        if images.dtype != np.uint8 and not (images.dtype.kind == "f" and np.all(np.abs(images) <= _LARGEST_VALUE)):
            raise UserError(f"images of type {images.dtype} do not fit; give uint8, or finite floats in [-1, 1]")
        scores = [np.zeros(0, np.float32)]
        for start in range(0, len(images), _SCORED_AT_ONCE):
            # Whole batches, filled up with the first images: groups of minibatch stddev need them.
            rows = np.arange(start, start + _SCORED_AT_ONCE) % len(images)
            with fixed_jax_settings():
                scores.append(np.asarray(self._score(self.discriminator, to_float(images[rows]))))
        return np.concatenate(scores)[: len(images)]

    @cached_property
    def _score(self) -> Any:
        module, alpha = self.networks.discriminator, np.float32(self.alpha)
        return jax.jit(lambda params, images: module.apply({"params": params}, images, alpha)[0])

    def one_hot(self, labels: Labels, *, count: int) -> np.ndarray:
        """Return one-hot labels `[count, label_size]` of classes by number or name.

        One-hot rows have two dimensions; a list is always one class per image.

        Raises:
            UserError: a class does not exist, or there are more or fewer than `count`.
        """
        if not self.label_size:
            if labels is not None and np.size(labels) and np.any(np.asarray(labels) != 0):
                raise UserError(f"labels={labels!r}: {self.name} was trained without labels; leave them out")
            return np.zeros((count, 0), np.float32)
        if labels is None:
            labels = classes_of_seeds(range(count), self.present_classes)
        if getattr(labels, "ndim", 1) == 2:
            rows = np.asarray(labels, np.float32)
            if rows.shape != (count, self.label_size) or not np.isfinite(rows).all():
                raise UserError(f"labels of shape {rows.shape} do not fit; give finite numbers [{count}, {self.label_size}]")
            return rows
        each = [labels] * count if isinstance(labels, str) or not np.iterable(labels) else list(labels)  # type: ignore[arg-type]
        if len(each) != count:
            raise UserError(
                f"{len(each)} labels for {count} images; give one class, one per image, or one-hot rows [images, "
                f"{self.label_size}]"
            )
        return one_hot([number_of_class(one, self.class_names, count=self.label_size) for one in each], self.label_size)

    def _checked(self, latents: np.ndarray) -> np.ndarray:
        latents = np.asarray(latents, np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.latent_size:
            raise UserError(f"latents of shape {latents.shape} do not fit; {self.name} takes [count, {self.latent_size}]")
        if not np.isfinite(latents).all():
            raise UserError("latents contain NaN or infinity; give finite numbers")
        return latents


def _checked_seeds(seeds: Sequence[int] | np.ndarray) -> list[int]:
    values = np.asarray(seeds)
    is_whole = values.dtype.kind in "iu" or not values.size
    if values.ndim != 1 or not is_whole or (values.size and not 0 <= values.min() <= values.max() < 2**32):
        raise UserError(f"seeds={str(seeds)[:60]}: must be integers from 0 to 2^32 - 1, such as range(8) or [3, 7]")
    return values.tolist()


def to_float(images: np.ndarray | jax.Array) -> jax.Array:
    """Return uint8 images as float32 in [-1, 1]; float images keep their values."""
    values = jnp.asarray(images, jnp.float32)
    return values / 127.5 - 1.0 if images.dtype == np.uint8 else values
