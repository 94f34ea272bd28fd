"""How cosine schedules are shown: by plan, explain and report, and in the log of a run that is made longer."""

from __future__ import annotations

import math

import pytest

from pggan_jax.cosines import cosine_curve, cosine_lines, cosines
from pggan_jax.reporting.html import render
from pggan_jax.reporting.run_record import gather
from pggan_jax.schedule import Schedule
from tests.helpers.runs import run_small, small_config

ENDS = {
    "schedule__learning_rate_end": 0.001,
    "schedule__ema_half_life_kimg_end": 2.0,
    "loss__name": "logistic",
    "loss__r1_gamma": 4.0,
    "schedule__r1_gamma_end": 1.0,
}


def test_a_line_for_each_and_a_warning_where_they_end_with_the_run():
    assert cosine_lines(small_config()) == []
    config = small_config(**ENDS)
    assert cosine_lines(config) == [
        "cosine: learning rate from 0.003 to 0.001 at kimg 1.92",
        "cosine: R1 gamma from 4 to 1 at kimg 1.92",
        "cosine: EMA half-life from 0.5 kimg to 2 kimg at kimg 1.92",
        "cosines end with the run: a larger schedule.total_kimg stretches them, unless schedule.anneal_kimg=1.92",
    ]
    assert cosine_lines(small_config(**ENDS, schedule__anneal_kimg=1.0))[-1] == (
        "cosine: EMA half-life from 0.5 kimg to 2 kimg at kimg 1"
    )
    other = small_config(schedule__learning_rate_end=0.001, schedule__learning_rate_at={4: 0.01})
    assert cosine_lines(other)[0] == "cosine: learning rate from 0.01 to 0.001 at kimg 1.92"


@pytest.mark.parametrize("number", range(3))
def test_curves_are_half_cosines(number):
    config = small_config(**ENDS, schedule__anneal_kimg=0.96)
    one = cosines(config)[number]
    curve = dict(cosine_curve(one, Schedule.of(config), end=1.92))
    assert list(curve) == sorted(curve)
    assert curve[0.0] == one.start
    assert curve[1.92] == one.end
    # The schedule is looked at once per step of 16 images.
    for kimg, value in curve.items():
        share = min((1000 * kimg) // 16 * 16 / 960, 1.0)
        expected = one.start + (1 - math.cos(math.pi * share)) / 2 * (one.end - one.start)
        assert value == pytest.approx(expected, rel=0.02)
    assert max(cosine_curve(one, Schedule.of(config), end=0.5))[0] == 0.5


def test_explain_and_plan(launch):
    flags = ["--config=experiments/smoke.py", "--set", "schedule.learning_rate_end=0.0001", "--set", "schedule.anneal_kimg=2"]
    status, out, _ = launch("explain", *flags, "--set", "schedule.ema_half_life_kimg_end=2", "--kimg=1")
    assert status == 0
    assert "EMA half-life" in out
    assert "% of the way; they end at kimg 2\n" in out
    assert "cosines" not in launch("explain", "--config=experiments/smoke.py", "--kimg=1")[1]
    status, out, _ = launch("plan", *flags, "--set", "data.resolution=4", "--nomeasure")
    assert status == 0
    assert out.splitlines()[-1].startswith("cosine: learning rate from ")
    assert out.splitlines()[-1].endswith(" to 0.0001 at kimg 2")


@pytest.mark.usefixtures("quick_compilation")
def test_a_longer_run_says_that_they_are_stretched(tmp_path):
    lengths = {"data__resolution": 4, "schedule__stable_kimg": 0.16, "schedule__learning_rate_end": 0.001}
    assert run_small(tmp_path, small_config(**lengths))
    assert "cosine" not in (tmp_path / "log.txt").read_text()
    longer = small_config(**lengths, schedule__total_kimg=0.32)
    assert run_small(tmp_path, longer, allow_config_change=True)
    log = (tmp_path / "log.txt").read_text()
    assert "cosine: learning rate from 0.003 to 0.001 at kimg 0.32" in log
    assert "a larger schedule.total_kimg stretches them, unless schedule.anneal_kimg=0.32" in log
    page = render(gather(tmp_path, longer))
    assert "learning rate, as scheduled" in page
    assert "as scheduled" not in render(gather(tmp_path, small_config()))
