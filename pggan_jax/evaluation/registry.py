"""What each metric gathers of a set of images, and how it compares two sets; the tools that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from pggan_jax.config import DataConfig
from pggan_jax.data.open_loader import open_singles
from pggan_jax.data.sources.open_source import open_source
from pggan_jax.errors import UserError
from pggan_jax.evaluation.classifier import Classifier, train_classifier
from pggan_jax.evaluation.image_sets import ImageSet, RealPool
from pggan_jax.evaluation.inception import feature_stats
from pggan_jax.evaluation.inception.feature_cache import CachedFeatures
from pggan_jax.evaluation.inception.features import FeatureCollector, FeatureExtractor
from pggan_jax.evaluation.inception.weights import RANDOM, find_weights
from pggan_jax.evaluation.metric_result import Measured
from pggan_jax.evaluation.metrics.classification_accuracy import gan_train_test
from pggan_jax.evaluation.metrics.fid import fid
from pggan_jax.evaluation.metrics.inception_score import inception_score
from pggan_jax.evaluation.metrics.kid import KernelDistance
from pggan_jax.evaluation.metrics.mode_coverage import DIGITS, class_shares, read_stacked, stacked_modes
from pggan_jax.evaluation.metrics.ms_ssim import SimilarityCollector, ms_ssim
from pggan_jax.evaluation.metrics.nearest_neighbors import SHOWN, Training, as_rows, neighbors
from pggan_jax.evaluation.metrics.precision_recall import NEIGHBORS_DC, NEIGHBORS_PR, precision_recall
from pggan_jax.evaluation.metrics.swd import PatchCollector, swd
from pggan_jax.evaluation.pixels import box_shrunk
from pggan_jax.system.paths import cache_root

Gathered = Mapping[str, Any]
"""Of one set of images: by the kinds in `Metric.gathers`, and `classes`, int32.

Reals have `held_out`, too, for metrics that take it: the same of reals that were not trained on, if there are any. Where
training flipped images, metrics that take all reals are given `flipped`: the same of all images, mirrored.
"""


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
        count: take only so many of the first images.
    """

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], count: int):
        self._function, self._count = function, count
        self._rows: np.ndarray | None = None

    def add(self, images: np.ndarray, first: int) -> None:
        """Take uint8 images with the numbers first, first+1 ..."""
        if first >= self._count:
            return
        rows = self._function(images[: self._count - first])
        if self._rows is None:
            self._rows = np.empty((self._count, *rows.shape[1:]), rows.dtype)
        self._rows[first : first + len(rows)] = rows

    def finish(self) -> np.ndarray:
        """All rows.

        Raises:
            ValueError: no images came.
        """
        if self._rows is None:
            raise ValueError("no images came")
        return self._rows


def _planes(images: np.ndarray) -> np.ndarray:
    if images.shape[-1] != 3:
        raise UserError(f"modes reads three digits stacked as colours, not {images.shape[-1]} channels")
    return np.stack([box_shrunk(images[..., colour : colour + 1]) for colour in range(3)], axis=1)


class Tools:
    """What metrics need besides images, made when first needed.

    Args:
        pool: the reals.
        data: the settings they were opened with, which all other images of the same source are fitted by.
        inception_weights: file, "random", or None for the environment variable.
        resize: how images are brought to the size that the Inception network takes.
        held_out: reals that were not trained on, if there are any.
        show_progress: a bar for whatever takes long.
        with_uncertainty: where it costs much, too; otherwise only what metrics are known by need be right.
        extractor: the Inception network, if there is one already.
    """

    def __init__(
        self,
        pool: RealPool,
        data: DataConfig,
        *,
        inception_weights: str | None = None,
        resize: str = "tf1",
        held_out: RealPool | None = None,
        show_progress: bool = True,
        with_uncertainty: bool = True,
        extractor: FeatureExtractor | None = None,
    ):
        self.pool, self.held_out, self.show_progress = pool, held_out, show_progress
        self._data, self._weights, self._resize = data, inception_weights, resize
        self._extractor = extractor
        self._kept: dict[str, Any] = {}
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
        if "planes" in gathers:
            self._check_singles()

    def _check_singles(self) -> None:
        source = self._data.source
        if not source.startswith("stacked:"):
            raise UserError(f"modes is for stacked digits, such as data.source=stacked:digits, not {source}")
        inner = source.partition(":")[2]
        names = open_source(inner, resolution=self._data.resolution).class_names
        if not 2 <= len(names) <= DIGITS:
            raise UserError(
                f"modes reads which of 2 to {DIGITS} classes each colour shows, and {inner} has {len(names) or 'no'} classes; "
                "name a source with one class per digit, or take another metric"
            )

    @cached_property
    def digit_reader(self) -> Classifier:
        """A classifier of the single digits that a stacked source is made of."""
        side, loader = self.pool.resolution, open_singles(self._data, seed=self.pool.seed, tell=print)
        rows = np.arange(len(loader))
        return train_classifier(box_shrunk(loader.images(side, rows)), loader.class_table(), self.pool.seed)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What is learned of the reals, kept for the next set of fakes."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def classifier(self, reals: Gathered, seed: int) -> Classifier:
        """A classifier that has learned from the reals."""
        return self.once("classifier", lambda: train_classifier(reals["pixels"], reals["classes"], seed))

    def collector(self, kind: str, images: ImageSet, count: int, seed: int) -> Collector:
        """A new one of some kind but features for the first `count` of some images."""
        return _COLLECTORS[kind](self, images.resolution, count, seed)

    def feature_collector(
        self, images: ImageSet, count: int, *, keeps: Set[str], are_reals: bool, has_jackknife: bool
    ) -> CachedFeatures | FeatureCollector:
        """A new one of features for the first `count` of some images.

        Args:
            images: they.
            count: how many of them.
            keeps: what all metrics keep of them, see `Metric`.
            are_reals: they will be seen again.
            has_jackknife: their parts will be left out in turn, which takes the moments of each.
        """
        shared = {"parts": feature_stats.PARTS if has_jackknife else 1, "kept": feature_stats.KEPT}
        if are_reals:
            # Class scores are asked of fakes alone.
            keeps = keeps - {"scores"}
            return CachedFeatures(self.extractor, images, count, cache_root() / "features", keeps=keeps, **shared)
        return FeatureCollector(self.extractor, images.resolution, count, keeps=keeps, **shared)

    def read_training(self, number: int) -> np.ndarray:
        """One of the reals as it is, by its place in the pool's order."""
        return replace(self.pool, mirror=False).draw(number, 1).read(0, 1)[0]

    @property
    def has_random_features(self) -> bool:
        """Whether the Inception network is none."""
        return self.extractor.weights.source == RANDOM

    def describe(self, gathers: tuple[str, ...]) -> dict[str, Any]:
        """What numbers made from these depend on besides images."""
        if "features" not in gathers:
            return {}
        weights = self.extractor.weights.source
        return {"features": "Inception 2015-12-05, pool3", "weights": weights, "resize": self.extractor.mode}

    def notes(self, gathers: tuple[str, ...]) -> tuple[str, ...]:
        """What a user should know of them."""
        if "features" not in gathers:
            return ()
        if self.has_random_features:
            return ("features of a random network: for comparisons within one project, and no number to publish",)
        return (self.extractor.weights.warning,) if self.extractor.weights.warning else ()


_COLLECTORS: dict[str, Callable[[Tools, int, int, int], Collector]] = {
    "patches": lambda tools, resolution, count, seed: PatchCollector(resolution, count, seed),
    "small_patches": lambda tools, resolution, count, seed: PatchCollector(
        resolution, count, seed, patch=3, coarsest=min(resolution, 8)
    ),
    "pairs": lambda tools, resolution, count, seed: SimilarityCollector(resolution, count),
    "pixels": lambda tools, resolution, count, seed: RowCollector(box_shrunk, count),
    "planes": lambda tools, resolution, count, seed: RowCollector(_planes, count),
    "compared": lambda tools, resolution, count, seed: RowCollector(as_rows, count),
    "shown": lambda tools, resolution, count, seed: RowCollector(np.copy, min(count, SHOWN)),
}


@dataclass(frozen=True)
class Metric:
    """How one metric works.

    Attributes:
        gathers: kinds of collectors it needs of each set.
        compare: reals, fakes, tools and seed to numbers.
        keeps: what of the kind "features" it needs, by the names in `features.Seen`.
        details: constants that belong beside its numbers.
    """

    gathers: tuple[str, ...]
    compare: Callable[[Gathered, Gathered, Tools, int], Measured]
    keeps: frozenset[str] = frozenset()
    details: Mapping[str, Any] = field(default_factory=dict)


def _swd_of(kind: str) -> Callable[[Gathered, Gathered, Tools, int], Measured]:
    return lambda reals, fakes, tools, seed: swd(reals[kind], fakes[kind], seed, tools.show_progress)


def _of_features(keeps: str, compare: Callable[[Any, Any, Tools, int], Measured], **details: Any) -> Metric:
    """`compare` gets what `keeps` names of the reals, None where they are not looked at, and of the fakes."""

    def compare_kept(reals: Gathered, fakes: Gathered, tools: Tools, seed: int) -> Measured:
        return compare(getattr(reals.get("features"), keeps, None), getattr(fakes["features"], keeps), tools, seed)

    return Metric(("features",), compare_kept, frozenset({keeps}), details)


def _neighbors_by(name: str, kind: str, rows_of: Callable[[Any], np.ndarray]) -> Metric:
    """Neighbours in the space of what `kind` gathers, from which `rows_of` takes the rows; `name` is the metric's own."""

    def compare(reals: Gathered, fakes: Gathered, tools: Tools, _seed: int) -> Measured:
        held_out = views(reals["held_out"]) if "held_out" in reals else None
        training = tools.once(name, lambda: Training(views(reals), held_out))
        return neighbors(training, views(fakes), fakes["shown"], tools.read_training, name=name)

    def views(gathered: Gathered) -> list[np.ndarray]:
        return [rows_of(one[kind]) for one in (gathered, gathered.get("flipped")) if one]

    return Metric((kind, "shown"), compare, frozenset({"features"}))


METRICS = {
    "swd": Metric(("patches",), _swd_of("patches")),
    "swd_small": Metric(("small_patches",), _swd_of("small_patches")),
    "ms_ssim": Metric(("pairs",), lambda reals, fakes, tools, seed: ms_ssim(reals["pairs"], fakes["pairs"])),
    "fid": _of_features(
        "summary",
        lambda reals, fakes, tools, seed: fid(reals, fakes, with_uncertainty=tools.with_uncertainty),
    ),
    "kid": _of_features("features", lambda reals, fakes, tools, seed: tools.kernel_distance(reals, fakes, seed)),
    "inception_score": _of_features("scores", lambda reals, fakes, tools, seed: inception_score(fakes)),
    "precision_recall": _of_features(
        "features",
        lambda reals, fakes, tools, seed: precision_recall(reals, fakes),
        k_precision_recall=NEIGHBORS_PR,
        k_density_coverage=NEIGHBORS_DC,
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
    "neighbors": _neighbors_by("neighbors", "compared", lambda rows: rows),
    "neighbors_features": _neighbors_by("neighbors_features", "features", lambda gathered: gathered.features),
}
