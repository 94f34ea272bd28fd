"""Console output of a run: numbers in the form of JSON, the ETA, and no output without a terminal."""

from __future__ import annotations

import io
import math
import os
import sys
from contextlib import suppress

import pytest

from pggan_jax.run_logs.console import Log, ProgressBar, status_line


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
        bar.update(10, stage="8x8 fade", eta_seconds=math.nan)
    bar.close()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("images", "seconds", "percent"), [(10, 30.0, 50), (80, 30.0, 80), (10, 90.0, 100)])
def test_a_bar_of_a_run_that_time_ends_shows_what_is_further(monkeypatch, images, seconds, percent):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = ProgressBar(total_images=100, images_seen=0, total_seconds=60.0, visible=True)
    bar.update(images, stage="8x8 fade", eta_seconds=30.0, training_seconds=seconds)
    bar.close()
    shown = sys.stderr.getvalue().split("\r")[-1]
    assert shown.startswith(f"{percent:3}%")
    assert f"{images / 1000:.1f} kimg" in shown
    assert "of 1m 00s, 8x8 fade, 30.0 s left" in shown


def record_of_a_tick(**changes):
    names = ("kimg", "alpha", "loss_d", "real_score", "fake_score", "gradient_penalty", "images_per_second", "seconds_per_tick")
    record = dict.fromkeys(names, 1.5)
    record |= {"tick": 3, "resolution": 16, "memory_bytes": 2**31, "skipped_steps": 4, "compiles": 2}
    return record | {"loss_g": math.nan, "eta_seconds": math.nan, "wait_share": 0.0} | changes


@pytest.mark.parametrize(("share", "words"), [(0.0, ""), (0.01, ""), (0.0149, "waiting 1%"), (0.5, "waiting 50%")])
def test_waiting_is_reported_above_one_percent(share, words):
    line = status_line(record_of_a_tick(wait_share=share))
    assert words in line
    assert ("waiting" in line) == bool(words)


def test_a_status_line_with_numbers_that_are_none():
    line = status_line(record_of_a_tick())
    assert "\n" not in line
    for words in ("tick 3", "kimg 1.5", "res 16", "loss G nan", "mem 2.0 GiB", "skipped 4", "compiles 2", "left ?"):
        assert words in line


def test_a_status_line_leaves_out_metrics_that_the_step_does_not_return():
    record = record_of_a_tick()
    del record["gradient_penalty"], record["loss_g"]
    line = status_line(record)
    assert "D 1.500" in line
    assert "gp" not in line
    assert "loss G" not in line


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
