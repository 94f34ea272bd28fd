"""`pg.evaluate`: measure a model from Python."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pggan_jax.checkpointing.model_file import OWN_PROGRAM
from pggan_jax.checkpointing.open_model import load
from pggan_jax.errors import UserError
from pggan_jax.evaluation.evaluator import Evaluator
from pggan_jax.evaluation.image_sets import (
    RealPool,
    generated_images,
    held_out_pool,
    open_reals,
    use_classes_of,
    without_unused,
)
from pggan_jax.evaluation.inception.features import load_extractor
from pggan_jax.evaluation.metric import MetricContext
from pggan_jax.evaluation.metric_result import Evaluation
from pggan_jax.generation.model import Model
from pggan_jax.system.jax_environment import fixed_jax_settings


def evaluate(
    source: Model | str | Path,
    metrics: Sequence[str] = ("swd", "ms_ssim"),
    *,
    num_images: int = 0,
    seed: int = 0,
    floor: bool = True,
    inception_weights: str | None = None,
) -> dict[str, Evaluation]:
    """Measure a model against the images that it was trained on, as the command `evaluate` does.

    Args:
        source: a model, or what `load` takes.
        metrics: names, as `evaluate --help` lists them.
        num_images: images on each side; 0 for the number of each metric's published protocol.
        seed: of latents, patches, directions and subsets.
        floor: also measure reals against other reals.
        inception_weights: file with the weights of the Inception network, for metrics that need it.

    Returns:
        One `Evaluation` per metric, by name: `headline` is its most important value, `result.values` all of them, and
        `floor.values` those of reals against reals.

    Raises:
        UserError: a metric is unknown or cannot be computed here, or the data are not there any more.
    """
    model = source if isinstance(source, Model) else load(source)
    if model.program != OWN_PROGRAM:
        raise UserError(
            f"{model.name}: {model.program} trained it, on images that are not known; use launch.py evaluate --data"
        )
    data = model.config.data
    with fixed_jax_settings():
        loader = open_reals(without_unused(data, metrics), seed=model.config.run.seed, scale=model.representation, is_own=True)
        use_classes_of(model, loader, named=data.source)
        extractor = partial(load_extractor, inception_weights, "tf1", needed_by=f"metrics={','.join(metrics)}")
        reals = RealPool(loader, model.resolution, seed, mirror=data.mirror)
        context = MetricContext(reals, data, held_out=held_out_pool(reals, data), load_extractor=extractor)
        evaluator = Evaluator(list(metrics), context, num_images=num_images, with_floor=floor)
        fakes = generated_images(
            model.sampler,
            model.generator,
            classes=evaluator.classes(),
            alpha=model.alpha,
            seed=seed,
            count=evaluator.max_fakes,
        )
        return {one.metric: one for one in evaluator(fakes, model=model)}
