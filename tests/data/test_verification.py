"""Verification of prepared data: found before the first checkpoint; files are read once."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from contextlib import closing
from unittest import mock

import numpy as np
import pytest

from pggan_jax.config import DataConfig
from pggan_jax.data import watched_files
from pggan_jax.data.open_loader import cache_folder, open_loader, start_verification
from pggan_jax.data.preparation.prepare import prepare
from pggan_jax.data.preparation.prepared_folder import open_prepared
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.sources.open_source import open_source
from pggan_jax.errors import UserError
from pggan_jax.loop import run_setup
from tests.helpers.command_line import one_line_error
from tests.helpers.runs import digest, run_small, small_config

pytestmark = pytest.mark.usefixtures("quick_compilation")
IMAGES = 200


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "data"
    return prepare(open_source(f"synthetic:{IMAGES}", resolution=8), PreparationSpec(8), folder=folder).path


@pytest.fixture
def data(whole, tmp_path, monkeypatch):
    """A prepared folder of this test's own, and an empty cache."""
    monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
    return shutil.copytree(whole, tmp_path / "data")


def loader_of(folder):
    return open_loader(DataConfig(f"prepared:{folder}", 8), seed=0)


def zero(path, start=200, count=100):
    """Within the rows, with the size and times that it had."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(count))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def problem_of(loader):
    with closing(start_verification(loader, print)) as verification:
        return verification.problem(wait=True)


def count_reading(monkeypatch):
    read, checksum = [], watched_files.checksum
    monkeypatch.setattr(watched_files, "checksum", lambda path, progress: read.append(path.name) or checksum(path, progress))
    return read


class TestVerification:
    def test_whole_files_are_read_once(self, data, monkeypatch):
        read = count_reading(monkeypatch)
        assert problem_of(loader_of(data)) == ""
        assert sorted(read) == ["labels.npy", "r0004.npy", "r0008.npy"]
        assert problem_of(loader_of(data)) == ""
        assert len(read) == 3, "remembered"
        os.utime(data / "r0008.npy")
        assert problem_of(loader_of(data)) == ""
        assert read[3:] == ["r0008.npy"]
        shutil.copy2(data / "r0004.npy", data / "copy")
        (data / "copy").rename(data / "r0004.npy")
        assert problem_of(loader_of(data)) == ""
        assert read[4:] == ["r0004.npy"], "another inode"

    @pytest.mark.parametrize("name", ["r0004.npy", "r0008.npy", "labels.npy"])
    def test_damage_is_found_each_time_also_where_it_was_whole_before(self, data, name):
        assert problem_of(loader_of(data)) == ""
        zero(data / name) if name != "labels.npy" else (data / name).write_bytes((data / name).read_bytes()[:-1] + b"\1")
        for _ in range(2):
            problem = problem_of(loader_of(data))
            assert problem.startswith(f"{data / name}: does not match its checksum; remove that folder and prepare it")
            assert "\n" not in problem

    def test_what_is_in_memory_or_beyond_the_resolution_is_not_read(self, data, monkeypatch):
        read = count_reading(monkeypatch)
        assert problem_of(open_loader(DataConfig("digits", 8), seed=0)) == ""
        assert problem_of(None) == ""
        assert problem_of(open_loader(DataConfig(f"prepared:{data}", 4), seed=0)) == ""
        assert sorted(read) == ["labels.npy", "r0004.npy"]

    @pytest.mark.parametrize(
        "record", [b"", b"[]", b'{"files": 3}', b"[" * 100_000, b'{"files": {"r0008.npy": [0, 0, 0, 0, 0]}}']
    )
    def test_a_damaged_record_only_costs_another_reading(self, data, record, monkeypatch):
        assert problem_of(loader_of(data)) == ""
        (path,) = (cache_folder().with_name("verified")).iterdir()
        path.write_bytes(record)
        zero(data / "r0008.npy")
        assert "r0008.npy: does not match its checksum" in problem_of(loader_of(data))

    def test_works_without_a_folder_for_its_records(self, data, monkeypatch):
        with mock.patch.object(watched_files, "write_atomically", side_effect=OSError(errno.ENOSPC, "No space left")):
            assert problem_of(loader_of(data)) == ""
        assert not list(cache_folder().with_name("verified").iterdir())
        monkeypatch.setattr("pggan_jax.data.open_loader.cache_root", mock.Mock(side_effect=UserError("no home")))
        assert problem_of(loader_of(data)) == ""

    def test_unreadable(self, data, monkeypatch):
        loader = loader_of(data)
        monkeypatch.setattr(watched_files, "checksum", mock.Mock(side_effect=OSError(errno.EIO, "Input/output error")))
        assert "labels.npy: cannot be read (Input/output error); remove" in problem_of(loader)

    def test_ends_at_once_when_closed(self, data, monkeypatch):
        begun, goes_on = threading.Event(), threading.Event()

        def read(path, progress):
            begun.set()
            goes_on.wait(10)
            progress(1)
            pytest.fail("it reads on")

        monkeypatch.setattr(watched_files, "checksum", read)
        verification = start_verification(loader_of(data), print)
        assert begun.wait(10)
        assert verification.problem(wait=False) == "", "others need not wait"
        threading.Timer(0.05, goes_on.set).start()
        verification.close()
        assert not verification._thread.is_alive()


class TestWhileInUse:
    def test_rewritten_files_are_read_again(self, data):
        with closing(start_verification(loader_of(data), print)) as verification:
            assert verification.problem(wait=True) == ""
            zero(data / "r0008.npy")
            os.utime(data / "r0008.npy", ns=(1, 1))
            assert "r0008.npy: does not match its checksum" in verification.problem(wait=True)

    def test_replaced_files_are_not_those_that_are_mapped(self, data):
        loader = loader_of(data)
        with closing(start_verification(loader, print)) as verification:
            before = loader.images(8, np.arange(3))
            (data / "short").write_bytes(b"")
            (data / "short").replace(data / "r0008.npy")
            (data / "r0004.npy").unlink()
            assert verification.problem(wait=False) == ""
            np.testing.assert_array_equal(loader.images(8, np.arange(3)), before)

    @pytest.mark.parametrize("left", [0, 100, 5000])
    def test_truncated_files_are_not_read(self, data, left):
        loader = loader_of(data)
        with closing(start_verification(loader, print)) as verification:
            assert verification.problem(wait=True) == ""
            os.truncate(data / "r0008.npy", left)
            for read in (lambda: loader.images(8, np.arange(IMAGES)), lambda: loader.level(8)):
                with pytest.raises(UserError, match=f"r0008.npy: was truncated while in use, to {left:,} of ") as caught:
                    read()
                assert "\n" not in str(caught.value)
            assert "r0008.npy: was truncated" in verification.problem(wait=False)
        loader.images(4, np.arange(IMAGES))

    def test_labels_need_no_file(self, data):
        loader = loader_of(data)
        os.truncate(data / "labels.npy", 0)
        assert len(loader.labels(np.arange(IMAGES))) == IMAGES


class TestOpening:
    @pytest.mark.parametrize("change", [-1, -4000, 1])
    @pytest.mark.parametrize("name", ["r0004.npy", "r0008.npy", "labels.npy"])
    def test_files_of_another_size_are_not_mapped(self, data, name, change):
        content = (data / name).read_bytes()
        (data / name).write_bytes(content[:change] if change < 0 else content + b"0")
        with mock.patch.object(np, "load", side_effect=np.load) as load:
            if len(content) + change > 128:
                with pytest.raises(
                    UserError, match=f"is damaged .{name} has .* of {len(content):,} bytes.; remove it and prepare"
                ):
                    open_prepared(data)
            else:
                with pytest.raises(UserError, match="is damaged"):
                    open_prepared(data)
        assert all(name not in str(call) for call in load.mock_calls)


class TestTraining:
    def config(self, data, **more):
        return small_config(data__source=f"prepared:{data}", data__channels=3, **more)

    def test_ends_before_the_first_checkpoint_and_stores_nothing(self, data, tmp_path):
        zero(data / "r0008.npy")
        with pytest.raises(UserError, match=r"r0008\.npy: does not match its checksum; remove that folder and prepare it"):
            run_small(tmp_path / "run", self.config(data, schedule__total_kimg=0.16, schedule__stable_kimg=0.16))
        assert not [path for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdecimal()]

    def test_waits_for_the_end_of_the_reading(self, data, tmp_path, monkeypatch, capsys):
        """However long that takes."""
        monkeypatch.setattr(watched_files, "_SECONDS_UNTIL_LOGGED", 0.01)
        saved, asked, save, read = [], threading.Event(), run_setup.Checkpoints.save, watched_files.checksum
        problem = watched_files.Verification.problem

        def slow(path, progress):
            if path.name == "r0008.npy":
                assert asked.wait(60)
                zero(path)
            return read(path, progress)

        def ask(verification, *, wait):
            if wait:
                threading.Timer(0.2, asked.set).start()
            return problem(verification, wait=wait)

        monkeypatch.setattr(watched_files.Verification, "problem", ask)

        monkeypatch.setattr(watched_files, "checksum", slow)
        monkeypatch.setattr(run_setup.Checkpoints, "save", lambda *arguments: saved.append(arguments) or save(*arguments))
        with pytest.raises(UserError, match="does not match its checksum"):
            run_small(tmp_path / "run", self.config(data, schedule__total_kimg=0.16, schedule__stable_kimg=0.16))
        assert not saved
        assert f"waiting for the verification of {data}" in capsys.readouterr().out

    def test_a_file_that_is_truncated_meanwhile(self, data, tmp_path, monkeypatch):
        """In the middle of a tick, at the resolution that is trained, by the thread that reads next: no read is under way."""
        check, checked = watched_files.WatchedFiles.refuse_if_truncated, []

        def truncate(files, name):
            checked.append(name)
            if checked.count("r0008.npy") == 20:
                os.truncate(data / "r0008.npy", 300)
            check(files, name)

        monkeypatch.setattr(watched_files.WatchedFiles, "refuse_if_truncated", truncate)
        with pytest.raises(UserError, match=r"r0008\.npy: was truncated while in use, to 300 of ") as caught:
            run_small(tmp_path / "run", self.config(data))
        assert "\n" not in str(caught.value)

    def test_is_the_same_to_the_bit(self, data, tmp_path, monkeypatch):
        config = self.config(data, schedule__total_kimg=0.16, schedule__stable_kimg=0.16)
        assert run_small(tmp_path / "verified", config)
        monkeypatch.setattr(run_setup, "start_verification", lambda _loader, log: start_verification(None, log))
        assert run_small(tmp_path / "not", config)
        assert digest(tmp_path / "verified") == digest(tmp_path / "not")

    def test_the_cache_is_made_again_by_the_same_command(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
        data = DataConfig(f"synthetic:{IMAGES}", 8)
        before = open_loader(data, seed=0).images(8, np.arange(IMAGES))
        (folder,) = (path for path in cache_folder().iterdir() if path.is_dir())
        zero(folder / "r0008.npy")
        problem = problem_of(open_loader(data, seed=0))
        assert problem.endswith(
            "r0008.npy: does not match its checksum; it is in the cache, and the same command prepares it again"
        )
        lines = []
        loader = open_loader(data, seed=0, report=lines.append)
        assert lines[0] == f"{folder} is damaged and is prepared again"
        np.testing.assert_array_equal(loader.images(8, np.arange(IMAGES)), before)
        assert problem_of(loader) == ""

    def test_by_command(self, launch, data, tmp_path, monkeypatch):
        monkeypatch.setattr("pggan_jax.cli.train.StopRequest", lambda: lambda: False)
        os.truncate(data / "r0004.npy", 1000)
        words = "--config=experiments/smoke.py", f"--set=data.source=prepared:{data}", "--set=data.resolution=8"
        message = one_line_error(launch(*words, "--set=data.channels=3", f"--workdir={tmp_path}/run"))
        assert f"{data}: is damaged (r0004.npy has 1,000 of 9,728 bytes); remove it and prepare it again" in message
