"""Directions towards the classes of labelled data, for generators without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pggan_jax.data.loader import Loader
from pggan_jax.data.open_loader import open_loader
from pggan_jax.data.preparation.prepare import ignore
from pggan_jax.data.sources.open_source import open_source
from pggan_jax.errors import UserError
from pggan_jax.evaluation.classifier import MAX_IMAGES, Classifier, train_classifier
from pggan_jax.evaluation.pixels import pixel_rows
from pggan_jax.generation.editing.directions import moved, normalized, separating_direction
from pggan_jax.generation.model import Model
from pggan_jax.images import parse_base_shape

EFFECT_STRENGTHS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Where the effect of a direction is measured."""
EFFECT_SEEDS = range(200)
_FIRST_SEED = 2**31
_MIN_MEMBERS = 8
_BATCH = 256


@dataclass(frozen=True)
class ClassDirections:
    """Directions towards classes.

    Attributes:
        directions: float32 `[count, latent_size]`, each of length 1.
        numbers: of the classes, one per direction.
        members: how many samples the classifier reads as each class of the data, int64 `[classes]`.
    """

    directions: np.ndarray
    numbers: tuple[int, ...]
    members: np.ndarray


def open_labelled(model: Model, source: str, *, report: Callable[[str], None] = ignore) -> Loader:
    """Open labelled images, prepared as those that the model was trained on.

    Args:
        model: the network.
        source: of the images; empty for that of the run.
        report: called with a line when images have to be prepared first.

    Raises:
        UserError: the images cannot be read or have no classes.
    """
    data = replace(
        model.config.data.without_held_out(), source=source or model.config.data.source, labels=True, channels=model.shape[2]
    )
    base_shape = parse_base_shape(data.base_shape)
    if not open_source(data.source, resolution=data.resolution, base_shape=base_shape, channels=data.channels).class_names:
        raise UserError(
            f"--method=classes: {data.source} has no classes; name images with classes by --data=SOURCE, or choose sefa or pca"
        )
    return open_loader(data, seed=model.config.run.seed, report=report)


def classifier_of(loader: Loader, resolution: int, *, seed: int) -> Classifier:
    """Train the built-in classifier on labelled images, at most 10,000 of them.

    Args:
        loader: the images.
        resolution: their level.
        seed: of the choice of images.

    Raises:
        UserError: there are too few images or classes.
    """
    chosen = np.random.RandomState(seed).permutation(len(loader))[:MAX_IMAGES]
    parts = [chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH)]
    rows = np.concatenate([pixel_rows(loader.images(resolution, part)) for part in parts])
    return train_classifier(rows, loader.class_table()[chosen], seed=seed)


def find_class_directions(
    model: Model, classifier: Classifier, *, num_samples: int, progress: Callable[[int], object]
) -> ClassDirections:
    """Find the direction towards each class that the samples show.

    Args:
        model: the network, without labels.
        classifier: of the images.
        num_samples: how many samples are classified.
        progress: called with the number of images made.

    Raises:
        UserError: the classifier reads all samples as one class.
    """
    # Other seeds than anyone draws, so that the effect is measured on latents that were not used here.
    latents = normalized(model.latents(range(_FIRST_SEED, _FIRST_SEED + num_samples)))
    found = decisions(model, classifier, latents, progress=progress)
    members = np.bincount(found, minlength=len(classifier.shares))
    numbers = tuple(np.flatnonzero((members >= _MIN_MEMBERS) & (members <= num_samples - _MIN_MEMBERS)).tolist())
    if not numbers:
        raise UserError(
            f"--method=classes: the classifier reads {members.max():,} of {num_samples:,} samples as one class, so no "
            "direction leads from one class to another; train longer, or raise --num_samples"
        )
    return ClassDirections(np.stack([separating_direction(latents, found == one) for one in numbers]), numbers, members)


def decisions(
    model: Model, classifier: Classifier, latents: np.ndarray, *, progress: Callable[[int], object] = lambda _count: None
) -> np.ndarray:
    """Return the class that the classifier reads in the image of each latent, int64 `[count]`."""
    found = [np.zeros(0, np.int64)]
    for start in range(0, len(latents), _BATCH):
        images = model.synthesize(latents[start : start + _BATCH])
        found.append(classifier.probabilities(pixel_rows(images)).argmax(axis=1))
        progress(len(images))
    return np.concatenate(found)


def measure_effect(
    model: Model,
    classifier: Classifier,
    found: ClassDirections,
    *,
    progress: Callable[[int], object] = lambda _count: None,
) -> np.ndarray:
    """Measure how often a step along each direction leads to its class.

    Returns:
        float32 `[directions, strengths]`: share of the seeds 0 to 199 whose image is read as the class at `EFFECT_STRENGTHS`.
    """
    latents = model.latents(EFFECT_SEEDS)
    shares = []
    for number, direction in zip(found.numbers, found.directions, strict=True):
        points = moved(latents, direction, EFFECT_STRENGTHS)
        read = decisions(model, classifier, points.reshape(-1, latents.shape[1]), progress=progress)
        shares.append((read.reshape(points.shape[:2]) == number).mean(axis=0))
    return np.asarray(shares, np.float32)
