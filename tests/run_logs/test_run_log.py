"""log.txt for people, events.jsonl for programs."""

from __future__ import annotations

import errno
import json
import resource

import pytest

from pggan_jax.run_logs.run_log import RunLog
from pggan_jax.run_logs.workdir import Workdir


def events(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.fixture
def log(tmp_path):
    log = RunLog(Workdir(tmp_path))
    yield log
    log.close()


def test_an_event_has_its_place_in_the_run_and_its_fields(tmp_path, log, capsys):
    log("a line alone")
    log.images_seen = 1500
    log.event("growth", "growing to 8x8", resolution=8)
    log.warning("no space", path="x")
    log.event("save", "")
    log.lines(["a line", "WARNING: a warning"])
    lines = ["a line alone", "growing to 8x8", "WARNING: no space", "a line", "WARNING: a warning"]
    assert (tmp_path / "log.txt").read_text().splitlines() == lines == capsys.readouterr().out.splitlines()
    growth, warning, save, last = events(tmp_path)
    assert growth.pop("time").endswith("Z")
    assert growth == {"event": "growth", "images_seen": 1500, "kimg": 1.5, "message": "growing to 8x8", "resolution": 8}
    assert (warning["event"], warning["message"], warning["path"]) == ("warning", "no space", "x")
    assert (save["event"], last["event"], last["message"]) == ("save", "warning", "a warning")


def test_a_line_cut_off_by_a_kill_damages_no_other(tmp_path):
    (tmp_path / "events.jsonl").write_text('{"event": "start"}\n{"event": "gro')
    log = RunLog(Workdir(tmp_path))
    log.event("resume", "continuing")
    log.close()
    first, damaged, last = (tmp_path / "events.jsonl").read_text().splitlines()
    assert (json.loads(first)["event"], damaged, json.loads(last)["event"]) == ("start", '{"event": "gro', "resume")


def test_an_error_of_the_disk_becomes_a_warning_and_others_do_not(tmp_path, log):
    with log.warning_on_os_error("its sample grid"):
        raise OSError(errno.ENOSPC, "No space left on device", "fakes.png")
    assert events(tmp_path)[0]["message"] == "going on without its sample grid: fakes.png: No space left on device"
    with pytest.raises(ValueError, match="x"), log.warning_on_os_error("anything"):
        raise ValueError("x")


def test_a_full_disk_does_not_raise(tmp_path, log):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        log.event("growth", "growing")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "events.jsonl").read_text().startswith('{"event": "growth", "t')


def test_hosts_that_write_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    log = RunLog(None)
    log("line")
    log.event("start", "starting")
    log.warning("warning")
    log.close()
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr() == ("", "")
