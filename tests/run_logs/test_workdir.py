"""The folder of a run: whose it is, and what happens when it is somebody else's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pggan_jax.config.io import from_json, to_json
from pggan_jax.errors import UserError
from pggan_jax.run_logs.workdir import Workdir, claim_workdir, store_config
from tests.helpers.runs import run_small, small_config

ROOT = Path(__file__).parents[2]


def claim(path, config=None, *, allow=False):
    """Claim the folder and let it go; the folder and the changes."""
    config, workdir = config or small_config(), Workdir(path)
    with claim_workdir(path, config, allow_config_change=allow) as changes:
        if not workdir.config.exists():
            store_config(workdir, config)
    return workdir, changes


def refused(path, config=None, *, allow=False):
    with pytest.raises(UserError) as caught:
        claim(path, config, allow=allow)
    return str(caught.value)


class TestNew:
    def test_is_made_with_its_parents(self, tmp_path):
        workdir, warnings = claim(tmp_path / "a" / "b")
        assert workdir.load_config() == small_config()
        assert warnings == []
        assert {path.name for path in workdir.path.iterdir()} == {"config.json", "lock"}

    def test_an_empty_folder_will_do(self, tmp_path):
        assert claim(tmp_path)[0].load_config() == small_config()

    def test_a_folder_with_other_things_is_refused(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        message = refused(tmp_path)
        assert message.startswith(f"--workdir={tmp_path}: is not empty and holds no run")
        assert "\n" not in message
        assert not (tmp_path / "config.json").exists()


class TestAgain:
    def test_the_same_configuration_passes(self, tmp_path):
        claim(tmp_path)
        before = (tmp_path / "config.json").read_bytes()
        assert claim(tmp_path)[1] == []
        assert (tmp_path / "config.json").read_bytes() == before

    def test_another_is_refused_with_the_difference(self, tmp_path):
        claim(tmp_path)
        other = small_config(loss__name="hinge", generator__fmap_max=16, schedule__fade_kimg_at={8: 0.5})
        reported = refused(tmp_path, other)
        for difference in (
            "generator.fmap_max: 8 -> 16",
            "schedule.fade_kimg_at: {} -> {8: 0.5}",
            "loss.name: 'wgan_gp' -> 'hinge'",
        ):
            assert difference in reported
        assert "--allow_config_change" in reported
        assert "\n" not in reported
        assert Workdir(tmp_path).load_config() == small_config()

    def test_another_is_accepted_if_allowed(self, tmp_path):
        claim(tmp_path)
        other = small_config(loss__name="hinge")
        workdir, warnings = claim(tmp_path, other, allow=True)
        assert warnings == ["loss.name: 'wgan_gp' -> 'hinge'"]
        store_config(workdir, other)
        assert claim(tmp_path, other)[1] == []


class TestTrouble:
    @pytest.mark.parametrize("name", ["taken", "taken/below"])
    def test_cannot_be_written(self, tmp_path, name):
        """A file is in the way; a missing permission gives the same kind of error, but not to root."""
        (tmp_path / "taken").write_text("")
        message = refused(tmp_path / name)
        assert message.startswith(f"--workdir={tmp_path / name}: cannot be written (")
        assert "\n" not in message

    def test_no_permission(self, tmp_path, monkeypatch):
        def deny(path, content):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pggan_jax.run_logs.workdir.write_atomically", deny)
        assert "cannot be written (Permission denied); choose a folder you may write to" in refused(tmp_path)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"{", "is not JSON"),
            (b"", "is not JSON"),
            (b"\xff\xfe\x00\x80", "is not JSON"),
            (b"[1, 2]", "is not a JSON object of settings"),
            (b"{}", "is not a JSON object of settings"),
        ],
    )
    def test_a_broken_config(self, tmp_path, content, words):
        (tmp_path / "config.json").write_bytes(content)
        for allow in (False, True):
            message = refused(tmp_path, allow=allow)
            assert message.startswith(f"{tmp_path / 'config.json'}: {words}")
            assert "\n" not in message

    def test_no_run_here(self, tmp_path):
        with pytest.raises(UserError, match="holds no run"):
            Workdir(tmp_path).load_config()


def test_pictures_are_named_by_kimg(tmp_path):
    assert [Workdir(tmp_path).fakes(images).name for images in (0, 999, 123_456)] == [
        "fakes000000.png",
        "fakes000000.png",
        "fakes000123.png",
    ]


def test_a_configuration_survives_its_file():
    config = small_config(schedule__batch_size_at={4: 32}, run__seed=2**32 - 1)
    assert from_json(to_json(config), "here") == config


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_new_run_that_is_refused_leaves_its_configuration_only_if_it_has_begun(tmp_path, has_begun):
    workdir = Workdir(tmp_path / "run")

    def refuse():
        with claim_workdir(workdir.path, small_config()):
            store_config(workdir, small_config())
            if has_begun:
                workdir.reals.touch()
            raise UserError("no images")

    with pytest.raises(UserError, match="no images"):
        refuse()
    assert workdir.config.exists() == has_begun
    if not has_begun:
        assert claim(workdir.path, small_config(loss__name="hinge"))[1] == []


def test_files_of_a_process_that_was_killed_at_its_start_are_no_obstacle(tmp_path):
    (tmp_path / "lock").touch()
    (tmp_path / ".config.json.partial").write_text("{")
    assert claim(tmp_path)[0].load_config() == small_config()


HOLD = """
import sys
from pathlib import Path
from pggan_jax.system.file_lock import FileLock
with FileLock(Path(sys.argv[1])):
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


class TestInUse:
    def test_a_second_run_is_refused_with_the_owner_s_name(self, tmp_path, holder):
        (tmp_path / "config.json").write_text(to_json(small_config()))
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        for config in (small_config(), small_config(loss__name="hinge")):
            message = refused(tmp_path, config)
            assert message.startswith(
                f"--workdir={tmp_path}: is in use by process {holder.pid} on {socket.gethostname()} since "
            )
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_is_in_use_inside_the_block_only(self, tmp_path):
        for _ in range(2):
            with claim_workdir(tmp_path, small_config()):
                assert f"process {os.getpid()} " in refused(tmp_path)

    def test_a_refused_start_leaves_no_trace_in_a_foreign_folder(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(UserError, match="is not empty and holds no run"):
            run_small(tmp_path, small_config())
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    @pytest.mark.parametrize("name", ["lock", "log.txt", "events.jsonl", "stats.jsonl", "data.npz", "rollbacks.json"])
    def test_a_pipe_or_folder_in_the_place_of_a_file_is_refused(self, tmp_path, name):
        (tmp_path / "config.json").write_text(to_json(small_config()))
        os.mkfifo(tmp_path / name)
        assert refused(tmp_path).startswith(f"{tmp_path / name}: is a folder, a pipe or a socket")
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        assert refused(tmp_path).startswith(f"{tmp_path / name}: is a folder, a pipe or a socket")
