"""Runs that schedule.total_minutes ends, by a clock on which each step takes a minute."""

from __future__ import annotations

import shutil

import pytest

from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.distributed import processes
from pggan_jax.loop import run_setup, train
from pggan_jax.run_logs.phase_timer import PhaseTimer
from pggan_jax.schedule import Schedule
from tests.helpers.runs import FIRST_TICK, before_chunks, copy_of, digest, events, lasting, run_small, small_config, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")
EARLY, LATE = 896, 1088
"""Ends of two budgets, before and after the first tick."""
MINUTES = {EARLY: 55.5, LATE: 67.5}
"""A step has 16 images and takes a minute."""


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still while nothing is trained."""
    seconds = [1000.0]
    monkeypatch.setattr(run_setup, "PhaseTimer", lambda: PhaseTimer(lambda: seconds[0]))

    def minute(_chunk):
        seconds[0] += 60.0

    with before_chunks(minute):
        yield seconds


def limited(minutes, **changes):
    return small_config(schedule__total_minutes=minutes, **changes)


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory):
    """A run without a limit that was stopped where the larger budget ends."""
    workdir = tmp_path_factory.mktemp("runs") / "unlimited"
    assert not run_small(workdir, small_config(), stop_at=LATE)
    return workdir


def test_a_run_ends_after_the_chunk_in_which_the_time_is_over(clock, unlimited, tmp_path):
    assert run_small(tmp_path / "run", limited(MINUTES[EARLY]))
    metadata = load_trained_model(tmp_path / "run").metadata
    assert metadata.images_seen == EARLY
    assert metadata.training_seconds == 56 * 60
    (record,) = stats(tmp_path / "run")
    assert (record["tick"], record["images_seen"], record["training_seconds"]) == (1, EARLY, 3360.0)
    assert record["seconds_per_tick"] == 3360.0
    assert record["eta_seconds"] == 0
    assert (tmp_path / "run" / "fakes000000.png").exists(), "it ends as other runs do"
    (complete,) = events(tmp_path / "run", "complete")
    assert complete["message"].startswith(
        "the run is complete at kimg 0.9, as schedule.total_minutes = 55.5 minutes of training are over; "
        "to train on, give --set schedule.total_minutes=N"
    )


def test_the_time_changes_nothing_but_the_end(clock, unlimited, tmp_path):
    assert run_small(tmp_path / "run", limited(MINUTES[LATE]))
    assert load_trained_model(tmp_path / "run").metadata.images_seen == LATE
    assert digest(tmp_path / "run") == digest(unlimited)


def test_a_stopped_and_a_killed_run_end_at_the_same_image(clock, unlimited, tmp_path):
    workdir = tmp_path / "run"
    assert not run_small(workdir, limited(MINUTES[LATE]), stop_at=704)
    assert load_trained_model(workdir).metadata.training_seconds == 44 * 60
    killed = copy_of(workdir, tmp_path, "killed")
    assert run_small(workdir, limited(MINUTES[LATE]))
    for _ in range(2):
        clock[0] += 10_000  # between two processes
        assert not run_small(killed, limited(MINUTES[LATE]), stop_at=FIRST_TICK)
        shutil.rmtree(killed / "checkpoints" / str(FIRST_TICK))
    assert run_small(killed, limited(MINUTES[LATE]))
    for one in (workdir, killed):
        assert digest(one) == digest(unlimited)
        assert load_trained_model(one).metadata.training_seconds == 68 * 60
    assert lasting(stats(workdir)) == lasting(stats(killed))


def test_a_complete_run_says_so_and_trains_on_with_more_time(clock, unlimited, tmp_path):
    workdir = tmp_path / "run"
    for _ in range(2):
        assert run_small(workdir, limited(MINUTES[EARLY]))
        assert load_trained_model(workdir).metadata.images_seen == EARLY
    assert [event["event"] for event in events(workdir)][-2:] == ["resume", "complete"]
    assert ", 56m 00s of at most 55m 30s of training;" in events(workdir, "resume")[0]["message"]
    assert len(stats(workdir)) == 1
    assert run_small(workdir, limited(MINUTES[LATE]), allow_config_change=True)
    assert digest(workdir) == digest(unlimited)
    assert [record["images_seen"] for record in stats(workdir)] == [EARLY, FIRST_TICK, LATE]


def test_images_that_end_earlier_end_the_run(clock, tmp_path):
    assert run_small(tmp_path / "run", limited(60.0, schedule__total_kimg=0.32))
    assert load_trained_model(tmp_path / "run").metadata.images_seen == 320
    (complete,) = events(tmp_path / "run", "complete")
    assert complete["message"].startswith("the run is complete at kimg 0.3; to train on, give --set schedule.total_kimg=N")
    assert stats(tmp_path / "run")[-1]["eta_seconds"] == 0


def test_time_is_recorded_without_a_limit(finished):
    records = stats(finished)
    assert 0 < records[0]["training_seconds"] < records[1]["training_seconds"]
    assert load_trained_model(finished).metadata.training_seconds == records[1]["training_seconds"]


def test_checkpoints_of_early_versions_have_trained_no_time():
    document = {"images_seen": 1, "resolution": 4, "alpha": 1.0, "channels": 1, "label_size": 0}
    assert CheckpointMetadata.from_json(document).training_seconds == 0


def test_the_clock_of_the_first_process_decides(monkeypatch):
    schedule, asked = Schedule.of(limited(1.0)), []
    for is_first in (True, False):
        monkeypatch.setattr(processes, "is_main_process", lambda is_first=is_first: is_first)
        for seconds in (59.0, 61.0):
            train.is_time_over(seconds, schedule, vote=asked.append)
    assert asked == [False, True, False, False]


def test_without_a_limit_nobody_votes():
    assert not train.is_time_over(1e9, Schedule.of(small_config()), vote=None)
