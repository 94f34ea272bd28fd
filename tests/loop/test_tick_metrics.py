"""Means over the steps of a tick; what skipped steps do to them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.loop.input_feed import plan_chunks
from pggan_jax.loop.tick_metrics import CHUNKS_IN_FLIGHT, DivergedError, TickMetrics
from pggan_jax.schedule import Schedule
from pggan_jax.training.multi_step import StepTotals
from tests.helpers.runs import small_config

CONFIG = small_config()
CHUNKS = list(plan_chunks(Schedule(CONFIG.schedule, 8), start=0, steps_per_call=4))


def tick_metrics(patience=5, **fields):
    return TickMetrics(CheckpointMetadata(0, 4, 1.0, 1, 0, **fields), patience=patience)


def totals(loss, *, skipped=0, in_a_row=0, longest=0):
    return StepTotals({"loss": np.float32(loss)}, *map(np.int32, (skipped, in_a_row, longest)))


def test_the_mean_is_over_the_steps_without_a_skipped_update():
    ticks = tick_metrics()
    ticks.add(CHUNKS[0], totals(8.0))
    ticks.add(CHUNKS[1], totals(2.0, skipped=2))
    record = ticks.finish(3)
    assert record == {"steps": 8, "loss": 10 / 6, "skipped_steps": 3, "skipped_steps_in_tick": 3}
    ticks.add(CHUNKS[2], totals(0.0, skipped=4))
    assert math.isnan(ticks.finish(7)["loss"]), "every step was left out"


def test_an_interrupted_tick_continues():
    whole, first = tick_metrics(tick_skipped=4), tick_metrics(tick_skipped=4)
    for ticks in (whole, first):
        ticks.add(CHUNKS[0], totals(1.0, skipped=1))
    rest = tick_metrics(**first.unfinished())
    for ticks in (whole, rest):
        ticks.add(CHUNKS[1], totals(2.0))
    assert rest.finish(6) == whole.finish(6)


def test_a_metric_that_is_new_in_an_interrupted_tick_has_no_mean_before_the_next():
    """As only the rest of the tick has it; one that is gone is left out."""
    ticks = tick_metrics(tick_steps=4, tick_sums={"gone": 4.0, "loss": 4.0})
    new = StepTotals({"loss": np.float32(4.0), "new": np.float32(8.0)}, *np.zeros(3, np.int32))
    for chunk in CHUNKS[1:3]:
        ticks.add(chunk, new)
    record = ticks.finish(0)
    assert "gone" not in record
    assert record["loss"] == 1.0
    assert math.isnan(record["new"])
    ticks.add(CHUNKS[3], new)
    assert ticks.finish(0)["new"] == 2.0


def test_skipped_updates_of_a_tick_are_its_own():
    """Also where a run continues in the middle of a tick."""
    ticks = tick_metrics(tick_skipped=4)
    for skipped, in_tick in ((6, 2), (6, 0), (9, 3)):
        record = ticks.finish(skipped)
        assert (record["skipped_steps"], record["skipped_steps_in_tick"]) == (skipped, in_tick)


class TestDivergence:
    def test_is_raised_once_the_devices_have_come_so_far(self):
        ticks = tick_metrics(patience=3)
        ticks.add(CHUNKS[0], totals(0.0, skipped=3, in_a_row=0, longest=3))
        for chunk in CHUNKS[1:CHUNKS_IN_FLIGHT]:
            ticks.add(chunk, totals(1.0))
        with pytest.raises(DivergedError) as caught:
            ticks.add(CHUNKS[CHUNKS_IN_FLIGHT], totals(1.0))
        assert (caught.value.steps, caught.value.chunk) == (3, CHUNKS[0])

    @pytest.mark.parametrize("end", ["settle", "unfinished", "finish"])
    def test_is_raised_before_anything_is_written(self, end):
        ticks = tick_metrics(patience=3)
        ticks.add(CHUNKS[0], totals(0.0, skipped=4, in_a_row=4, longest=4))
        with pytest.raises(DivergedError, match="4 steps in a row"):
            ticks.finish(4) if end == "finish" else getattr(ticks, end)()

    def test_fewer_in_a_row_are_none(self):
        ticks = tick_metrics(patience=3)
        for chunk in CHUNKS[:4]:
            ticks.add(chunk, totals(0.0, skipped=2, in_a_row=1, longest=2))
        ticks.settle()
        assert ticks.skipped_in_a_row == 1
