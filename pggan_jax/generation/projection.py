"""Projection: the latent whose image is nearest to a given image.

The nearest of many samples start an optimisation by Adam; all starts of several images are one batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from pggan_jax.errors import UserError
from pggan_jax.generation.class_names import classes_of_seeds
from pggan_jax.generation.model import Model, to_float
from pggan_jax.generation.projection_loss import (
    LossInputs,
    ProjectionSettings,
    channel_scales,
    feature_parameters,
    features_of,
    learning_rate,
    losses_of,
    noise_strength,
    normalized,
    pyramid_rows,
)
from pggan_jax.generation.sampling import one_hot

_SAMPLED_AT_ONCE = 256
_PIXELS_AT_ONCE = 2**21
_MOST_AT_ONCE, _MOST_AT_ONCE_ON_CPU = 64, 4
_STEPS_PER_CALL = 50
_BLOCKING_STEPS = 10


class NearestSample(NamedTuple):
    """One of the model's own samples.

    Attributes:
        seed: of the latent.
        number: its class; 0 without labels.
        distance: mean absolute difference of the Laplacian pyramids, in units of [-1, 1].
    """

    seed: int
    number: int
    distance: float


@dataclass(frozen=True)
class Projection:
    """What was found for one image.

    Attributes:
        latent: float32 `[latent_size]`, of unit mean square.
        number: the class; 0 without labels.
        image: that the generator makes of them, uint8 `[height, width, channels]`.
        loss: pyramid distance plus feature distance.
        rmse: root mean square difference of pixels, in grey levels 0 to 255.
        nearest: the nearest candidate.
        nearest_rmse: its difference, for comparison.
    """

    latent: np.ndarray
    number: int
    image: np.ndarray
    loss: float
    rmse: float
    nearest: NearestSample
    nearest_rmse: float

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in decibels; infinite for equal images."""
        return 20 * math.log10(255 / self.rmse) if self.rmse else math.inf


def project(
    model: Model,
    images: np.ndarray,
    settings: ProjectionSettings = ProjectionSettings(),  # noqa: B008
    *,
    number: int | None = None,
    show_progress: bool | None = None,
) -> Iterator[Projection]:
    """Find the latent of each image.

    Args:
        model: with both networks.
        images: uint8 `[count, height, width, channels]`, of the model's shape.
        settings: how to search.
        number: the class; by default the candidates show all classes, and the best start determines it.
        show_progress: show progress bars; None shows them in a terminal.

    Yields:
        One projection per image, in order. The result for an image does not depend on the other images, up to rounding.

    Raises:
        UserError: the images have another shape, or the model has no discriminator.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != model.shape:
        raise UserError(
            f"{images.dtype} images {list(images.shape)} do not fit; give uint8 [count, height, width, channels], {model.shape}"
        )
    if model.discriminator is None:
        raise UserError(
            f"{model.name}: has no discriminator, whose features projection compares; use a source with both networks"
        )
    hidden = None if show_progress is None else not show_progress
    return _projections(_Projector(model, settings), images, number=number, hidden=hidden)


def _projections(projector: _Projector, images: np.ndarray, *, number: int | None, hidden: bool | None) -> Iterator[Projection]:
    if not len(images):
        return
    found = projector.nearest_samples(images, number=number, hidden=hidden)
    most = _MOST_AT_ONCE_ON_CPU if jax.default_backend() == "cpu" else _MOST_AT_ONCE
    height, width, _ = projector.model.shape
    most = max(1, min(most, _PIXELS_AT_ONCE // (projector.settings.starts * height * width)))
    size = -(-len(images) // -(-len(images) // most))
    total = -(-len(images) // size) * projector.settings.steps
    with tqdm(total=total, desc="projecting", unit="step", delay=2, leave=False, disable=hidden) as bar:
        for first in range(0, len(images), size):
            # Groups of one size share a program; the last one is filled up.
            rows = np.arange(first, first + size).clip(max=len(images) - 1)
            yield from projector.optimize(images[rows], [found[row] for row in rows], bar=bar)[: len(images) - first]


class _Projector:
    """The compiled steps for one model."""

    def __init__(self, model: Model, settings: ProjectionSettings):
        self.model, self.settings = model, settings
        self._adam = optax.scale_by_adam()
        self._scales: list[jax.Array] = []
        self._discriminator = feature_parameters(model)
        self._features = jax.jit(partial(features_of, model))
        self._losses = jax.jit(partial(losses_of, model))
        self._advance = jax.jit(self._step if jax.default_backend() == "cpu" else self._several_steps, donate_argnums=0)

    def nearest_samples(self, images: np.ndarray, *, number: int | None, hidden: bool | None) -> list[list[NearestSample]]:
        """Return the nearest candidates of each image, the nearest first."""
        model, settings = self.model, self.settings
        rows_of = jax.jit(lambda batch: pyramid_rows(to_float(batch)))
        distances_to = jax.jit(lambda rows, target: jnp.abs(rows - target).sum(axis=1))
        targets = [rows_of(image[None]) for image in images]
        seeds = np.arange(settings.candidates)
        numbers = np.full(len(seeds), number) if number is not None else classes_of_seeds(seeds, model.present_classes)
        distances = np.empty((len(images), len(seeds)), np.float32)
        with tqdm(total=len(seeds), desc="sampling", unit="img", delay=2, leave=False, disable=hidden) as bar:
            for first in range(0, len(seeds), _SAMPLED_AT_ONCE):
                part = np.arange(first, first + _SAMPLED_AT_ONCE).clip(max=len(seeds) - 1)
                samples = model.sample(part, labels=numbers[part])
                if not self._scales:
                    self._scales = channel_scales(self._features(self._discriminator, to_float(samples)))
                rows, kept = rows_of(samples), min(_SAMPLED_AT_ONCE, len(seeds) - first)
                for index, target in enumerate(targets):
                    distances[index, first : first + kept] = distances_to(rows, target)[:kept]
                bar.update(kept)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, : settings.starts]
        return [
            [NearestSample(int(seed), int(numbers[seed]), float(distances[index, seed])) for seed in own]
            for index, own in enumerate(nearest)
        ]

    def optimize(self, images: np.ndarray, found: Sequence[Sequence[NearestSample]], *, bar: tqdm) -> list[Projection]:
        """Project a group of images, all starts of all of them in one batch."""
        model, settings = self.model, self.settings
        starts = [one for own in found for one in own]
        numbers = np.array([one.number for one in starts])
        targets = np.repeat(images, settings.starts, axis=0)
        floats = to_float(targets)
        inputs = LossInputs(
            model.device_parameters,
            self._discriminator,
            jnp.asarray(one_hot(numbers, model.label_size)),
            floats,
            self._features(self._discriminator, floats),
            self._scales,
        )
        first = normalized(jnp.asarray(model.latents([one.seed for one in starts])))
        carry = jnp.array(first), self._adam.init(first)
        stride = 1 if jax.default_backend() == "cpu" else _STEPS_PER_CALL
        for step in range(0, settings.steps, stride):
            carry = self._advance(carry, np.int32(step), inputs)
            if step % _BLOCKING_STEPS == 0:
                jax.block_until_ready(carry)
            bar.update(min(stride, settings.steps - step))
        # A start is kept where the steps have not improved it.
        latents = np.stack([np.asarray(first), np.asarray(carry[0])])
        losses = np.stack([np.asarray(self._losses(one, inputs)) for one in latents])
        return [
            self._best(image, own, latents[:, part], losses[:, part])
            for image, own, part in zip(images, found, _parts(len(images), settings.starts), strict=True)
        ]

    def _best(self, image: np.ndarray, starts: Sequence[NearestSample], latents: np.ndarray, losses: np.ndarray) -> Projection:
        losses = np.where(np.isfinite(losses), losses, np.inf)
        when, start = divmod(int(np.argmin(losses)), len(starts))
        number, latent = starts[start].number, latents[when, start]
        made = self.model.synthesize(latent[None], labels=number)[0]
        nearest = self.model.sample([starts[0].seed], labels=starts[0].number)[0]
        loss = float(losses[when, start])
        return Projection(latent, number, made, loss, _rmse(made, image), starts[0], _rmse(nearest, image))

    def _step(self, carry: tuple[jax.Array, Any], step: jax.Array, inputs: LossInputs) -> tuple[jax.Array, Any]:
        """One step of Adam for every latent; the noise is the same for every image."""
        latents, moments = carry
        settings = self.settings
        key = jax.random.fold_in(jax.random.key(settings.seed, impl="threefry2x32"), step)
        noise = noise_strength(step, settings) * jax.random.normal(key, (settings.starts, latents.shape[-1]), jnp.float32)
        noise = jnp.tile(noise, (len(latents) // settings.starts, 1))
        gradients = jax.grad(lambda one: losses_of(self.model, one + noise, inputs).sum())(latents)
        updates, moments = self._adam.update(gradients, moments)
        return normalized(latents - learning_rate(step, settings) * updates), moments

    def _several_steps(self, carry: tuple[jax.Array, Any], first: jax.Array, inputs: LossInputs) -> tuple[jax.Array, Any]:
        """`_STEPS_PER_CALL` steps in one program.

        On an accelerator each call costs time; on the CPU a loop does.
        """
        last = jnp.minimum(first + _STEPS_PER_CALL, self.settings.steps)
        return jax.lax.fori_loop(first, last, lambda step, carry: self._step(carry, step, inputs), carry)


def _parts(images: int, starts: int) -> list[slice]:
    return [slice(index * starts, (index + 1) * starts) for index in range(images)]


def _rmse(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(image.astype(np.float64) - other))))
