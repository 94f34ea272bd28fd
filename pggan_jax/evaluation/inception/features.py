"""Inception features of images, read one batch late so that the device never waits."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import jax
import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.inception.feature_stats import JACKKNIFE_GROUPS, MAX_KEPT, FeatureStatsCollector, FeatureSummary
from pggan_jax.evaluation.inception.network import SIDE, Inception
from pggan_jax.evaluation.inception.resize import MODES, resize_for_inception
from pggan_jax.evaluation.inception.weights import RANDOM, InceptionWeights, find_weights
from pggan_jax.evaluation.pixels import as_rgb, check_shape
from pggan_jax.images import ImageShape

_IN_FLIGHT = 2


@dataclass(frozen=True)
class OutputRequest:
    """The outputs of the network to keep of a set of images.

    Attributes:
        count: number of images.
        outputs: names of attributes of `InceptionOutputs`.
        groups, max_kept: of the summary, see `FeatureStatsCollector`.
    """

    count: int
    outputs: frozenset[str]
    groups: int = JACKKNIFE_GROUPS
    max_kept: int = MAX_KEPT


@dataclass(frozen=True)
class InceptionOutputs:
    """Outputs of the network for a set of images; None for outputs that were not requested.

    Attributes:
        features: float32 `[count, 2048]`.
        scores: class scores without bias, float32 `[count, 1008]`.
        summary: what the Frechet distance needs, in memory that does not grow with the number of images.
    """

    features: np.ndarray | None = None
    scores: np.ndarray | None = None
    summary: FeatureSummary | None = None


class FeatureExtractor:
    """The compiled network for images of any size.

    Args:
        weights: its weights.
        mode: way of resizing, one of `resize.MODES`.
        batch_size: images at once.
        side: of the network's input, which needs at least 75; the published values are those of 299.

    Attributes:
        fingerprint: of the weights, the way of resizing and the side; features of different fingerprints do not compare.

    Raises:
        UserError: the mode is unknown.
    """

    def __init__(self, weights: InceptionWeights, mode: str = "tf1", *, batch_size: int = 32, side: int = SIDE):
        if mode not in MODES:
            raise UserError(f"--resize={mode}: is not a way of resizing; choose from {', '.join(MODES)}")
        self.weights, self.batch_size = weights, batch_size
        self.mode, self._side = mode, side
        self._resizing = mode if side == SIDE else f"{mode} {side}"
        self.fingerprint = f"{weights.source} {self._resizing}"
        self._variables = jax.device_put(weights.variables)
        self._resize = jax.jit(resize_for_inception, static_argnums=(1, 2))
        self._network = jax.jit(Inception().apply)

    @property
    def has_random_weights(self) -> bool:
        """Whether the network is untrained."""
        return self.weights.source == RANDOM

    @property
    def details(self) -> dict[str, str]:
        """What values of metrics depend on, for records."""
        return {"features": "Inception 2015-12-05, pool3", "weights": self.weights.source, "resize": self._resizing}

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings that belong to values computed with this network."""
        if self.has_random_weights:
            return ("features of a random network: for comparisons within one project only, not for publication",)
        return (self.weights.warning,) if self.weights.warning else ()

    def start(self, images: np.ndarray) -> tuple[jax.Array, jax.Array]:
        """Start the computation for up to `batch_size` images.

        The outputs are padded to a whole batch, and may not be ready.
        """
        padded = np.concatenate([images, np.repeat(images[-1:], self.batch_size - len(images), axis=0)])
        features, unbiased, _ = self._network(self._variables, self._resize(padded, self.mode, self._side))
        return features, unbiased

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute features and class scores.

        Args:
            images: uint8 `[n, height, width, 1 or 3]`.

        Returns:
            Features `[n, 2048]` and class scores without bias `[n, 1008]`, float32.

        Raises:
            UserError: the images have another type or shape.
        """
        request = OutputRequest(len(images), frozenset({"features", "scores"}))
        collector = FeatureCollector(self, ImageShape(images.shape[1], *images.shape[1:3]), request=request)
        collector.add(images, 0)
        outputs = collector.finish()
        assert outputs.features is not None, "requested"
        assert outputs.scores is not None, "requested"
        return outputs.features, outputs.scores


def load_extractor(path: str | None = None, resize: str = "tf1", *, needed_by: str = "this metric") -> FeatureExtractor:
    """Load the network.

    Args:
        path: as for `find_weights`.
        resize: one of `resize.MODES`.
        needed_by: as for `find_weights`.

    Raises:
        UserError: there are no weights, they cannot be used, or the way of resizing is unknown.
    """
    return FeatureExtractor(find_weights(path or None, needed_by=needed_by), resize)


def feature_mean(weights: InceptionWeights) -> float:
    """Return the mean feature of a fixed image, by which two users can compare their weights."""
    features, _ = FeatureExtractor(weights, batch_size=1)(fixed_image())
    return float(features.mean(dtype=np.float64))


def fixed_image() -> np.ndarray:
    """Return an image computed in integers, the same on every machine; uint8 `[1, 64, 64, 3]`."""
    y, x, colour = np.ogrid[:64, :64, :3]
    return ((x * x // (4 + colour) + y * (3 + 2 * colour) + x * y // 8) % 256).astype(np.uint8)[None]


class FeatureCollector:
    """Applies the network to a set of images and keeps the requested outputs.

    Args:
        extractor: the network.
        shape: height and width of the images.
        request: the outputs to keep.
    """

    def __init__(self, extractor: FeatureExtractor, shape: ImageShape, *, request: OutputRequest):
        self._extractor, self._shape, self._count = extractor, shape, request.count
        outputs = request.outputs
        # The summary of a small set is its features; these are not kept twice.
        self._is_summary_features = outputs >= {"features", "summary"} and request.count <= request.max_kept
        self._features = _RowBuffer(request.count) if "features" in outputs else None
        self._scores = _RowBuffer(request.count) if "scores" in outputs else None
        self._summary: FeatureStatsCollector | None = None
        if "summary" in outputs and not self._is_summary_features:
            self._summary = FeatureStatsCollector(request.count, groups=request.groups, max_kept=request.max_kept)
        self._in_flight: deque[tuple[int, int, tuple[jax.Array, jax.Array]]] = deque()
        self._started = 0

    def add(self, images: np.ndarray, first: int) -> None:
        """Add uint8 images `[batch, height, width, 1 or 3]` with the numbers first, first+1 ...

        Raises:
            UserError: the images have another type, height or width.
            ValueError: the images are out of order.
        """
        if first != self._started:
            raise ValueError(f"images must be added in order: expected image {self._started}, not {first}")
        images, size = as_rgb(images), self._extractor.batch_size
        check_shape(images, self._shape)
        for start in range(0, len(images), size):
            part = images[start : start + size]
            self._in_flight.append((self._started, len(part), self._extractor.start(part)))
            self._started += len(part)
            self._read(leave=_IN_FLIGHT)

    def _read(self, *, leave: int) -> None:
        while len(self._in_flight) > leave:
            first, count, (features, scores) = self._in_flight.popleft()
            for buffer, output in ((self._features, features), (self._scores, scores), (self._summary, features)):
                if buffer is not None:
                    buffer.add(np.asarray(output)[:count], first)

    def finish(self) -> InceptionOutputs:
        """Return the requested outputs once all images have been added.

        Raises:
            UserError: images are missing.
        """
        self._read(leave=0)
        if self._started != self._count:
            raise UserError(f"Inception features expect {self._count:,} images, and {self._started:,} were added")
        features = None if self._features is None else self._features.finish()
        scores = None if self._scores is None else self._scores.finish()
        summary = None if self._summary is None else self._summary.finish()
        if self._is_summary_features and features is not None:
            summary = FeatureSummary.of(features)
        return InceptionOutputs(features, scores, summary)


class _RowBuffer:
    """Keeps every row."""

    def __init__(self, count: int):
        self._count, self._rows = count, np.empty((0, 0))

    def add(self, rows: np.ndarray, first: int) -> None:
        if first == 0:
            self._rows = np.empty((self._count, rows.shape[1]), np.float32)
        self._rows[first : first + len(rows)] = rows

    def finish(self) -> np.ndarray:
        return self._rows
