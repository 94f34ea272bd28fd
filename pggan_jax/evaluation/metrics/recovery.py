"""Recovery gap: how much better training images are projected than other images.

A generator that has memorised its training images can draw them, and draws new ones less well.
"""

from __future__ import annotations

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.metric import Collected, Metric, MetricContext, MetricError, collect_rows
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.generation.projection import Projection, project
from pggan_jax.images import make_grid
from pggan_jax.metric_kinds import MetricKind

SHOWN, RESAMPLES = 8, 1000


def recovery(errors: dict[str, np.ndarray], *, seed: int) -> MetricResult:
    """Compare projection errors.

    Args:
        errors: of the images of each set, `[count]`; "training" and "held_out" must be among them.
        seed: of the resamples.

    Returns:
        The median of each set, and `gap`: that of held-out images minus that of training images. The uncertainty is the
        standard deviation over resamples with repetition.
    """
    random = np.random.RandomState(seed)
    medians = {name: float(np.median(one)) for name, one in errors.items()}
    drawn = {name: np.median(one[random.randint(len(one), size=(RESAMPLES, len(one)))], axis=1) for name, one in errors.items()}
    medians = {"gap": medians["held_out"] - medians["training"], **medians}
    drawn = {"gap": drawn["held_out"] - drawn["training"], **drawn}
    return MetricResult(medians, {name: float(one.std()) for name, one in drawn.items()})


def _compute(reals: Collected, fakes: Collected, context: MetricContext) -> MetricResult:
    if context.model is None:
        raise MetricError("measures a model, not images alone")
    trained_on = context.model.config.data.source
    if context.data.source != trained_on:
        raise UserError(
            f"recovery compares with the images that were trained on, {trained_on}, not {context.data.source}; remove --data"
        )
    held_out = reals["held_out"]["images"]
    sets = {"training": reals["images"], "held_out": held_out, "samples": fakes["images"]}
    # Of equal counts.
    count = min(map(len, sets.values()))
    images = np.concatenate([one[:count] for one in sets.values()])
    found = list(project(context.model, images, show_progress=None if context.show_progress else False))
    of_sets = {name: found[index * count : (index + 1) * count] for index, name in enumerate(sets)}
    result = recovery({name: np.array([one.rmse for one in own]) for name, own in of_sets.items()}, seed=context.seed)
    shown = np.concatenate([_pairs(sets[name], of_sets[name]) for name in ("training", "held_out")], axis=2)
    listed = {name: [round(one.rmse, 4) for one in own] for name, own in of_sets.items()}
    return MetricResult(
        result.values, result.uncertainty, images={"recovery": make_grid(shown, 1, gap=2)}, lists={"recovery": listed}
    )


def _pairs(images: np.ndarray, found: list[Projection]) -> np.ndarray:
    """Return each of the first images beside its projection and a gap."""
    made = np.stack([one.image for one in found[:SHOWN]])
    gap = np.zeros((*made.shape[:2], max(2, made.shape[2] // 8), made.shape[3]), np.uint8)
    return np.concatenate([images[: len(made)], made, gap], axis=2)


def _check(context: MetricContext) -> None:
    if context.held_out is None:
        raise UserError(
            "recovery needs images that were not trained on; add --held_out=SOURCE, such as tfds:mnist:test or folder:DIR, or "
            "train with data.held_out=0.1 or data.held_out_source=SOURCE"
        )


METRIC = Metric(
    MetricKind(
        "recovery",
        help="projection error of held-out images minus that of training images: memorisation",
        headline="gap",
        default_images=32,
        uses_held_out=True,
        has_floor=False,
        needs_model=True,
    ),
    compute=_compute,
    collect={"images": collect_rows(np.copy)},
    check=_check,
)
