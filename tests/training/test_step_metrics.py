"""Checks of what the loss functions return, as a train step makes them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.distributed import devices
from pggan_jax.stats_fields import LOOP_FIELDS
from pggan_jax.training.microbatches import accumulate_gradients
from pggan_jax.training.step_metrics import check_metric_names
from tests.helpers.runs import finished_run, stats
from tests.helpers.train_steps import Trainer, config_of

pytestmark = pytest.mark.usefixtures("quick_compilation")
SCORES = jnp.arange(4.0)


def accumulated(loss_fn):
    """Trace the gradients of one device in two microbatches."""
    microbatches = np.arange(4).reshape(2, 2)
    program = functools.partial(accumulate_gradients, loss_fn, microbatches=microbatches)
    mapped = jax.vmap(lambda params, scores: program(params, (scores,)), (None, 0), axis_name=devices.AXIS)
    return jax.eval_shape(mapped, 1.0, SCORES[None])


def step_with(returned):
    """A function whose `loss_fn` returns what `returned` makes of parameter and scores."""

    def loss_fn(params, scores):
        return returned(params, scores)

    return loss_fn


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda params, scores: params * scores.mean(), "not a pair"),
        (lambda params, scores: (params * scores.mean(), {}, {}), "not a pair"),
        (lambda params, scores: (params * scores.mean(), scores.mean()), "not a dictionary"),
        (lambda params, scores: (params * scores, {}), r"the loss has shape \(2,\)"),
        (lambda params, scores: (params * scores.mean(), {"scores": scores}), r"'scores' has shape \(2,\)"),
        (lambda params, scores: (params * scores.mean(), {"all": {"mean": scores.mean()}}), "'all' is dict"),
        (lambda params, scores: (params * scores.mean(), {"none": None}), "'none' is NoneType"),
        (lambda params, scores: (params * scores.mean(), {3: scores.mean()}), "the name 3"),
    ],
)
def test_a_result_of_another_form_is_refused(returned, message):
    with pytest.raises(ValueError, match=rf"step_with's loss_fn must return \(loss, {{name: scalar}}\).*{message}"):
        accumulated(step_with(returned))


def test_scalars_of_every_kind_are_accepted():
    returned = lambda params, scores: (params * scores.mean(), {"traced": scores.mean(), "number": 0.5})  # noqa: E731
    (_, metrics), _ = accumulated(step_with(returned))
    assert metrics.keys() == {"traced", "number"}


@pytest.mark.parametrize(
    ("discriminator", "generator", "message"),
    [
        (["loss_d", "score"], ["loss_g", "score"], "both return the metric 'score'"),
        (["loss_d", "alpha"], ["loss_g"], "'alpha' has the name of a field"),
        (["loss_d"], ["loss_g", "kimg"], "'kimg' has the name of a field"),
        (["loss_d"], ["metric_swd"], "'metric_swd' has the name of a field"),
    ],
)
def test_a_name_that_is_taken_is_refused(discriminator, generator, message):
    with pytest.raises(ValueError, match=message):
        check_metric_names(discriminator, generator)


def test_a_train_step_checks_the_names(monkeypatch):
    monkeypatch.setattr("pggan_jax.training.step_metrics.LOOP_FIELDS", LOOP_FIELDS | {"real_score"})
    trainer = Trainer(config_of())
    with pytest.raises(ValueError, match="'real_score' has the name of a field"):
        trainer(trainer.start())


def test_the_fields_of_the_loop_are_those_of_a_run(tmp_path_factory):
    metrics = {"loss_g", "loss_d", "real_score", "fake_score", "gradient_penalty"}
    for record in stats(finished_run(tmp_path_factory.getbasetemp())):
        assert {name for name in record if not name.startswith("metric_")} == LOOP_FIELDS | metrics
