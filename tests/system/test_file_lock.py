"""Disks without locks: a run goes on with one warning, and two processes still never have one folder."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pggan_jax.data.preparation.resumable import lock_partial_folder
from pggan_jax.errors import UserError
from pggan_jax.system import file_lock
from pggan_jax.system.file_lock import FileLock, HeldError
from tests.helpers.runs import brief_config, run_small

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = Path(__file__).parents[2]
OWNER = "lock.owner"
CODES = ("ENOLCK", "ENOSYS", "EOPNOTSUPP", "EINVAL", "EIO")
HOLD = """
import sys
from pathlib import Path
from pggan_jax.system.file_lock import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
HOLD_WITHOUT_LOCKS = f"""
import errno, fcntl, os
def flock(file, operation):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = flock
{HOLD}"""


@contextmanager
def process_holding(tmp_path, program):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", program, str(tmp_path / "lock")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def take_at_once(path):
    """Eight threads take one lock; returns the locks taken and the refusals' texts."""
    barrier, taken, refusals = threading.Barrier(8), [], []

    def take():
        barrier.wait()
        try:
            taken.append(FileLock(path))
        except HeldError as held:
            refusals.append(str(held))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken, refusals


@pytest.fixture
def lose_locks(monkeypatch):
    """Call it with the name of an error: from then on that is what a lock ends with."""
    file_lock._warn_once.cache_clear()

    def lose(name="ENOLCK"):
        def flock(file, operation):
            raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

        monkeypatch.setattr(file_lock.fcntl, "flock", flock)

    return lose


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock by an owner file."""
    with process_holding(tmp_path, HOLD_WITHOUT_LOCKS) as process:
        yield process


def owner_file(tmp_path, **changes):
    content = file_lock._describe_this_process("a" * 32) | changes
    (tmp_path / OWNER).write_text(json.dumps(content))
    return content


def refused(tmp_path):
    """How the owner of the lock is described."""
    with pytest.raises(HeldError) as caught:
        FileLock(tmp_path / "lock")
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestWithLocks:
    def test_the_refused_does_not_take_the_owner_s_name_away(self, tmp_path):
        with process_holding(tmp_path, HOLD) as owner:
            for _ in range(2):
                assert refused(tmp_path).startswith(f"process {owner.pid} on {socket.gethostname()} since ")
            assert json.loads((tmp_path / "lock").read_text())["pid"] == owner.pid

    @pytest.mark.parametrize("ending", [signal.SIGKILL, None], ids=["killed", "ended"])
    def test_the_lock_of_a_lost_process_is_free(self, tmp_path, ending):
        with process_holding(tmp_path, HOLD) as owner:
            if ending:
                owner.send_signal(ending)
            else:
                owner.stdin.close()
            owner.wait(10)
            assert json.loads((tmp_path / "lock").read_text())["pid"] == owner.pid, "the file stays"
        with FileLock(tmp_path / "lock"):
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()

    @pytest.mark.parametrize("content", ["", "{", "[1]", '{"pid": 1}', "\x00" * 9])
    def test_an_owner_that_cannot_be_read(self, tmp_path, content):
        with process_holding(tmp_path, HOLD):
            (tmp_path / "lock").write_text(content)
            assert refused(tmp_path) == "another process"

    def test_is_free_after_the_block(self, tmp_path):
        for _ in range(2):
            with FileLock(tmp_path / "lock"):
                assert refused(tmp_path).startswith(f"process {os.getpid()} ")

    def test_is_in_place_until_its_folder_is_renamed_or_made_anew(self, tmp_path):
        (tmp_path / "a").mkdir()
        with FileLock(tmp_path / "a/lock") as lock:
            assert lock.is_in_place()
            (tmp_path / "a").rename(tmp_path / "b")
            assert not lock.is_in_place()
            (tmp_path / "a").mkdir()
            (tmp_path / "a/lock").touch()
            assert not lock.is_in_place()


class TestWithoutLocks:
    @pytest.mark.parametrize("name", CODES)
    def test_one_warning_names_the_file_and_the_reason(self, tmp_path, lose_locks, capsys, name):
        lose_locks(name)
        for _ in range(3):
            with FileLock(tmp_path / "lock"):
                assert (tmp_path / OWNER).exists()
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(
            f"WARNING: {tmp_path / 'lock'}: this disk has no file locks ({os.strerror(getattr(errno, name))})"
        )
        assert len(line) <= 300
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]

    def test_a_run_trains_and_leaves_what_every_run_leaves(self, tmp_path, lose_locks):
        assert run_small(tmp_path / "plain", brief_config())
        lose_locks()
        assert run_small(tmp_path / "run", brief_config())
        assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in (tmp_path / "plain").iterdir()}

    def test_a_second_process_on_this_host_is_refused_by_name(self, tmp_path, holder, lose_locks):
        lose_locks()
        assert refused(tmp_path).startswith(f"process {holder.pid} on {socket.gethostname()} since ")

    def test_one_that_has_locks_sees_one_that_has_none(self, tmp_path, holder):
        assert f"process {holder.pid} on" in refused(tmp_path)

    @pytest.mark.parametrize("has_locks", [True, False])
    def test_a_lost_owner_s_is_taken_over(self, tmp_path, holder, lose_locks, has_locks):
        holder.kill()
        holder.wait(10)
        assert (tmp_path / OWNER).exists()
        if not has_locks:
            lose_locks()
        with FileLock(tmp_path / "lock"):
            pass

    def test_a_number_that_another_process_has_now_is_no_owner(self, tmp_path, lose_locks):
        lose_locks()
        owner_file(tmp_path, started=psutil.Process().create_time() - 1000)
        with FileLock(tmp_path / "lock"):
            pass

    @pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"host": None}, {"host": ["x" * 5000]}])
    def test_one_on_another_host_lives_while_its_file_is_young(self, tmp_path, lose_locks, changes):
        lose_locks()
        owner_file(tmp_path, **changes)
        assert len(refused(tmp_path)) < 500
        old = time.time() - 2 * file_lock.SECONDS_TO_LIVE
        os.utime(tmp_path / OWNER, (old, old))
        with FileLock(tmp_path / "lock"):
            assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()

    @pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 4096, '{"host": 1, "pid": "x"}'])
    def test_a_damaged_one_counts_while_it_is_young(self, tmp_path, lose_locks, content):
        lose_locks()
        (tmp_path / OWNER).write_text(content)
        refused(tmp_path)
        os.utime(tmp_path / OWNER, (0, 0))
        with FileLock(tmp_path / "lock"):
            pass

    def test_the_file_is_touched_while_its_owner_lives(self, tmp_path, lose_locks, monkeypatch):
        monkeypatch.setattr(file_lock, "HEARTBEAT_SECONDS", 0.01)
        lose_locks()
        with FileLock(tmp_path / "lock"):
            os.utime(tmp_path / OWNER, (0, 0))
            end = time.monotonic() + 20
            while (tmp_path / OWNER).stat().st_mtime == 0:
                assert time.monotonic() < end
                time.sleep(0.01)

    @pytest.mark.parametrize("is_dead_one_there", [True, False])
    def test_of_many_at_once_one_gets_it(self, tmp_path, lose_locks, is_dead_one_there):
        lose_locks()
        for _ in range(20):
            if is_dead_one_there:
                owner_file(tmp_path, pid=2**22 + 1)
            taken, refusals = take_at_once(tmp_path / "lock")
            assert (len(taken), len(refusals)) == (1, 7)
            taken[0].release()
            assert [path.name for path in tmp_path.iterdir()] == ["lock"]

    def test_a_living_one_is_not_removed_by_one_that_saw_the_lost_one_before_it(self, tmp_path, lose_locks, monkeypatch):
        lose_locks()
        owner_file(tmp_path, pid=2**22 + 1)
        takers, is_alive = [], file_lock._is_alive

        def look_late(owner, path):
            """Find the lost owner, but go on with that only when another process has taken the lock."""
            monkeypatch.setattr(file_lock, "_is_alive", is_alive)
            found = is_alive(owner, path)
            takers.append(FileLock(tmp_path / "lock"))
            monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("the living owner's file was moved"))
            return found

        monkeypatch.setattr(file_lock, "_is_alive", look_late)
        assert refused(tmp_path).startswith(f"process {os.getpid()} on")
        assert (tmp_path / OWNER).exists()
        takers[0].release()

    def test_a_takeover_that_was_killed_does_not_last(self, tmp_path, lose_locks, monkeypatch):
        monkeypatch.setattr(file_lock, "_RETRY_SECONDS", 0)
        lose_locks()
        owner_file(tmp_path, pid=2**22 + 1)
        takeover = tmp_path / f"{OWNER}.takeover"
        takeover.touch()
        assert refused(tmp_path) == "another process that has just started, or was killed as it did; try again in a minute"
        os.utime(takeover, (0, 0))
        with FileLock(tmp_path / "lock"):
            pass

    def test_without_hard_links(self, tmp_path, lose_locks, monkeypatch):
        def link(*_):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
        lose_locks()
        with FileLock(tmp_path / "lock"):
            refused(tmp_path)


class TestPreparing:
    def test_a_folder_is_claimed_once(self, tmp_path, lose_locks):
        lose_locks()
        with lock_partial_folder(tmp_path / "out.partial", wait=False):
            with (
                pytest.raises(UserError, match="another process writes there"),
                lock_partial_folder(tmp_path / "out.partial", wait=False),
            ):
                pass
            (tmp_path / "out.partial/mine").touch()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out.partial"]
        with lock_partial_folder(tmp_path / "out.partial", wait=False):
            pass

    def test_another_waits(self, tmp_path, lose_locks):
        lose_locks()
        reported, order = [], []

        def wait():
            with lock_partial_folder(tmp_path / "out.partial", wait=True, report=reported.append):
                order.append("second")

        with lock_partial_folder(tmp_path / "out.partial", wait=False):
            thread = threading.Thread(target=wait)
            thread.start()
            end = time.monotonic() + 20
            while not reported:
                assert time.monotonic() < end
                time.sleep(0.01)
            order.append("first")
        thread.join()
        assert order == ["first", "second"]
        assert reported == [f"waiting for another process that writes {tmp_path / 'out.partial'}"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_does_not_refuse_the_lock(tmp_path):
    (tmp_path / "lock").symlink_to("/dev/full")
    with FileLock(tmp_path / "lock"):
        pass
