"""Definition of a metric: its description, the data that it collects, its computation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from pggan_jax.config import DataConfig
from pggan_jax.errors import UserError
from pggan_jax.evaluation.image_sets import RealPool
from pggan_jax.evaluation.inception.features import FeatureExtractor, load_extractor
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.evaluation.pixels import pixel_rows
from pggan_jax.generation.model import Model
from pggan_jax.images import ImageShape
from pggan_jax.metric_kinds import MetricKind

METRIC_NOTE = "metric "
"""Start of the note by which an exception says in which metric it was raised."""


class MetricError(ValueError):
    """A metric does not follow the interface of `Metric`.

    `naming_metric` adds its name to the message.
    """


@contextmanager
def naming_metric(name: str) -> Iterator[None]:
    """Add the name of a metric to exceptions of the `with` block.

    Raises:
        UserError: the block has raised a MetricError.
    """
    try:
        yield
    except MetricError as error:
        raise UserError(f"metric {name}: {error}") from None
    except Exception as error:
        error.add_note(f"{METRIC_NOTE}{name}")
        raise


Collected = Mapping[str, Any]
"""Data of one set of images: by the names in `Metric.collect`; `inception`, see `Metric.inception`; `classes`, int32 `[count]`.

For metrics that use held-out reals, the data of the reals has `held_out`: the same of the held-out reals, if there are any. If
training flipped images, the data for metrics that use all reals has `flipped`: the same of all images, mirrored.
"""


class Collector(Protocol):
    """Collects data of a set of images, batch by batch."""

    def add(self, images: Any, first: int) -> None:
        """Add uint8 images with the numbers first, first+1 ...; a `ClipCollector` takes `Clips`."""

    def finish(self) -> Any:
        """Return the data once all images have been added."""


CollectorFactory = Callable[[ImageShape, int, int], Collector]
"""Makes a collector from the shape of the images, their number, and a seed. Metrics that share a factory share its data."""


class RowCollector:
    """Collects the result of a function of each image.

    Args:
        function: uint8 images to an array with one row per image.
        count: number of images; later ones are ignored.
    """

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], count: int):
        self._function, self._count = function, count
        self._rows: np.ndarray | None = None

    def add(self, images: np.ndarray, first: int) -> None:
        """Add uint8 images with the numbers first, first+1 ...

        Raises:
            MetricError: the function does not return one row per image.
        """
        if first >= self._count:
            return
        images = images[: self._count - first]
        rows = np.asarray(self._function(images))
        if rows.shape[:1] != (len(images),):
            expected = f"an array [{len(images)}, ...]"
            raise MetricError(
                f"collect_rows: its function must return one row per image, {expected} here, not an array {list(rows.shape)}"
            )
        if self._rows is None:
            self._rows = np.empty((self._count, *rows.shape[1:]), rows.dtype)
        self._rows[first : first + len(rows)] = rows

    def finish(self) -> np.ndarray:
        """Return all rows.

        Raises:
            ValueError: no images were added.
        """
        if self._rows is None:
            raise ValueError("no images were added")
        return self._rows


def collect_rows(function: Callable[[np.ndarray], np.ndarray], *, at_most: int | None = None) -> CollectorFactory:
    """Return a factory of `RowCollector` for `function`, of the first `at_most` images."""
    return lambda shape, count, seed: RowCollector(function, count if at_most is None else min(count, at_most))


def make_collector(factory: CollectorFactory, shape: ImageShape, *, count: int, seed: int) -> Collector:
    """Return the collector of a factory.

    Raises:
        MetricError: the factory returns something else.
    """
    collector = factory(shape, count, seed)
    if not (hasattr(collector, "add") and hasattr(collector, "finish")):
        found = type(collector).__name__
        raise MetricError(f"`collect` must have factories of collectors, such as collect_rows(function), not of {found}")
    return collector


collect_pixels = collect_rows(pixel_rows)


@dataclass
class MetricContext:
    """What metrics need besides the images.

    Attributes:
        reals: the reals; their seed is the seed of everything random in the metrics.
        data: the settings of the reals.
        held_out: reals that were not trained on, if there are any.
        load_extractor: loads the Inception network; called at most once, if a metric needs it.
        show_progress: show progress bars.
        model: the networks that are measured, if they are at hand; see `MetricKind.needs_model`.
        with_uncertainty: also compute uncertainties that take long; otherwise only the headline values.
    """

    reals: RealPool
    data: DataConfig
    held_out: RealPool | None = None
    load_extractor: Callable[[], FeatureExtractor] = load_extractor
    show_progress: bool = True
    model: Model | None = None
    with_uncertainty: bool = True
    _kept: dict[str, Any] = field(default_factory=dict, init=False)

    @property
    def seed(self) -> int:
        """Seed of everything random in the metrics."""
        return self.reals.seed

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """The Inception network."""
        return self.load_extractor()

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """Return `make()`, computed the first time and kept for the next set of generated images."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


@dataclass(frozen=True)
class Metric:
    """A metric. Each file in `evaluation/metrics/` defines one or more; the registry finds them.

    Attributes:
        kind: its description, of literals only (see `metric_kinds.read_kinds`).
        compute: data of the reals (empty if `kind.needs_reals` is false), data of the generated images, and the context to the
            result.
        collect: factories of the data that it needs of each set.
        inception: outputs of the Inception network that it needs: "features", "scores", "summary" (see `InceptionOutputs`).
        details: constants that are recorded beside its values.
        check: raises `UserError` if the context lacks something that the metric needs.
    """

    kind: MetricKind
    compute: Callable[[Collected, Collected, MetricContext], MetricResult]
    collect: Mapping[str, CollectorFactory] = field(default_factory=dict)
    inception: frozenset[str] = frozenset()
    details: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[MetricContext], None] = lambda context: None

    def __post_init__(self) -> None:
        if bool(self.inception) != self.kind.needs_inception:
            raise ValueError(f"metric {self.kind.name}: `inception` must be given if and only if kind.needs_inception is true")

    def measure(self, reals: Collected, fakes: Collected, context: MetricContext) -> MetricResult:
        """Call `compute`, and check its result.

        Raises:
            UserError: the result is not a MetricResult, or does not have the headline value.
        """
        with naming_metric(self.kind.name):
            result = self.compute(reals, fakes, context)
            found = result.values if isinstance(result, MetricResult) else result
            if not isinstance(result, MetricResult) or not isinstance(found, Mapping):
                raise MetricError(f"compute must return MetricResult(values), values by name, not {type(found).__name__}")
            if self.kind.headline not in found:
                names = ", ".join(map(str, found)) or "none"
                raise MetricError(f"its headline {self.kind.headline!r} must be one of its values, which are: {names}")
        return result
