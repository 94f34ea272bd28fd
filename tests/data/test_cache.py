"""The cache: entries, order of removal, locks, and temporary folders."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from pggan_jax.config import DataConfig
from pggan_jax.data import cache as cache_module
from pggan_jax.data.cache import DEFAULT_LIMITS, KINDS, Cache, format_bytes
from pggan_jax.data.open_loader import cache_folder, open_loader
from pggan_jax.data.temporary_levels import temporary_loader
from pggan_jax.errors import UserError
from tests.helpers.command_line import ROOT, one_line_error

pytestmark = pytest.mark.usefixtures("quick_compilation")
NO_LOCKS = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def cache(root):
    return Cache(root)


def prepared(cache, images, *, age=0, resolution=8):
    """A prepared collection of so many images that was last used so many seconds ago."""
    before = set(cache.entries("data"))
    open_loader(DataConfig(f"synthetic:{images}", resolution), seed=0)
    (entry,) = set(cache.entries("data")) - before
    used = time.time() - age
    for path in (entry.path, cache.root / "in_use" / f"data-{entry.path.name}"):
        os.utime(path, (used, used))
    return entry.path


def feature_file(cache, number, *, size=1000, age=0, suffix=".npz"):
    path = cache.root / "features" / f"{number:064x}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def program(cache, name, *, size=1000, age=0):
    path = cache.root / "compiled" / "0123456789ab" / f"{name}-cache"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def images_in(folder, count=20, side=16, seed=0):
    folder.mkdir(parents=True)
    random = np.random.RandomState(seed)
    for number in range(count):
        Image.fromarray(random.randint(0, 256, (side, side, 3)).astype(np.uint8)).save(folder / f"{number:03d}.png")
    return folder


class TestLimits:
    def test_data_used_longest_ago_goes_first(self, cache):
        old, older, new = (prepared(cache, count, age=age) for count, age in ((40, 100), (50, 200), (60, 0)))
        size = {entry.path: entry.bytes for entry in cache.entries("data")}
        cache.set_limits({"data": size[new] + size[old] + 1})
        lines = []
        cache.trim("data", lines.append)
        assert (older.exists(), old.exists(), new.exists()) == (False, True, True)
        assert len(lines) == 1
        assert "synthetic:50" in lines[0]
        cache.trim("data", lines.append, reserve=2)
        assert (old.exists(), new.exists()) == (False, True)
        cache.trim("data", lines.append)
        assert len(lines) == 2
        assert not list(cache_folder().glob(".removed*"))

    def test_use_counts_and_not_age(self, cache):
        first, second = prepared(cache, 40, age=200), prepared(cache, 50, age=100)
        open_loader(DataConfig("synthetic:40", 8), seed=0)
        assert [entry.path for entry in cache.entries("data")] == [second, first]

    def test_what_is_used_here_or_by_another_process_stays(self, cache):
        used = prepared(cache, 40, age=300)
        loader = open_loader(DataConfig("synthetic:40", 8), seed=0)
        other = prepared(cache, 50, age=200)
        code = """
            import time
            from pggan_jax.config import DataConfig
            from pggan_jax.data.open_loader import open_loader
            loader = open_loader(DataConfig("synthetic:50", 8), seed=0)
            print("ready", flush=True)
            time.sleep(60)
        """
        words = [sys.executable, "-c", textwrap.dedent(code)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            try:
                assert process.stdout.readline() == "ready\n"
                cache.set_limits({"data": 0})
                cache.trim("data", print)
                assert (used.exists(), other.exists()) == (True, True)
            finally:
                process.kill()
        cache.trim("data", print)
        assert (used.exists(), other.exists()) == (True, False), "the lock ends with its process"
        assert len(loader.images(8, np.arange(40))) == 40
        del loader
        cache.trim("data", print)
        assert not used.exists()

    def test_a_new_collection_takes_the_place_of_old_ones(self, cache):
        old = prepared(cache, 40, age=100)
        cache.set_limits({"data": 1000})
        lines = []
        loader = open_loader(DataConfig("synthetic:50", 8), seed=0, report=lines.append)
        assert not old.exists()
        assert lines[0].startswith("removed ")
        assert len(loader) == 50, "itself it may be larger than the limit"

    def test_features(self, cache):
        names = [feature_file(cache, number, age=number) for number in range(5)]
        half = feature_file(cache, 9, age=10_000, suffix=".npz.partial")
        cache.set_limits({"features": 3000})
        cache.trim("features", print, reserve=1000)
        assert [path.exists() for path in names] == [True, True, False, False, False]
        assert not half.exists()

    def test_programs(self, cache):
        names = [program(cache, f"jit_{number}", age=number) for number in range(5)]
        cache.set_limits({"compiled": 2000})
        held = cache.use("compiled", "0123456789ab")
        cache.trim("compiled", print)
        assert all(path.exists() for path in names)
        held.close()
        cache.trim("compiled", print)
        assert [path.exists() for path in names] == [True, True, False, False, False]

    @pytest.mark.parametrize("content", ["", "[]", "3", "[" * 100_000, '{"data": "x"}', '{"data": -1}', '{"data": true}'])
    def test_of_a_damaged_record_are_the_usual_ones(self, cache, root, content):
        root.mkdir()
        (root / "limits.json").write_text(content)
        assert cache.limits() == DEFAULT_LIMITS

    def test_foreign_files_are_nobody_s_business(self, cache, root):
        """PGGAN_JAX_CACHE may name any folder."""
        foreign = [
            root / "data/photos/a.png",
            root / "data/thesis.tex",
            root / "features/mine.npz",
            root / "compiled/x/y-cache",
        ]
        foreign += [root / "data/elsewhere.partial/x", root / "notes.txt", root / "compiled/0123456789ab/readme"]
        for path in foreign:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("mine")
        (root / "data" / ("0" * 20)).symlink_to(root / "data/photos")
        cache.set_limits(dict.fromkeys(KINDS, 0))
        for kind in KINDS:
            assert cache.entries(kind) == []
            cache.trim(kind, print)
        assert all(path.exists() for path in foreign)

    @pytest.mark.parametrize("error", [NO_LOCKS, OSError(errno.EOPNOTSUPP, "Operation not supported")])
    def test_without_locks_nothing_is_removed_and_all_works(self, cache, error, launch):
        """Nobody can know then who uses it."""
        old = prepared(cache, 40, age=100)
        with mock.patch.object(cache_module.fcntl, "flock", side_effect=error):
            cache.set_limits({"data": 0})
            cache.trim("data", print)
            assert len(open_loader(DataConfig("synthetic:40", 8), seed=0)) == 40
            status, _, err = launch("cache", "--clear=data")
            assert status == 1
            assert "1 entries are kept: in use by a running process, or on a disk without locks" in err
        assert old.exists()


class TestCommand:
    def test_lists_all_kinds(self, launch, cache, root):
        assert launch("cache")[:2] == (0, f"{root}\n{'size':>10}  {'last used':16}  what\n" + NOTHING + "\n")
        used = prepared(cache, 40)
        loader = open_loader(DataConfig("synthetic:40", 8), seed=0)
        feature_file(cache, 1, size=2000)
        program(cache, "jit")
        (cache_folder() / f"{'0' * 20}.partial").mkdir()
        status, out, err = launch("cache")
        assert (status, err) == (0, "")
        assert f"data: synthetic:40, 40 images up to 8x8 (in use); {used.name}\n" in out
        assert re.search(r"\n +2 kB  \d{4}-\d\d-\d\d \d\d:\d\d  features: 1 files\n", out)
        assert "compiled: 1 files of machine 0123456789ab\n" in out
        assert f"data: unfinished; the command that started it continues it; {'0' * 20}.partial" in out
        assert "; features 2 kB of 10 GB; compiled 1 kB of 5 GB\n" in out
        assert used.exists()
        del loader

    @pytest.mark.parametrize("kind", [*KINDS, "all"])
    def test_clears(self, launch, cache, kind):
        data = prepared(cache, 40)
        unfinished = cache_folder() / f"{'0' * 20}.partial"
        unfinished.mkdir()
        (unfinished / "lock").touch()
        paths = {"data": [data, unfinished], "features": [feature_file(cache, 1)], "compiled": [program(cache, "jit")]}
        status, out, err = launch("cache", f"--clear={kind}")
        assert (status, err) == (0, "")
        for one, held in paths.items():
            assert [path.exists() for path in held] == [kind not in (one, "all")] * len(held)
        if kind in ("data", "all"):
            assert re.search(rf"removed .* synthetic:40, 40 images up to 8x8; {data}\n", out)
        assert f"{'data' if kind == 'all' else kind}: removed " in out
        assert len(open_loader(DataConfig("synthetic:40", 8), seed=0)) == 40, "made again"

    def test_does_not_clear_what_is_in_use(self, launch, cache):
        used, other = prepared(cache, 40), prepared(cache, 50)
        loader = open_loader(DataConfig("synthetic:40", 8), seed=0)
        status, _, err = launch("cache", "--clear=data")
        assert status == 1
        assert err == "data: 1 entries are kept: in use by a running process, or on a disk without locks\n"
        assert (used.exists(), other.exists()) == (True, False)
        assert len(loader.images(8, np.arange(40))) == 40

    def test_sets_limits(self, launch, cache, root):
        old = prepared(cache, 40)
        status, out, _ = launch("cache", "--limit=data:1.5kB,compiled:none")
        assert status == 0
        assert not old.exists()
        assert out.startswith("removed ")
        assert "data 0 bytes of 1.5 kB; features 0 bytes of 10 GB; compiled 0 bytes of any size" in out
        assert json.loads((root / "limits.json").read_text()) == {"data": 1500, "features": 10**10, "compiled": None}

    @pytest.mark.parametrize(
        "limit",
        [
            *("data", "data:", "photos:3GB", "data:3", "data:-3GB", "data:nanGB", "data:1e9GB", "data:3GiB", "data:9999999TB"),
            "data:" + "9" * 5000 + "B",
        ],
        ids=lambda limit: limit[:20],
    )
    def test_refuses_other_limits(self, launch, root, limit):
        message = one_line_error(launch("cache", f"--limit={limit}"))
        assert limit[:5] in message
        assert not root.exists()

    def test_unwritable(self, launch, root):
        root.write_text("a file")
        assert f"{root}: cannot be written" in one_line_error(launch("cache", "--limit=data:1GB"))
        assert launch("cache")[0] == 0


NOTHING = "data 0 bytes of 200 GB; features 0 bytes of 10 GB; compiled 0 bytes of 5 GB"


class TestTemporary:
    def test_one_level_that_is_gone_afterwards(self, tmp_path, cache):
        folder = images_in(tmp_path / "images")
        config = DataConfig(f"folder:{folder}", 16, crop="none")
        with temporary_loader(config) as loader:
            (entry,) = cache.entries("data")
            assert entry.bytes < 20 * 16 * 16 * 3 * 1.1, "no other levels"
            assert cache.is_in_use(entry)
            assert (len(loader), loader.channels, loader.label_size) == (20, 3, 0)
            images = np.array(loader.images(16, np.arange(20)))
        assert not list(cache_folder().iterdir())
        assert not list((cache.root / "in_use").iterdir())
        np.testing.assert_array_equal(images, open_loader(config, seed=0).images(16, np.arange(20)))

    def test_the_range_of_deep_images_is_found_as_in_a_run(self, tmp_path, cache):
        folder = tmp_path / "deep"
        folder.mkdir()
        Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 16).save(folder / "deep.png")
        config = DataConfig(f"folder:{folder}", 16, channels=1, crop="none", range="auto")
        with temporary_loader(config) as loader:
            images = np.array(loader.images(16, np.arange(1)))
        assert images.max() == 255
        np.testing.assert_array_equal(images, open_loader(config, seed=0).images(16, np.arange(1)))

    def test_what_cannot_be_used_is_left_out_or_refused(self, tmp_path, cache):
        folder = images_in(tmp_path / "images", count=3)
        Image.new("RGB", (8, 8)).save(folder / "small.png")
        with temporary_loader(DataConfig(f"folder:{folder}", 16, crop="none")) as loader:
            assert len(loader) == 3
            assert "left out 1 unusable image: small.png" in loader.warning
        with pytest.raises(UserError, match="none of 4 images is usable"), temporary_loader(DataConfig(f"folder:{folder}", 64)):
            pass
        assert not list(cache_folder().iterdir())

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, UserError])
    def test_goes_whatever_happens(self, tmp_path, launch, cache, monkeypatch, error):
        folder = images_in(tmp_path / "images")
        seen = []

        def fail(*_arguments):
            seen.extend(cache.entries("data"))
            raise error("no")

        monkeypatch.setattr("pggan_jax.evaluation.evaluator.Evaluator.__call__", fail)
        words = "evaluate", f"--images={folder}", "--data=synthetic:30", "--metrics=swd", "--num_images=20"
        if error is ValueError:
            with pytest.raises(ValueError, match="no"):
                launch(*words)
        else:
            assert launch(*words)[0] == (130 if error is KeyboardInterrupt else 2)
        assert len([entry for entry in seen if entry.path.name.startswith("temporary-")]) == 1
        (left,) = cache.entries("data")
        assert "synthetic:30" in left.what

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_of_a_process_that_ends(self, tmp_path, cache, number):
        folder = images_in(tmp_path / "images")
        code = f"""
            import time
            from pggan_jax.config import DataConfig
            from pggan_jax.data.temporary_levels import temporary_loader
            with temporary_loader(DataConfig("folder:{folder}", 16)):
                print("ready", flush=True)
                time.sleep(60)
        """
        words = [sys.executable, "-c", textwrap.dedent(code)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
            assert process.stdout.readline() == "ready\n"
            cache.trim("data", print)
            (entry,) = cache.entries("data")
            process.send_signal(number)
        if number == signal.SIGKILL:
            assert cache.entries("data") == [entry]
            prepared(cache, 40)
        assert not entry.path.exists()

    def test_full_disk(self, tmp_path, cache, monkeypatch):
        folder = images_in(tmp_path / "images")
        monkeypatch.setattr(
            "pggan_jax.data.preparation.resumable.PartialFiles.append", mock.Mock(side_effect=OSError(errno.ENOSPC, "No space"))
        )
        with (
            pytest.raises(UserError, match=r"cannot be written .No space.; free") as caught,
            temporary_loader(DataConfig(f"folder:{folder}", 16)),
        ):
            pass
        assert "\n" not in str(caught.value)
        assert not list(cache_folder().iterdir())


def test_what_is_held_until_the_end_is_closed_there(tmp_path):
    """Python prints a warning for a file that nobody has closed, where warnings are asked for."""
    lines = f"from pathlib import Path\nfrom pggan_jax.data.cache import Cache\nCache(Path({str(tmp_path)!r})).use_until_exit"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{lines}('compiled', 'x')"], capture_output=True, text=True, cwd=ROOT
    )
    assert (tmp_path / "in_use" / "compiled-x").exists()
    assert (done.returncode, done.stderr) == (0, "")


def test_sizes_can_be_read():
    assert [format_bytes(size) for size in (0, 999, 1500, 12_345_678, 2 * 10**11, 10**18, None)] == [
        "0 bytes", "999 bytes", "1.5 kB", "12.3 MB", "200 GB", "1e+06 TB", "any size",
    ]  # fmt: skip
