"""What each metric gathers of a set of images, and how it compares two sets; the tools that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from pggan_jax.config import DataConfig
from pggan_jax.data.dataset import cache_folder, open_loader
from pggan_jax.errors import UserError
from pggan_jax.evaluation.classifier import Classifier, train_classifier
from pggan_jax.evaluation.feature_cache import CachedFeatures
from pggan_jax.evaluation.features import FeatureCollector, FeatureExtractor
from pggan_jax.evaluation.frechet import fid
from pggan_jax.evaluation.image_sets import ImageSet, RealPool
from pggan_jax.evaluation.inception_score import inception_score
from pggan_jax.evaluation.inception_weights import RANDOM, find_weights
from pggan_jax.evaluation.kid import KernelDistance
from pggan_jax.evaluation.manifold import precision_recall
from pggan_jax.evaluation.measured import Measured
from pggan_jax.evaluation.modes import class_shares, read_stacked, stacked_modes
from pggan_jax.evaluation.ms_ssim import SimilarityCollector, ms_ssim
from pggan_jax.evaluation.neighbors import SHOWN, Compared, as_rows, neighbors
from pggan_jax.evaluation.pixels import box_shrunk
from pggan_jax.evaluation.swd import PatchCollector, swd
from pggan_jax.evaluation.train_test import gan_train_test

Gathered = Mapping[str, Any]
"""Of one set of images: by the kinds in `Metric.gathers`, and `classes`, int32."""


class Collector(Protocol):
    """Gathers something of a set of images, batch by batch."""

    def add(self, images: np.ndarray, first: int) -> None:
        """Take uint8 images with the numbers first, first+1 ..."""

    def finish(self) -> Any:
        """What was gathered, once all have come."""


class RowCollector:
    """Gathers what a function makes of each image.

    Args:
        function: uint8 images to an array with as many rows.
        shown: keep so many of the first images as they are, too.
    """

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], *, shown: int = 0):
        self._function, self._shown = function, shown
        self._rows: list[np.ndarray] = []
        self._images: list[np.ndarray] = []

    def add(self, images: np.ndarray, first: int) -> None:
        """Take uint8 images; they must come in order."""
        self._rows.append(self._function(images))
        self._images.extend(images[: max(0, self._shown - first)].copy())

    def finish(self) -> np.ndarray | Compared:
        """All rows; with the first images beside them if some are to be shown."""
        rows = np.concatenate(self._rows)
        return Compared(rows, np.stack(self._images)) if self._shown else rows


def _planes(images: np.ndarray) -> np.ndarray:
    if images.shape[-1] != 3:
        raise UserError(f"modes reads three digits stacked as colours, not {images.shape[-1]} channels")
    return np.stack([box_shrunk(images[..., colour : colour + 1]) for colour in range(3)], axis=1)


class Tools:
    """What metrics need besides images, made when first needed.

    Args:
        pool: the reals.
        source: where they come from, as in `data.source`.
        inception_weights: file, "random", or None for the environment variable.
        resize: how images are brought to the size that the Inception network takes.
        show_progress: a bar for whatever takes long.
        with_uncertainty: where it costs much, too; otherwise only what metrics are known by need be right.
        extractor: the Inception network, if there is one already.
    """

    def __init__(
        self,
        pool: RealPool,
        source: str,
        *,
        inception_weights: str | None = None,
        resize: str = "tf1",
        show_progress: bool = True,
        with_uncertainty: bool = True,
        extractor: FeatureExtractor | None = None,
    ):
        self.pool, self.show_progress = pool, show_progress
        self._source, self._weights, self._resize = source, inception_weights, resize
        self._extractor = extractor
        self._classifier: Classifier | None = None
        self.with_uncertainty, self.kernel_distance = with_uncertainty, KernelDistance(with_uncertainty=with_uncertainty)

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """The Inception network."""
        return self._extractor or FeatureExtractor(find_weights(self._weights or None), self._resize)

    def check(self, gathers: tuple[str, ...]) -> None:
        """Before any image is made for nothing.

        Raises:
            UserError: there are no weights, or no stacked digits, where they are needed.
        """
        if "features" in gathers:
            _ = self.extractor
        if "planes" in gathers and not self._source.startswith("stacked:"):
            raise UserError(f"modes is for stacked digits, such as data.source=stacked:digits, not {self._source}")

    @cached_property
    def digit_reader(self) -> Classifier:
        """A classifier of the single digits that a stacked source is made of."""
        inner = self._source.partition(":")[2]
        side = self.pool.resolution
        loader = open_loader(DataConfig(inner, side, channels=1, labels=True), seed=self.pool.seed, tell=print)
        rows = np.arange(len(loader))
        return train_classifier(box_shrunk(loader.images(side, rows)), loader.class_table(), self.pool.seed)

    def classifier(self, reals: Gathered, seed: int) -> Classifier:
        """A classifier that has learned from the reals."""
        if self._classifier is None:
            self._classifier = train_classifier(reals["pixels"], reals["classes"], seed)
        return self._classifier

    def collector(self, kind: str, images: ImageSet, count: int, seed: int, *, are_reals: bool) -> Collector:
        """A new one of some kind for the first `count` of some images."""
        if kind == "features" and are_reals:
            return CachedFeatures(self.extractor, images, count, cache_folder().with_name("features"))
        return _COLLECTORS[kind](self, images.resolution, count, seed)

    def read_training(self, number: int) -> np.ndarray:
        """One of the reals, by its place in the pool's order."""
        return self.pool.draw(number, 1).read(0, 1)[0]

    def describe(self, gathers: tuple[str, ...]) -> dict[str, Any]:
        """What numbers made from these depend on besides images."""
        if "features" not in gathers:
            return {}
        return {"weights": self.extractor.weights.source, "resize": self.extractor.mode}

    def notes(self, gathers: tuple[str, ...]) -> tuple[str, ...]:
        """What a user should know of them."""
        if "features" not in gathers:
            return ()
        weights = self.extractor.weights
        if weights.source == RANDOM:
            return ("features of a random network: only for comparisons within one project, never by the metric's name",)
        return (weights.warning,) if weights.warning else ()


_COLLECTORS: dict[str, Callable[[Tools, int, int, int], Collector]] = {
    "patches": lambda tools, resolution, count, seed: PatchCollector(resolution, count, seed),
    "small_patches": lambda tools, resolution, count, seed: PatchCollector(
        resolution, count, seed, patch=3, coarsest=min(resolution, 8)
    ),
    "pairs": lambda tools, resolution, count, seed: SimilarityCollector(resolution, count),
    "features": lambda tools, resolution, count, seed: FeatureCollector(tools.extractor, resolution, count),
    "pixels": lambda tools, resolution, count, seed: RowCollector(box_shrunk),
    "planes": lambda tools, resolution, count, seed: RowCollector(_planes),
    "compared": lambda tools, resolution, count, seed: RowCollector(as_rows, shown=SHOWN),
}


@dataclass(frozen=True)
class Metric:
    """How one metric works.

    Attributes:
        gathers: kinds of collectors it needs of each set.
        compare: reals, fakes, tools and seed to numbers.
    """

    gathers: tuple[str, ...]
    compare: Callable[[Gathered, Gathered, Tools, int], Measured]


def _swd_of(kind: str) -> Callable[[Gathered, Gathered, Tools, int], Measured]:
    return lambda reals, fakes, tools, seed: swd(reals[kind], fakes[kind], seed, tools.show_progress)


METRICS = {
    "swd": Metric(("patches",), _swd_of("patches")),
    "swd_small": Metric(("small_patches",), _swd_of("small_patches")),
    "ms_ssim": Metric(("pairs",), lambda reals, fakes, tools, seed: ms_ssim(reals["pairs"], fakes["pairs"])),
    "fid": Metric(("features",), lambda reals, fakes, tools, seed: fid(reals["features"][0], fakes["features"][0])),
    "kid": Metric(
        ("features",),
        lambda reals, fakes, tools, seed: tools.kernel_distance(reals["features"][0], fakes["features"][0], seed),
    ),
    "inception_score": Metric(("features",), lambda reals, fakes, tools, seed: inception_score(fakes["features"][1])),
    "precision_recall": Metric(
        ("features",), lambda reals, fakes, tools, seed: precision_recall(reals["features"][0], fakes["features"][0])
    ),
    "modes": Metric(
        ("planes",),
        lambda reals, fakes, tools, seed: stacked_modes(read_stacked(fakes["planes"], tools.digit_reader), tools.digit_reader),
    ),
    "classes": Metric(
        ("pixels",),
        lambda reals, fakes, tools, seed: class_shares(
            tools.classifier(reals, seed).probabilities(fakes["pixels"]),
            fakes["classes"],
            reals["classes"],
            tools.classifier(reals, seed),
        ),
    ),
    "train_test": Metric(
        ("pixels",),
        lambda reals, fakes, tools, seed: gan_train_test(
            (reals["pixels"], reals["classes"]), (fakes["pixels"], fakes["classes"]), tools.classifier(reals, seed), seed
        ),
    ),
    "neighbors": Metric(
        ("compared",), lambda reals, fakes, tools, seed: neighbors(reals["compared"], fakes["compared"], tools.read_training)
    ),
}
