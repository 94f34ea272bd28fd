"""No space left, a folder that vanished or became read-only: a run loses nothing and says what is the matter.

The full disk is the system's own limit on the size of files, which Python and Orbax's threads meet alike.
"""

from __future__ import annotations

import errno
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import orbax.checkpoint as ocp
import pytest

from pggan_jax.checkpointing import manager
from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.errors import UserError
from pggan_jax.run_logs import jsonl
from pggan_jax.run_logs.jsonl import StatsLog
from tests.helpers.command_line import environment, small_flags
from tests.helpers.runs import (
    FIRST_TICK,
    MID_FADE,
    TOTAL,
    before_chunks,
    digest,
    events,
    lasting,
    run_small,
    small_config,
    stats,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
ROOT = Path(__file__).parents[2]
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def set_space():
    """Call with False: no file can grow any more; with True: all can again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def set_space(is_there):
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if is_there else 1, hard))

    yield set_space
    set_space(True)


def calling_before(actions):
    """Call `actions[images]()` before the chunk that starts at so many images."""
    return before_chunks(lambda chunk: actions.get(chunk.start, lambda: None)())


def assert_like(workdir, finished):
    assert digest(workdir) == digest(finished)
    assert lasting(stats(workdir)) == lasting(stats(finished))


@pytest.mark.slow
class TestFullForAWhile:
    def test_training_goes_on_and_nothing_is_lost(self, finished, tmp_path, set_space):
        """Around the end of the first tick neither image nor statistics nor checkpoint can be written."""
        kept = []

        def make_space():
            time.sleep(0.5)  # the save in the background must have met the limit
            set_space(True)
            kept.append(load_trained_model(tmp_path).metadata.images_seen)

        assert not run_small(tmp_path, small_config(), stop_at=MID_FADE)
        with calling_before({FIRST_TICK - 16: lambda: set_space(False), FIRST_TICK + 160: make_space}):
            assert run_small(tmp_path, small_config())
        assert_like(tmp_path, finished)
        assert kept == [MID_FADE], "the checkpoint before is whole"
        assert not list((tmp_path / "checkpoints").glob("*tmp*"))
        log = "".join(event["message"] for event in events(tmp_path, "warning"))
        for words in (
            "going on without its sample grid: ",
            "going on without its line in stats.jsonl, which follows with the next: ",
            "the checkpoint of kimg 1.008 could not be saved (",
            "; the newest checkpoint is that of kimg 0.8; training goes on, and the next checkpoint is tried as usual",
        ):
            assert log.count(words) == 1, words

    def test_a_last_save_that_fails_is_no_success(self, finished, tmp_path):
        with fail_to_save(TOTAL), pytest.raises(UserError) as caught:
            run_small(tmp_path, small_config())
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(
            "the checkpoint of kimg 1.92 could not be saved ([Errno 28] No space left on device); the newest"
        )
        assert message.endswith("is that of kimg 1.008; free some space, and the same command continues from there")
        assert run_small(tmp_path, small_config())
        assert_like(tmp_path, finished)

    def test_a_stop_that_cannot_save_does_not_say_saved(self, tmp_path):
        with (
            fail_to_save(64),
            pytest.raises(UserError, match=r"kimg 0\.064 could not be saved .*there is no checkpoint yet; free"),
        ):
            run_small(tmp_path, small_config(), stop_at=64)
        assert not events(tmp_path, "stop")

    def test_a_line_of_statistics_survives_the_end_of_the_process(self, finished, tmp_path):
        """It lies in the checkpoints until it can be written."""

        def fail(path, content):
            raise NO_SPACE

        with mock.patch.object(jsonl, "append_durably", fail), pytest.raises(OSError, match="No space left"):
            run_small(tmp_path, small_config(), stop_at=FIRST_TICK + 32)
        assert not (tmp_path / "stats.jsonl").exists()
        assert run_small(tmp_path, small_config())
        assert_like(tmp_path, finished)


def fail_to_save(wanted):
    save = ocp.CheckpointManager.save

    def fail(manager, images_seen, **options):
        if images_seen == wanted:
            raise NO_SPACE
        return save(manager, images_seen, **options)

    return mock.patch.object(ocp.CheckpointManager, "save", fail)


class TestFolder:
    def test_vanished_in_mid_run(self, tmp_path):
        workdir = tmp_path / "run"
        with calling_before({MID_FADE: lambda: shutil.rmtree(workdir)}), pytest.raises(UserError) as caught:
            run_small(workdir, small_config())
        message = str(caught.value)
        assert message.startswith(f"{workdir}/checkpoints: is gone; ")
        assert "\n" not in message
        assert not workdir.exists(), "no half of a run is made in its place"

    def test_can_no_longer_be_written(self, tmp_path):
        with (
            fail_to_save(FIRST_TICK),
            mock.patch.object(manager.os, "access", return_value=False),
            pytest.raises(UserError, match="checkpoints: can no longer be written; fix that, and the same command continues"),
        ):
            run_small(tmp_path, small_config())


class TestStatsLog:
    def line(self, images_seen):
        return f'{{"images_seen": {images_seen}}}\n'

    def unwritten_log(self, path):
        log = StatsLog(path)
        with mock.patch.object(jsonl, "append_durably", side_effect=NO_SPACE):
            for images_seen in (10, 20, 30):
                with pytest.raises(OSError, match="No space"):
                    log.append({"images_seen": images_seen})
        return log

    def test_lines_follow_in_order(self, tmp_path):
        log = self.unwritten_log(tmp_path / "stats.jsonl")
        log.append({"images_seen": 40})
        assert (tmp_path / "stats.jsonl").read_text() == "".join(map(self.line, (10, 20, 30, 40)))
        assert log.unwritten == ""

    def test_going_back_drops_only_what_lies_beyond(self, tmp_path):
        log = self.unwritten_log(tmp_path / "stats.jsonl")
        log.begin_at(20)
        assert (tmp_path / "stats.jsonl").read_text() == self.line(10) + self.line(20)

    @pytest.mark.parametrize("written", [(), (10,), (10, 20), (10, 20, 30)])
    def test_what_a_checkpoint_carries_is_written_once(self, tmp_path, written):
        path = tmp_path / "stats.jsonl"
        path.write_text("".join(map(self.line, written)))
        StatsLog(path).begin_at(20, self.line(10) + self.line(20))
        assert path.read_text() == self.line(10) + self.line(20)


@pytest.mark.slow
def test_a_run_on_a_full_disk_ends_with_one_line(finished, tmp_path):
    """In a process of its own: nothing can be saved, nothing but the reason is reported, and it goes on when there is space."""
    command = [sys.executable, "launch.py", *small_flags(), f"--workdir={tmp_path / 'run'}"]
    options = {"cwd": ROOT, "env": environment(), "capture_output": True, "text": True, "timeout": 120}
    limit = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); os.execv(sys.argv[1], sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", limit, *command], **options)
    assert done.returncode == 2, done.stdout + done.stderr
    # Threads of Orbax and the interpreter's own warnings may add lines at the very end; of ours there is one.
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: the checkpoint of kimg 1.92 could not be saved (")
    assert "; there is no checkpoint yet; free some space" in done.stderr
    assert done.stdout.count("WARNING: the checkpoint of kimg 1.008 could not be saved (") == 1
    assert subprocess.run(command, **options).returncode == 0
    assert_like(tmp_path / "run", finished)
