"""Measurements that the library has no metric for: small functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pggan_jax.evaluation.classifier import Classifier
from pggan_jax.evaluation.inception.feature_stats import FeatureStats
from pggan_jax.evaluation.knn import nearest
from pggan_jax.evaluation.metrics.fid import frechet_distance

SIDE = 8
"""Side of the images that `small_rows` compares."""
LARGEST = 16
"""White in `small_rows`, as in scikit-learn's digits."""


def small_rows(images: np.ndarray) -> np.ndarray:
    """Box-filter images to 8x8 pixels, as rows.

    Args:
        images: uint8 `[count, height, width, channels]` of at least 8x8.

    Returns:
        float32 `[count, 64 * channels]` in 0..16.
    """
    count, height, width, channels = images.shape
    blocks = images.reshape(count, SIDE, height // SIDE, SIDE, width // SIDE, channels)
    return blocks.mean(axis=(2, 4), dtype=np.float32).reshape(count, -1) * np.float32(LARGEST / 255)


def small_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the Frechet distance of two sets of `small_rows`, which is larger for few images."""
    return frechet_distance(FeatureStats.of(first), FeatureStats.of(second))


def halves_distance(rows: np.ndarray, *, draws: int = 5) -> float:
    """Compute the floor of `small_distance`: the mean over random halves of the reals."""
    found = []
    for seed in range(draws):
        order = np.random.RandomState(seed).permutation(len(rows))
        found.append(small_distance(rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]))
    return float(np.mean(found))


def class_distances(rows: np.ndarray, classes: np.ndarray, *, reals: np.ndarray, real_classes: np.ndarray) -> dict[str, float]:
    """Compute `small_distance` within each class that has at least two images on both sides.

    Args:
        rows, classes: of the generated images; without labels, the classes that a classifier reads.
        reals, real_classes: of the reals.
    """
    found = {}
    for label in np.unique(real_classes):
        own, real = rows[classes == label], reals[real_classes == label]
        if min(len(own), len(real)) > 1:
            found[str(label)] = small_distance(own, real)
    return found


def agreement(classifier: Classifier, rows: np.ndarray, *, reals: np.ndarray, real_classes: np.ndarray) -> Mapping[str, float]:
    """Read images by a support vector machine and by the nearest real image.

    Args:
        classifier: trained on the reals.
        rows: of the images to read, as `pixels.pixel_rows` gives them.
        reals, real_classes: rows and classes of the reals.

    Returns:
        `agreement`: share of images that both read alike, which is low for images that are no clear member of a class;
        `certainty`: mean of the machine's largest probability;
        `class_kl`: Kullback-Leibler divergence of the classes that the machine reads from those of the reals.
    """
    probabilities = classifier.probabilities(rows)
    _, numbers = nearest(rows, reals, count=1)
    is_same = probabilities.argmax(axis=1) == real_classes[numbers[:, 0]]
    count = probabilities.shape[1]
    read, real = (np.bincount(one, minlength=count) for one in (probabilities.argmax(axis=1), real_classes))
    return {
        "agreement": float(is_same.mean()),
        "certainty": float(probabilities.max(axis=1).mean()),
        "class_kl": divergence(read / read.sum(), real / real.sum()),
    }


def divergence(shares: np.ndarray, reference: np.ndarray) -> float:
    """Compute the Kullback-Leibler divergence of shares from a reference."""
    present = shares > 0
    return float(np.sum(shares[present] * np.log(shares[present] / reference[present])))


def as_requested(classifier: Classifier, rows: np.ndarray, requested: np.ndarray) -> Mapping[str, float]:
    """Read images of a generator with labels.

    Args:
        classifier: trained on reals.
        rows: of the images, as `pixels.pixel_rows` gives them.
        requested: their classes.

    Returns:
        Share of images that are read as the requested class: `requested.mean`, and `requested.CLASS` of each class, of which
        `requested.worst` is the smallest.
    """
    is_right = classifier.probabilities(rows).argmax(axis=1) == requested
    shares = {f"requested.{label}": float(is_right[requested == label].mean()) for label in np.unique(requested)}
    return {**shares, "requested.mean": float(is_right.mean()), "requested.worst": min(shares.values())}
