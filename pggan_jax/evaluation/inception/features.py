"""Images to Inception features: resized, computed and padded on the device, read one batch behind, so that it never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Set
from dataclasses import dataclass

import jax
import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.checks import as_rgb, check_side
from pggan_jax.evaluation.inception.feature_stats import KEPT, PARTS, MomentCollector, Summary
from pggan_jax.evaluation.inception.network import Inception
from pggan_jax.evaluation.inception.resize import MODES, resize_for_inception
from pggan_jax.evaluation.inception.weights import InceptionWeights

_IN_FLIGHT = 2


@dataclass(frozen=True)
class Seen:
    """What the network made of a set of images; None for what was not asked for.

    Attributes:
        features: float32 `[count, 2048]`.
        scores: unbiased class scores, float32 `[count, 1008]`.
        summary: what the Frechet distance needs, in memory that does not grow with the number of images.
    """

    features: np.ndarray | None = None
    scores: np.ndarray | None = None
    summary: Summary | None = None


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
        collector = FeatureCollector(self, images.shape[1], len(images), keeps={"features", "scores"})
        collector.add(images, 0)
        seen = collector.finish()
        assert seen.features is not None, "asked for"
        assert seen.scores is not None, "asked for"
        return seen.features, seen.scores


def feature_mean(weights: InceptionWeights) -> float:
    """Mean of the features of one fixed image, by which two users see whether they have the same network."""
    features, _ = FeatureExtractor(weights, batch_size=1)(fixed_image())
    return float(features.mean(dtype=np.float64))


def fixed_image() -> np.ndarray:
    """uint8 `[1, 64, 64, 3]`, in whole numbers, so that it is the same on every machine."""
    y, x, colour = np.ogrid[:64, :64, :3]
    return ((x * x // (4 + colour) + y * (3 + 2 * colour) + x * y // 8) % 256).astype(np.uint8)[None]


class FeatureCollector:
    """Shows a set of images to the network and keeps what is asked for.

    Args:
        extractor: the network.
        resolution: side of the images.
        count: how many will come, in order.
        keeps: what is asked for, by the names that it has in `Seen`.
        parts: of the summary, see `MomentCollector`.
        kept: images whose features are kept for the summary, see there.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        resolution: int,
        count: int,
        *,
        keeps: Set[str],
        parts: int = PARTS,
        kept: int = KEPT,
    ):
        self._extractor, self._resolution, self._count = extractor, resolution, count
        # A summary of few images is their features: no need to keep these twice.
        self._shares = keeps >= {"features", "summary"} and count <= kept
        self._features = _Rows(count) if "features" in keeps else None
        self._scores = _Rows(count) if "scores" in keeps else None
        self._summary = MomentCollector(count, parts=parts, kept=kept) if "summary" in keeps and not self._shares else None
        self._in_flight: deque[tuple[int, int, tuple[jax.Array, jax.Array]]] = deque()
        self._started = 0

    def add(self, images: np.ndarray, first: int) -> None:
        """Take uint8 images `[batch, side, side, 1 or 3]` with the numbers first, first+1 ... and begin with them.

        Raises:
            UserError: images of another type or side.
            ValueError: they do not come in order.
        """
        if first != self._started:
            raise ValueError(f"image {first} came when image {self._started} should")
        images, size = as_rgb(images), self._extractor.batch_size
        check_side(images, self._resolution)
        for start in range(0, len(images), size):
            part = images[start : start + size]
            self._in_flight.append((self._started, len(part), self._extractor.start(part)))
            self._started += len(part)
            self._read(leave=_IN_FLIGHT)

    def _read(self, *, leave: int) -> None:
        while len(self._in_flight) > leave:
            first, count, (features, scores) = self._in_flight.popleft()
            for keeper, output in ((self._features, features), (self._scores, scores), (self._summary, features)):
                if keeper is not None:
                    keeper.add(np.asarray(output)[:count], first)

    def finish(self) -> Seen:
        """What was to be kept, once all images have come.

        Raises:
            UserError: images are missing.
        """
        self._read(leave=0)
        if self._started != self._count:
            raise UserError(f"features were promised {self._count:,} images and were given {self._started:,}")
        features = None if self._features is None else self._features.finish()
        scores = None if self._scores is None else self._scores.finish()
        summary = None if self._summary is None else self._summary.finish()
        if self._shares and features is not None:
            summary = Summary.of(features)
        return Seen(features, scores, summary)


class _Rows:
    """Keeps every row."""

    def __init__(self, count: int):
        self._count, self._rows = count, np.empty((0, 0))

    def add(self, rows: np.ndarray, first: int) -> None:
        if first == 0:
            self._rows = np.empty((self._count, rows.shape[1]), np.float32)
        self._rows[first : first + len(rows)] = rows

    def finish(self) -> np.ndarray:
        return self._rows
