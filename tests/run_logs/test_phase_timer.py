"""Seconds by phase of a tick."""

from __future__ import annotations

import pytest

from pggan_jax.run_logs.phase_timer import PhaseTimer, TickTime


class TestPhaseTimer:
    def test_phases_by_lap(self):
        timer = PhaseTimer()
        with timer.phase("save"):
            pass
        assert list(timer.iterate("wait", [1, 2, 3])) == [1, 2, 3]
        record = timer.end_tick().record()
        assert record["wait_seconds"] > record["compile_seconds"]
        assert record["compile_seconds"] == 0.0
        assert set(record) == {f"{name}_seconds" for name in ("wait", "compile", "grow", "snapshot", "evaluate", "save")} | {
            "seconds_per_tick",
            "wait_share",
        }
        assert timer.end_tick().record()["wait_seconds"] == 0.0

    def test_training_seconds_are_those_of_all_ticks_without_the_phases(self):
        now = [5.0]
        timer = PhaseTimer(lambda: now[0])
        now[0] += 100
        timer.begin_at(60.0)
        for expected in (64.0, 68.0):
            with timer.phase("compile"):
                now[0] += 7
            with timer.phase("wait"):
                now[0] += 1
            now[0] += 3
            assert timer.training_seconds == expected
            assert timer.end_tick().total == 11
            assert timer.training_seconds == pytest.approx(expected)
        timer.begin_at(10.0)
        assert timer.training_seconds == pytest.approx(10.0)

    def test_training_is_what_is_left(self):
        assert TickTime(10.0, {"wait": 1.0, "compile": 2.0, "snapshot": 3.0, "save": 1.0}).training == pytest.approx(4.0)
        assert TickTime(1.0, {"compile": 2.0}).training > 0

    def test_the_share_of_waiting_is_of_the_training_time(self):
        assert TickTime(10.0, {"wait": 1.0, "compile": 4.0, "grow": 1.0}).wait_share == pytest.approx(0.2)
        assert TickTime(10.0, {}).wait_share == 0.0
        assert TickTime(1.0, {"wait": 0.6, "compile": 0.5}).wait_share == 1.0
