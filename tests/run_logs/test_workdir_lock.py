"""One run per folder: a second one is refused by name, and a dead one stands in nobody's way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pggan_jax.errors import UserError
from pggan_jax.loop.train import begin
from pggan_jax.run_logs.workdir import Workdir, claim_workdir
from pggan_jax.run_logs.workdir_lock import WorkdirLock, refuse_if_held
from tests.helpers.runs import brief_config, run_small

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from pggan_jax.run_logs.workdir_lock import WorkdirLock
with WorkdirLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of the folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


class TestHeld:
    def test_a_second_run_is_refused_with_the_owner_s_name(self, tmp_path, holder):
        claim_workdir(tmp_path, brief_config(), allow_config_change=False)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        for start in (lambda: begin(brief_config(), tmp_path), lambda: run_small(tmp_path, brief_config())):
            with pytest.raises(UserError) as caught:
                start()
            message = str(caught.value)
            assert "\n" not in message
            assert message.startswith(
                f"--workdir={tmp_path}: is in use by process {holder.pid} on {socket.gethostname()} since "
            )
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_the_refused_does_not_take_the_owner_s_name_away(self, tmp_path, holder):
        for _ in range(2):
            with pytest.raises(UserError, match=f"process {holder.pid} "):
                WorkdirLock(tmp_path / "lock")
        assert json.loads((tmp_path / "lock").read_text())["pid"] == holder.pid

    @pytest.mark.parametrize("ending", [signal.SIGKILL, None], ids=["killed", "ended"])
    def test_a_dead_owner_s_is_taken_over(self, tmp_path, holder, ending):
        if ending:
            holder.send_signal(ending)
        else:
            holder.stdin.close()
        holder.wait(10)
        assert json.loads((tmp_path / "lock").read_text())["pid"] == holder.pid, "the file stays behind"
        refuse_if_held(tmp_path / "lock")
        with WorkdirLock(tmp_path / "lock"):
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()

    @pytest.mark.parametrize("content", ["", "{", "[1]", '{"pid": 1}', "\x00" * 9])
    def test_an_owner_that_cannot_be_read(self, tmp_path, holder, content):
        (tmp_path / "lock").write_text(content)
        with pytest.raises(UserError, match="is in use by another process; wait"):
            WorkdirLock(tmp_path / "lock")


class TestFree:
    def test_is_free_after_the_block(self, tmp_path):
        for _ in range(2):
            with WorkdirLock(tmp_path / "lock"), pytest.raises(UserError, match=f"process {os.getpid()} "):
                WorkdirLock(tmp_path / "lock")

    def test_asking_makes_no_file(self, tmp_path):
        refuse_if_held(tmp_path / "lock")
        assert not list(tmp_path.iterdir())

    def test_a_refused_start_leaves_no_trace_in_a_foreign_folder(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        for start in (lambda: begin(brief_config(), tmp_path), lambda: run_small(tmp_path, brief_config())):
            with pytest.raises(UserError, match="is not empty and holds no run"):
                start()
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_a_lock_left_alone_stands_in_nobody_s_way(self, tmp_path):
        """A run that was refused right after it had taken the lock leaves an otherwise empty folder."""
        with WorkdirLock(tmp_path / "lock"):
            pass
        assert claim_workdir(tmp_path, brief_config(), allow_config_change=False) == []
        assert Workdir(tmp_path).load_config() == brief_config()


@pytest.mark.parametrize("name", ["lock", "log.txt", "stats.jsonl", "data.npz", "rollbacks.json"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{name}: is no file, but a folder, a pipe"):
        WorkdirLock(tmp_path / "lock")
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"{name}: is no file"):
        WorkdirLock(tmp_path / "lock")
