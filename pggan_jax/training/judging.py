"""How good a run is while it trains: metrics of the moving average at the current resolution, every so many ticks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.evaluation.evaluator import Evaluator
from pggan_jax.evaluation.image_sets import RealPool, generated
from pggan_jax.evaluation.metrics import Tools
from pggan_jax.metric_names import METRIC_KINDS
from pggan_jax.training import parallel
from pggan_jax.training.program import Program


class Judge:
    """Measures what `eval.metrics` asks for. What is known of the reals is kept as long as their resolution lasts.

    Args:
        config: of the run.
        loader: its data.
    """

    def __init__(self, config: Config, loader: Loader):
        self._config, self._loader = config, loader
        self._evaluator: tuple[int, Evaluator] | None = None

    def is_due(self, tick: int, resolution: int, *, is_last: bool) -> bool:
        """Whether tick number `tick`, counted from 0, ends with a measurement."""
        return bool(self._names(resolution)) and (is_last or (tick + 1) % self._config.eval.ticks == 0)

    def __call__(self, program: Program, params: Mapping[str, Any], alpha: float) -> dict[str, float]:
        """Headline values by metric, the same on every process; the first one measures.

        Args:
            program: of the current resolution.
            params: the generator's moving average.
            alpha: weight of its newest layers.
        """
        measured = json.dumps(self._measure(program, params, alpha)) if parallel.is_main_process() else ""
        return json.loads(parallel.first_text(measured))

    def _names(self, resolution: int) -> list[str]:
        """Small images are no food for some metrics."""
        return [name for name in self._config.eval.metrics if resolution >= METRIC_KINDS[name].minimum_resolution]

    def _measure(self, program: Program, params: Mapping[str, Any], alpha: float) -> dict[str, float]:
        networks, config = program.networks, self._config
        if self._evaluator is None or self._evaluator[0] != networks.resolution:
            pool = RealPool(self._loader, networks.resolution, config.run.seed, mirror=config.data.mirror)
            tools = Tools(pool, config.data.source, inception_weights=config.eval.inception_weights, show_progress=False)
            counts = {"num_images": config.eval.num_images, "seed": config.run.seed}
            evaluator = Evaluator(self._names(networks.resolution), tools, **counts, with_floor=False)
            self._evaluator = networks.resolution, evaluator
        evaluator = self._evaluator[1]
        fakes = generated(
            program.sampler,
            params,
            latent_size=networks.latent_size,
            label_size=networks.generator.label_size,
            classes=evaluator.classes(),
            alpha=alpha,
            seed=config.run.seed,
            count=evaluator.most_fakes,
        )
        return {result.metric: result.headline for result in evaluator(fakes)}
