"""The largest run that a budget allows, and runs of equal time, in the studies of experiments/paper."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.paper.measuring.measurements import divergence
from experiments.paper.study import budget
from experiments.paper.study.budget import LEAST_SCALE, WIDTHS, choose, lengths_for, width_settings
from experiments.paper.study.folder import Folder, claim
from experiments.paper.study.plan import Lengths, Measures, Run, Study, Variant, make_plan, work_of
from experiments.paper.study.progress import arithmetic
from pggan_jax.config.io import load_config
from pggan_jax.errors import UserError
from pggan_jax.schedule import Schedule

SMOKE = "experiments/smoke.py"
MEASURES = Measures("fd8", {"fd8": "distance"}, ("fd8",))
ONE = Study("test", "How good?", (Variant("one", "", SMOKE),), MEASURES, ())


def squared(width: float) -> float:
    """Arithmetic of networks with so many of the feature maps."""
    return width**2


@pytest.mark.parametrize(
    ("minutes", "width", "scale"),
    [(1000.0, 1.0, 1.0), (10_000.0, 1.0, 1.0), (500.0, 1.0, 0.5), (101.0, 1.0, 0.1), (90.0, 0.5, 0.36), (1.0, 0.0625, 0.25)],
)
def test_a_budget_takes_the_widest_networks_with_enough_images(minutes, width, scale):
    found = choose(minutes, work=squared, measure=lambda width: 1000 * squared(width))
    assert (found.width, found.scale) == (width, pytest.approx(scale, rel=0.02))
    assert found.minutes <= minutes


def test_only_widths_that_may_fit_are_measured():
    measured = []

    def measure(width):
        measured.append(width)
        return 1000 * squared(width)

    choose(1.0, work=squared, measure=measure)
    assert measured == [0.0625]


def test_narrow_networks_that_are_slower_than_their_arithmetic_do_not_hide_wider_ones():
    """On a GPU all widths take about the same time: the widest is taken."""
    found = choose(100.0, work=lambda width: 1.0, measure=lambda width: 500.0)
    assert (found.width, found.scale) == (max(WIDTHS), 0.2)
    assert found.scale >= LEAST_SCALE


def test_a_budget_for_nothing_is_refused():
    with pytest.raises(UserError, match="less than 1 %"):
        choose(0.01, work=squared, measure=lambda width: 1000 * squared(width))


def test_width_multiplies_the_feature_maps_of_both_networks():
    config = load_config("experiments/cifar10.py").config
    assert width_settings(config, 1.0) == ()
    assert width_settings(config, 0.25) == (
        *("generator.fmap_base=1024", "generator.fmap_max=32"),
        *("discriminator.fmap_base=1024", "discriminator.fmap_max=32"),
    )


def test_the_choice_is_recorded_and_kept(tmp_path, monkeypatch):
    """Another measurement of the same machine must not change the runs that continue."""
    folder, minutes = Folder(tmp_path / "out"), [40.0]
    monkeypatch.setattr(budget, "estimated_minutes", lambda plan: minutes[0] * len(plan.seeds))

    def chosen():
        return lengths_for(ONE, Lengths(settings=("run.patience=7",)), folder=folder, seeds=(0, 1), budget_minutes=20.0)

    first = chosen()
    assert first.scale == 0.25
    claim(folder, make_plan(ONE, names=(), seeds=(0, 1), lengths=first))
    minutes[0] = 1.0
    assert chosen() == first


# Runs of equal time


def equal_time():
    variants = (
        Variant("growing", "", SMOKE),
        Variant("same", "", SMOKE, ("generator.fmap_max=4",), after="growing", grows=False, minutes=True),
    )
    return make_plan(Study("test", "", variants, MEASURES, ()), names=(), seeds=(0,), lengths=Lengths(scale=10.0))


def test_images_do_not_end_a_run_of_equal_time():
    plan = equal_time()
    growing, same = (plan.configs[name] for name in ("growing", "same"))
    assert work_of(same) > 10 * work_of(growing)
    points = Schedule.of(same).total_images / 20 / (1000 * same.schedule.tick_kimg)
    assert points == pytest.approx(plan.study.points, rel=0.1), "as many as in a run of equal arithmetic"


def test_the_bar_counts_a_run_of_equal_time_as_the_other_one():
    plan = equal_time()
    growing, same = (Run(variant, 0) for variant in plan.variants)
    assert arithmetic(plan, same) == arithmetic(plan, growing) == arithmetic(plan, same, 10**9)
    assert arithmetic(plan, same, 0) == 0


def test_divergence_of_classes():
    reference = np.array([0.5, 0.25, 0.25])
    assert divergence(reference, reference) == 0
    assert divergence(np.array([1.0, 0.0, 0.0]), reference) == pytest.approx(np.log(2))
