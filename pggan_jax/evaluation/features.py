"""Images to Inception features: resized, computed and padded on the device, read one batch behind, so that it never waits."""

from __future__ import annotations

from collections import deque

import jax
import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.checks import as_rgb, check_side
from pggan_jax.evaluation.inception import CLASSES, FEATURES, Inception
from pggan_jax.evaluation.inception_resize import MODES, resize_for_inception
from pggan_jax.evaluation.inception_weights import InceptionWeights

_IN_FLIGHT = 2


class FeatureExtractor:
    """The network, ready to be given images of any size.

    Args:
        weights: its weights.
        mode: how images are resized, one of `inception_resize.MODES`.
        batch_size: images at once.

    Attributes:
        fingerprint: weights and way of resizing; features of different ones do not compare.

    Raises:
        UserError: an unknown mode.
    """

    def __init__(self, weights: InceptionWeights, mode: str = "tf1", *, batch_size: int = 32):
        if mode not in MODES:
            raise UserError(
                f"--resize={mode}: is no way to resize images for the Inception network; there are {', '.join(MODES)}"
            )
        self.weights, self.mode, self.batch_size = weights, mode, batch_size
        self.fingerprint = f"{weights.source} {mode}"
        self._variables = jax.device_put(weights.variables)
        self._resize = jax.jit(resize_for_inception, static_argnums=1)
        self._network = jax.jit(Inception().apply)

    def start(self, images: np.ndarray) -> tuple[jax.Array, jax.Array]:
        """Begin with up to `batch_size` images; the result, padded to a whole batch, need not be ready."""
        padded = np.concatenate([images, np.repeat(images[-1:], self.batch_size - len(images), axis=0)])
        features, unbiased, _ = self._network(self._variables, self._resize(padded, self.mode))
        return features, unbiased

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features `[n, 2048]` and unbiased class scores `[n, 1008]`, float32, of uint8 images `[n, side, side, 1 or 3]`.

        Raises:
            UserError: images of another type or shape.
        """
        collector = FeatureCollector(self, images.shape[1], len(images))
        collector.add(images, 0)
        return collector.finish()


class FeatureCollector:
    """Collects the features of one set of images.

    Args:
        extractor: computes them.
        resolution: side of the images.
        count: how many will come.
    """

    def __init__(self, extractor: FeatureExtractor, resolution: int, count: int):
        self._extractor, self._resolution = extractor, resolution
        self._features = np.empty((count, FEATURES), np.float32)
        self._scores = np.empty((count, CLASSES), np.float32)
        self._in_flight: deque[tuple[slice, tuple[jax.Array, jax.Array]]] = deque()
        self._seen = np.zeros(count, bool)

    def add(self, images: np.ndarray, first: int) -> None:
        """Take uint8 images `[batch, side, side, 1 or 3]` with the numbers first, first+1 ... and begin with them.

        Raises:
            UserError: images of another type or side.
        """
        images, size = as_rgb(images), self._extractor.batch_size
        check_side(images, self._resolution)
        for start in range(0, len(images), size):
            part = images[start : start + size]
            numbers = slice(first + start, first + start + len(part))
            self._in_flight.append((numbers, self._extractor.start(part)))
            self._seen[numbers] = True
            self._read(leave=_IN_FLIGHT)

    def _read(self, *, leave: int) -> None:
        while len(self._in_flight) > leave:
            numbers, (features, scores) = self._in_flight.popleft()
            count = numbers.stop - numbers.start
            self._features[numbers], self._scores[numbers] = np.asarray(features)[:count], np.asarray(scores)[:count]

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Features `[count, 2048]` and unbiased class scores `[count, 1008]`, float32.

        Raises:
            UserError: images are missing.
        """
        self._read(leave=0)
        if not self._seen.all():
            raise UserError(f"features were promised {len(self._seen):,} images and were given {self._seen.sum():,}")
        return self._features, self._scores
