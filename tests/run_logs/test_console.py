"""What a run tells: numbers that JSON has, an ETA that knows what is still to come, silence where nobody looks."""

from __future__ import annotations

import io
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.run_logs.console import Clock, CompileCounter, EtaEstimator, Lap, Log, ProgressBar, format_seconds, status_line
from tests.helpers.compiling import compilation_cache_in


class TestEta:
    def test_unknown_before_anything_was_seen(self):
        assert math.isnan(EtaEstimator({4: 1.0}).seconds({4: 100}))

    def test_resolutions_not_reached_cost_by_arithmetic(self):
        eta = EtaEstimator({4: 1.0, 8: 5.0, 16: 30.0})
        eta.observe({4: 100}, 1.0)
        assert eta.seconds({4: 100}) == pytest.approx(1.0)
        assert eta.seconds({4: 100, 8: 100, 16: 10}) == pytest.approx(1.0 + 5.0 + 3.0)

    def test_the_nearest_measured_resolution_counts(self):
        eta = EtaEstimator({4: 1.0, 8: 5.0, 16: 30.0})
        eta.observe({4: 100}, 1.0)
        eta.observe({8: 100}, 2.0)
        assert eta.seconds({16: 100}) == pytest.approx(2.0 * 30 / 5)

    def test_newer_notes_weigh_more(self):
        eta = EtaEstimator({4: 1.0})
        for seconds in (100.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
            eta.observe({4: 1}, seconds)
        assert eta.seconds({4: 1}) == pytest.approx(1.0, abs=0.5)

    def test_images_of_two_resolutions_share_the_time_by_arithmetic(self):
        eta = EtaEstimator({4: 1.0, 8: 5.0})
        eta.observe({4: 50, 8: 10}, 2.0)
        assert eta.seconds({4: 50}) == pytest.approx(1.0)
        assert eta.seconds({8: 10}) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.9, "59.9 s"),
        (60, "1m 00s"),
        (245, "4m 05s"),
        (3600, "1h 00m"),
        (3 * 3600 + 7 * 60 + 59, "3h 07m"),
        (47 * 3600, "47h 00m"),
        (48 * 3600, "2d 0h"),
        (52 * 3600, "2d 4h"),
        (math.nan, "?"),
    ],
)
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text


class TestLog:
    def test_to_terminal_and_file_after_what_was_there(self, tmp_path, capsys):
        (tmp_path / "log.txt").write_text("before\n")
        log = Log(tmp_path / "log.txt")
        log("grün")
        log.close()
        assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "before\ngrün\n"
        assert capsys.readouterr().out == "grün\n"

    def test_silent_hosts_say_nothing(self, capsys):
        log = Log(None)
        log("hello")
        log.close()
        assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("visible", [True, False])
def test_the_bar_is_silent_where_there_is_no_terminal(monkeypatch, visible):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = ProgressBar(total_images=100, images_seen=10, visible=visible)
    for _ in range(5):
        bar.update(10, "8x8 fade", math.nan)
    bar.close()
    assert stream.getvalue() == ""


class TestCompileCounter:
    @pytest.fixture(autouse=True)
    def nothing_is_known(self, tmp_path):
        """What a cache has would not count."""
        with compilation_cache_in(tmp_path / "fresh"):
            yield

    def test_counts_while_it_watches(self):
        counter = CompileCounter()
        argument = np.ones(3, np.float32)
        try:
            jax.jit(lambda x: x * 3.25)(argument)
            assert counter.count == 0
            with counter.watch():
                doubled = jax.jit(lambda x: jnp.tanh(x) * 7.125)
                doubled(argument)
                assert counter.count == 1
                doubled(argument)
                assert counter.count == 1
            jax.jit(lambda x: x - 9.5)(argument)
            assert counter.count == 1
        finally:
            counter.close()

    def test_what_the_persistent_cache_has_does_not_count(self, tmp_path):
        counter = CompileCounter()
        try:
            with compilation_cache_in(tmp_path), counter.watch():
                for _ in range(2):
                    jax.jit(lambda x: jnp.tanh(x) * 17.125)(np.ones(7, np.float32))
                    assert counter.count == 1
                    jax.clear_caches()
                jax.jit(lambda x: jnp.tanh(x) * 19.125)(np.ones(7, np.float32))
                assert counter.count == 2
        finally:
            counter.close()

    def test_two_threads_can_watch(self):
        counter = CompileCounter()

        def watch():
            with counter.watch():
                jax.jit(lambda x: x * 21.5)(np.ones(6, np.float32))

        try:
            with counter.watch(), ThreadPoolExecutor() as pool:
                pool.submit(watch).result()
                jax.jit(lambda x: x * 23.5)(np.ones(6, np.float32))
            assert counter.count == 2
        finally:
            counter.close()

    def test_what_other_threads_compile_does_not_count(self):
        counter = CompileCounter()
        try:
            with counter.watch(), ThreadPoolExecutor() as pool:
                pool.submit(jax.jit(lambda x: x * 13.5), np.ones(6, np.float32)).result()
            assert counter.count == 0
        finally:
            counter.close()

    def test_deaf_after_close(self):
        counter = CompileCounter()
        counter.close()
        with counter.watch():
            jax.jit(lambda x: x * 11.5)(np.ones(5, np.float32))
        assert counter.count == 0


class TestClock:
    def test_phases_by_lap(self):
        clock = Clock()
        with clock.phase("save"):
            pass
        clock.add("wait", 2.0)
        assert list(clock.iterate("wait", [1, 2, 3])) == [1, 2, 3]
        record = clock.lap().record()
        assert record["wait_seconds"] >= 2.0
        assert record["compile_seconds"] == 0.0
        assert set(record) == {f"{name}_seconds" for name in ("wait", "compile", "grow", "snapshot", "evaluate", "save")} | {
            "seconds_per_tick",
            "wait_share",
        }
        assert clock.lap().record()["wait_seconds"] == 0.0

    def test_training_is_what_is_left(self):
        assert Lap(10.0, {"wait": 1.0, "compile": 2.0, "snapshot": 3.0, "save": 1.0}).training == pytest.approx(4.0)
        assert Lap(1.0, {"compile": 2.0}).training > 0

    def test_the_share_of_waiting_is_of_the_training_time(self):
        assert Lap(10.0, {"wait": 1.0, "compile": 4.0, "grow": 1.0}).wait_share == pytest.approx(0.2)
        assert Lap(10.0, {}).wait_share == 0.0
        assert Lap(1.0, {"wait": 0.6, "compile": 0.5}).wait_share == 1.0


def record_of_a_tick(**changes):
    names = ("kimg", "alpha", "loss_d", "real_score", "fake_score", "gradient_penalty", "images_per_second", "seconds_per_tick")
    record = dict.fromkeys(names, 1.5)
    record |= {"tick": 3, "resolution": 16, "memory_bytes": 2**31, "skipped_steps": 4, "compiles": 2}
    return record | {"loss_g": math.nan, "eta_seconds": math.nan, "wait_share": 0.0} | changes


@pytest.mark.parametrize(("share", "words"), [(0.0, ""), (0.01, ""), (0.0149, "waiting 1%"), (0.5, "waiting 50%")])
def test_waiting_is_told_above_one_percent(share, words):
    line = status_line(record_of_a_tick(wait_share=share))
    assert words in line
    assert ("waiting" in line) == bool(words)


def test_a_status_line_with_numbers_that_are_none():
    line = status_line(record_of_a_tick())
    assert "\n" not in line
    for words in ("tick 3", "kimg 1.5", "res 16", "loss G nan", "mem 2.0 GiB", "skipped 4", "compiles 2", "left ?"):
        assert words in line


def test_a_log_outlives_the_reader_of_its_output(tmp_path, monkeypatch):
    """As when `tee` is killed: the run goes on, and log.txt has every line."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        log = Log(tmp_path / "log.txt")
        log("one")
        log("two")
        log.close()
        monkeypatch.undo()
        with suppress(BrokenPipeError):
            broken.close()
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\n"
