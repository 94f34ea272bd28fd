"""Measurements while a run trains: metrics of the moving average, and the held-out gap.

A measurement that fails is logged, and training goes on; what is missing from the start is refused before training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.distributed import processes
from pggan_jax.errors import UserError, first_line
from pggan_jax.evaluation.evaluator import Evaluator
from pggan_jax.evaluation.image_sets import RealPool, generated_images, held_out_pool
from pggan_jax.evaluation.inception.features import FeatureExtractor
from pggan_jax.evaluation.inception.weights import find_weights
from pggan_jax.evaluation.metric import METRIC_NOTE, MetricContext, naming_metric
from pggan_jax.evaluation.result_log import as_record
from pggan_jax.loop.compiled_step import Program
from pggan_jax.metric_kinds import METRIC_KINDS, public_name
from pggan_jax.networks.build import Networks
from pggan_jax.schedule import Schedule
from pggan_jax.training.train_step import prepare_reals

_MAX_SCORED = 1024
_SCORED_PIXELS = 2**22


@dataclass(frozen=True)
class Measurement:
    """One measurement.

    Attributes:
        scores: headline values by metric, the same on every process; none if it has failed.
        problem: why it has failed; empty on all processes but the first.
        records: for metric-NAME.jsonl, in the form of those of `evaluate`; none on all processes but the first.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)


class PeriodicEvaluator:
    """Measure the metrics in `eval.metrics`; statistics of the reals are kept per resolution.

    Args:
        config: of the run.
        loader: its data.
    """

    def __init__(self, config: Config, loader: Loader):
        self._config, self._loader = config, loader
        self._extractor: FeatureExtractor | None = None
        self._evaluator: tuple[int, Evaluator] | None = None

    def check(self) -> None:
        """Prepare the metrics of every resolution of the schedule, which finds what they lack.

        Raises:
            UserError: a metric lacks images or weights.
        """
        for resolution in Schedule.of(self._config).resolutions:
            if self._names(resolution):
                try:
                    self._new_evaluator(resolution)
                except UserError as error:
                    wanted = ",".join(self._config.eval.metrics)
                    raise UserError(f"eval.metrics = {wanted!r}: cannot be measured while training: {error}") from None

    def is_due(self, tick: int, resolution: int, *, is_last: bool) -> bool:
        """Whether tick number `tick`, counted from 0, ends with a measurement."""
        return bool(self._names(resolution)) and (is_last or (tick + 1) % self._config.eval.ticks == 0)

    def __call__(self, program: Program, params: Mapping[str, Any], *, alpha: float, images_seen: int) -> Measurement:
        """Measure on the first process; a failure is part of the result.

        Args:
            program: of the current resolution.
            params: the generator's moving average.
            alpha: weight of its newest layers.
            images_seen: for the records.
        """
        measured = Measurement()
        if processes.is_main_process():
            try:
                measured = self._measure(program, params, alpha=alpha, images_seen=images_seen)
            except Exception as error:  # of any kind: training goes on
                measured, self._evaluator = Measurement(problem=failure_message(error)), None
        message = json.dumps(measured.scores) if processes.is_main_process() else ""
        return replace(measured, scores=json.loads(processes.first_message(message)))

    def public_name(self, metric: str) -> str:
        """Return the name of a score in stats.jsonl; right on the first process alone."""
        has_random_features = self._extractor is not None and self._extractor.has_random_weights
        return public_name(metric, has_random_features=has_random_features)

    def _names(self, resolution: int) -> list[str]:
        """Return the metrics that can be measured at a resolution."""
        shape = self._config.data.shape_at(resolution)
        return [name for name in self._config.eval.metrics if not METRIC_KINDS[name].problem_of(shape)]

    def _new_evaluator(self, resolution: int) -> Evaluator:
        config, names = self._config, self._names(resolution)
        if self._extractor is None and any(METRIC_KINDS[name].needs_inception for name in names):
            # One network for all resolutions; its file may vanish from now on.
            weights = find_weights(config.eval.inception_weights or None, named_by="eval.inception_weights=")
            self._extractor = FeatureExtractor(weights)
        pool = RealPool(self._loader, resolution, config.run.seed, mirror=config.data.mirror)
        held_out = held_out_pool(pool, config.data)
        context = MetricContext(
            pool,
            config.data,
            held_out=held_out,
            load_extractor=self._loaded_extractor,
            show_progress=False,
            with_uncertainty=False,
        )
        return Evaluator(names, context, num_images=config.eval.num_images, with_floor=False)

    def _loaded_extractor(self) -> FeatureExtractor:
        assert self._extractor is not None, "loaded with the first evaluator that needs it"
        return self._extractor

    def _measure(self, program: Program, params: Mapping[str, Any], *, alpha: float, images_seen: int) -> Measurement:
        resolution, config = program.networks.resolution, self._config
        if self._evaluator is None or self._evaluator[0] != resolution:
            self._evaluator = resolution, self._new_evaluator(resolution)
        evaluator = self._evaluator[1]
        fakes = generated_images(
            program.sampler,
            program.sampler.with_statistics(params, alpha=alpha),
            classes=evaluator.classes(),
            alpha=alpha,
            seed=config.run.seed,
            count=evaluator.max_fakes,
        )
        where = {"resolution": resolution, "alpha": alpha, "network": "ema", "data": config.data.source}
        scores, records = {}, []
        for result in evaluator(fakes):
            with naming_metric(result.metric):
                scores[result.metric] = result.headline
                records.append(as_record(result, kimg=images_seen / 1000, images_seen=images_seen, **where))
                json.dumps(records[-1])  # raises TypeError here if the metric returns what JSON does not have
        return Measurement(scores, records=records)


class HeldOutGap:
    """How much better the discriminator scores training images than held-out ones.

    Near 0 is good; a gap that grows means that the discriminator learns the training images by heart.

    The images are the same at every tick: the first of each set, equally many, as stored, without mirroring or augmentation. A
    batch holds images of one set only, as the discriminator compares the images of a batch with each other.

    Args:
        config: of the run.
        loader: its data.
    """

    def __init__(self, config: Config, loader: Loader):
        self._config = config
        self._sets = {"training_score": loader, "held_out_score": loader.held_out} if loader.held_out else {}
        self._score: tuple[int, Callable[..., jax.Array]] | None = None

    def __call__(self, program: Program, params: Any, *, alpha: float) -> dict[str, float]:
        """Return mean scores of both sets and `held_out_gap`, their difference; empty without them.

        Args:
            program: of the current resolution.
            params: of the discriminator, on one device.
            alpha: weight of its newest layers.
        """
        if not self._sets:
            return {}
        networks, score = program.networks, self._scorer(program)
        count = min(_MAX_SCORED, *map(len, self._sets.values()))
        batch = self._batch_size(networks, count)
        means = {}
        for name, loader in self._sets.items():
            scores = []
            for start in range(0, count // batch * batch, batch):
                images, labels = loader.gather(networks.resolution, np.arange(start, start + batch))
                scores.append(np.asarray(score(params, images, labels, np.float32(alpha)), np.float64))
            means[name] = float(np.mean(scores))
        return {"held_out_gap": means["training_score"] - means["held_out_score"], **means}

    def _batch_size(self, networks: Networks, count: int) -> int:
        """Return images per batch: whole groups of minibatch stddev, as few as the memory needs."""
        groups, batch = self._config.discriminator.stddev_groups, self._config.schedule.batch_size_for(networks.resolution)
        if groups.form != "whole_batch":
            batch = min(batch, max(1, _SCORED_PIXELS // networks.shape.pixels))
            group = min(groups.size, count) if groups.form in ("strided", "contiguous") else 1
            batch = max(group, batch // group * group)
            return min(batch, count // group * group)
        return min(batch, count)

    def _scorer(self, program: Program) -> Callable[..., jax.Array]:
        networks = program.networks
        if self._score is None or self._score[0] != networks.resolution:
            _, discriminator = networks.on_one_device()
            fades = networks.resolution > self._config.schedule.start_resolution

            def score(params: Any, images: jax.Array, labels: jax.Array, alpha: jax.Array) -> jax.Array:
                reals = prepare_reals(images, flip=None, alpha=alpha if fades else None)
                return discriminator.apply({"params": params}, reals, alpha, None, labels)[0]

            self._score = networks.resolution, jax.jit(score)
        return self._score[1]


def failure_message(error: Exception) -> str:
    """Describe why a measurement has failed, in one line."""
    if isinstance(error, UserError):
        return str(error)
    metrics = [note for note in getattr(error, "__notes__", ()) if note.startswith(METRIC_NOTE)]
    if isinstance(error, OSError) and error.filename:
        return ": ".join([*metrics, f"{error.filename}: {error.strerror}"])
    name, line = type(error).__name__, first_line(error)
    return ": ".join([*metrics, name, *[line] * (line != name)])
