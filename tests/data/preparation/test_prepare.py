"""Prepared folders: the same bytes for any number of processes, and errors for existing folders."""

import errno
import fcntl
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pggan_jax.data.preparation.prepare import prepare, prepare_cached
from pggan_jax.data.preparation.prepared_folder import open_prepared
from pggan_jax.data.preparation.resumable import lock_partial_folder
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.preparation.write_arrays import build_in_memory
from pggan_jax.errors import UserError
from pggan_jax.system import file_lock
from tests.helpers.array_source import CLASSES, COUNT, ArraySource, content, labelled, names, noise, refusal

ROOT = Path(__file__).parents[3]


def slow_levels(images, shapes):
    """Every level from the largest, by means over whole boxes in float64, rounded once."""
    levels = {}
    for size, (height, width) in shapes.items():
        boxes = images.reshape(len(images), height, images.shape[1] // height, width, -1, images.shape[-1])
        levels[size] = np.rint(boxes.mean(axis=(2, 4))).astype(np.uint8)
    return levels


class TestBytes:
    @pytest.mark.parametrize(
        ("preparation", "shape", "channels"),
        [
            (PreparationSpec(16), (16, 16), 3),
            (PreparationSpec(8, shuffle_seed=5, max_images=333), (8, 8), 1),
            (PreparationSpec(8, copies_mirrored=True, shuffle_seed=0), (8, 8), 4),
            (PreparationSpec(16, base_shape=(3, 4)), (12, 16), 3),
            (PreparationSpec(4), (4, 4), 6),
        ],
        ids=["plain", "shuffled", "mirrored", "portrait", "channels"],
    )
    def test_as_a_slow_program_would(self, tmp_path, preparation, shape, channels):
        images, labels = noise(COUNT, shape, channels), np.arange(COUNT) % 3
        images[7] = 0
        images[8] = 255
        prepared = prepare(ArraySource(images, labels, CLASSES), preparation, folder=tmp_path / "out", workers=0)
        order = preparation.order(COUNT)
        expected, expected_labels = images[order], labels[order]
        if preparation.copies_mirrored:
            expected = np.stack([expected, expected[:, :, ::-1]], axis=1).reshape(-1, *images.shape[1:])
            expected_labels = expected_labels.repeat(2)
        levels = slow_levels(expected, preparation.shapes)
        assert prepared.resolutions == list(levels)
        for size, level in levels.items():
            np.testing.assert_array_equal(prepared.level(size), level)
        np.testing.assert_array_equal(prepared.classes(), expected_labels)
        assert prepared.class_names == CLASSES
        mean = expected.mean(axis=0)
        boxes = mean.reshape(preparation.base_shape[0], -1, preparation.base_shape[1], mean.shape[1] // 4, channels)
        np.testing.assert_allclose(prepared.info["mean_image"], boxes.mean(axis=(1, 3)), atol=6e-4)
        if channels <= 4:
            picture = np.asarray(Image.open(tmp_path / "out/mean.png")).reshape(mean.shape)
            np.testing.assert_array_equal(picture, np.rint(mean))

    def test_however_many_processes(self, tmp_path):
        source = labelled(bad=frozenset([0, 255, 256, 599]))
        for workers in (0, 2):
            prepare(source, PreparationSpec(8, shuffle_seed=1), folder=tmp_path / str(workers), workers=workers)
        assert content(tmp_path / "0") == content(tmp_path / "2")
        assert names(tmp_path) == ["0", "2"]
        assert names(tmp_path / "0") == ["info.json", "labels.npy", "mean.png", "r0004.npy", "r0008.npy"]

    def test_the_mean_of_large_images_is_a_small_one(self, tmp_path):
        images = noise(3, 64, 1)
        prepare(ArraySource(images), PreparationSpec(64), folder=tmp_path / "out")
        small = slow_levels(images, {32: (32, 32)})[32].mean(axis=0)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/mean.png")), np.rint(small[..., 0]))

    def test_in_memory_the_same(self, tmp_path):
        source = labelled(count=40, bad=frozenset([3]))
        preparation = PreparationSpec(8, shuffle_seed=2)
        pyramid, prepared = (
            build_in_memory(source, preparation),
            prepare(source, preparation, folder=tmp_path / "out").pyramid(8),
        )
        assert list(pyramid.levels) == list(prepared.levels) == [8, 4]
        for size in pyramid.levels:
            np.testing.assert_array_equal(pyramid.levels[size], prepared.levels[size])
        np.testing.assert_array_equal(pyramid.classes, prepared.classes)
        assert (pyramid.class_names, pyramid.skipped) == (prepared.class_names, prepared.skipped)

    def test_info(self, tmp_path):
        source = labelled(bad=frozenset([1]))
        preparation = PreparationSpec(8, max_images=500, shuffle_seed=4, copies_mirrored=True)
        prepared = prepare(source, preparation, folder=tmp_path / "out")
        info = json.loads((tmp_path / "out/info.json").read_text())
        assert info == prepared.info
        rows = 2 * (500 - (1 in preparation.order(COUNT)))
        assert (info["source"], info["images"], info["channels"]) == ("array", rows, 3)
        assert info["options"] == {
            "resolution": 8,
            "base_shape": [4, 4],
            "channels": 3,
            "crop": "center",
            "resample": "lanczos",
            "modes": "convert",
            "max_images": 500,
            "shuffle_seed": 4,
            "copies_mirrored": True,
        }
        assert info["levels"]["4"]["shape"] == [rows, 4, 4, 3]
        assert prepared.damaged_files() == []
        assert prepared.total_bytes() == sum(
            path.stat().st_size for path in (tmp_path / "out").iterdir() if path.suffix == ".npy"
        )

    @pytest.mark.parametrize("name", ["r0008.npy", "r0004.npy", "labels.npy"])
    def test_a_changed_bit_is_found(self, tmp_path, name):
        prepared = prepare(labelled(count=20), PreparationSpec(8), folder=tmp_path / "out")
        damaged = bytearray((tmp_path / "out" / name).read_bytes())
        damaged[-1] ^= 1
        (tmp_path / "out" / name).write_bytes(damaged)
        assert prepared.damaged_files() == [name]


class TestUnusable:
    @pytest.mark.parametrize(
        "bad",
        [{0}, {COUNT - 1}, set(range(256)), set(range(250, COUNT)), set(range(0, COUNT, 2)), set(range(1, COUNT))],
        ids=["first", "last", "first block", "last blocks", "every other", "all but one"],
    )
    @pytest.mark.parametrize("mirrored", [False, True])
    def test_left_out_and_named_wherever_they_are(self, tmp_path, bad, mirrored):
        source = labelled(resolution=4, bad=frozenset(bad))
        prepared = prepare(source, PreparationSpec(4, copies_mirrored=mirrored), folder=tmp_path / "out", workers=0)
        good = np.array([index for index in range(COUNT) if index not in bad])
        step = 2 if mirrored else 1
        np.testing.assert_array_equal(prepared.level(4)[::step], source.images[good])
        np.testing.assert_array_equal(prepared.classes(), (good % 3).repeat(step))
        assert prepared.info["skipped"] == [f"picture {index} is bad; fix it" for index in sorted(bad)]
        assert prepared.pyramid(4).warning.startswith(f"left out {len(bad)} unusable image")

    @pytest.mark.parametrize("function", [prepare, prepare_cached])
    def test_none_usable_is_refused_and_leaves_nothing(self, tmp_path, function):
        source = labelled(bad=frozenset(range(COUNT)))
        expected = "array: none of 600 images is usable: picture 0 is bad; fix it; .*; and 597 more"
        with pytest.raises(UserError, match=expected):
            function(source, PreparationSpec(8), folder=tmp_path / "out")
        assert names(tmp_path) == []
        with pytest.raises(UserError, match=expected):
            build_in_memory(source, PreparationSpec(8))

    def test_a_file_that_cannot_be_read_is_the_image_s_fault(self, tmp_path):
        class Broken(ArraySource):
            def read(self, index):
                if index == 2:
                    raise OSError(errno.EIO, "Input/output error")
                return super().read(index)

        prepared = prepare(Broken(noise(5, 4)), PreparationSpec(4), folder=tmp_path / "out")
        assert prepared.info["skipped"] == [
            "picture 2 cannot be decoded ([Errno 5] Input/output error); save it again or remove it"
        ]

    def test_files_that_change_meanwhile_make_no_data_set(self, tmp_path):
        class Changing(ArraySource):
            def read(self, index):
                if index == 4:
                    self.state = "changed"
                return super().read(index)

        message = refusal(prepare, Changing(noise(5, 4)), PreparationSpec(4), folder=tmp_path / "out")
        assert message.startswith("array: changed while it was read")
        assert names(tmp_path) == []


class TestTwoAtOnce:
    def test_the_second_is_refused(self, tmp_path):
        source = labelled(log=tmp_path / "log")
        with lock_partial_folder(tmp_path / "out.partial", wait=False):
            message = refusal(prepare, source, PreparationSpec(8), folder=tmp_path / "out")
        assert message.startswith(f"{tmp_path / 'out.partial'}: another process writes there")
        assert names(tmp_path) == []

    def test_in_a_cache_the_second_waits_and_both_get_the_same(self, tmp_path):
        begun, may_go_on, reported, results = threading.Event(), threading.Event(), [], []

        class Slow(ArraySource):
            def read(self, index):
                begun.set()
                assert may_go_on.wait(20)
                return super().read(index)

        def work(source, report):
            results.append(prepare_cached(source, PreparationSpec(8), folder=tmp_path / "out", report=report))

        images, labels = noise(20, 8), np.arange(20) % 3
        first = threading.Thread(target=work, args=(Slow(images, labels, CLASSES), lambda _line: None))
        first.start()
        assert begun.wait(20)
        waiting = threading.Event()

        def report(line):
            reported.append(line)
            waiting.set()

        late = ArraySource(images, labels, CLASSES, log=tmp_path / "log")
        second = threading.Thread(target=work, args=(late, report))
        second.start()
        assert waiting.wait(20)
        time.sleep(0.05)
        assert len(results) == 0
        may_go_on.set()
        first.join(20)
        second.join(20)
        assert len(results) == 2
        assert results[0].info == results[1].info
        assert reported == [f"waiting for another process that writes {tmp_path / 'out.partial'}"]
        assert late.reads() == ([], set())
        assert names(tmp_path) == ["out"]

    def test_a_lock_that_nobody_holds_is_no_hindrance(self, tmp_path):
        (tmp_path / "out.partial").mkdir()
        (tmp_path / "out.partial/lock").touch()
        prepare(labelled(count=5), PreparationSpec(8), folder=tmp_path / "out")
        assert names(tmp_path) == ["out"]

    def test_owned_until_it_has_its_name(self, tmp_path, monkeypatch):
        """Another process that comes at the last moment must not take the folder for its own."""
        rename, seen = Path.rename, []

        def watched(self, target):
            seen.append(refusal(lock_partial_folder(self, wait=False).__enter__))
            result = rename(self, target)
            # Once it has its name, whoever claims the partial folder finds the finished one.
            with lock_partial_folder(tmp_path / "out.partial", wait=False):
                seen.append(open_prepared(tmp_path / "out").info["images"])
            return result

        monkeypatch.setattr(Path, "rename", watched)
        prepare(labelled(count=5), PreparationSpec(8), folder=tmp_path / "out")
        assert seen == [
            f"{tmp_path / 'out.partial'}: another process writes there; wait for it, or choose another folder",
            5,
        ]
        assert names(tmp_path) == ["out"]

    def test_a_folder_that_went_away_while_waiting_is_made_again(self, tmp_path, monkeypatch):
        flock, moved = fcntl.flock, []

        def move_then_lock(file, operation):
            if not moved:
                moved.append((tmp_path / "out.partial").rename(tmp_path / "moved"))
            flock(file, operation)

        monkeypatch.setattr(file_lock.fcntl, "flock", move_then_lock)
        with lock_partial_folder(tmp_path / "out.partial", wait=True):
            (tmp_path / "out.partial/mine").touch()
        assert names(tmp_path / "out.partial") == ["lock", "mine"]
        assert names(tmp_path / "moved") == ["lock"]

    def test_a_folder_of_that_name_that_is_the_user_s_own_is_left_alone(self, tmp_path):
        (tmp_path / "out.partial").mkdir()
        (tmp_path / "out.partial/precious").write_text("data")
        assert "was not created by this program" in refusal(
            prepare, labelled(count=5), PreparationSpec(8), folder=tmp_path / "out"
        )
        assert content(tmp_path / "out.partial") == {"precious": b"data"}


class TestExistingFolder:
    def test_of_the_same_preparation_is_opened(self, tmp_path):
        first = prepare(labelled(count=20), PreparationSpec(8), folder=tmp_path / "out")
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
        source = labelled(count=20, log=tmp_path / "log")
        again = prepare(source, PreparationSpec(8, channels=3), folder=tmp_path / "out")
        assert again.info == first.info
        assert source.reads() == ([], set())
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before

    def test_that_may_only_be_read_is_opened(self, tmp_path, monkeypatch):
        prepare_cached(labelled(count=20), PreparationSpec(8), folder=tmp_path / "out")

        def refuse(*_args, **_more):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", refuse)
        assert len(prepare_cached(labelled(count=20), PreparationSpec(8), folder=tmp_path / "out").classes()) == 20
        assert len(prepare(labelled(count=20), PreparationSpec(8), folder=tmp_path / "out").classes()) == 20
        message = refusal(prepare, labelled(count=20), PreparationSpec(8), folder=tmp_path / "new")
        assert message == f"{tmp_path / 'new'}: cannot be written (Permission denied); choose a folder with write permission"

    @pytest.mark.parametrize(
        "change",
        [
            {"channels": 1},
            {"shuffle_seed": 0},
            {"max_images": 3},
            {"copies_mirrored": True},
            {"crop": "none"},
            {"resolution": 4},
        ],
    )
    def test_of_other_options_is_refused(self, tmp_path, change):
        prepare(labelled(count=20), PreparationSpec(8), folder=tmp_path / "out")
        before = content(tmp_path / "out")
        message = refusal(prepare, labelled(count=20), PreparationSpec(**({"resolution": 8} | change)), folder=tmp_path / "out")
        assert message.startswith(f"{tmp_path / 'out'}: holds array prepared with other options, or from other files; choose")
        assert content(tmp_path / "out") == before
        assert names(tmp_path) == ["out"]

    @pytest.mark.parametrize("change", [{"state": "x"}, {"class_names": ("a", "b", "d")}])
    def test_of_other_files_or_classes_is_refused(self, tmp_path, change):
        prepare(labelled(count=20), PreparationSpec(8), folder=tmp_path / "out")
        source = labelled(count=20)
        for name, value in change.items():
            setattr(source, name, value)
        assert "or from other files" in refusal(prepare, source, PreparationSpec(8), folder=tmp_path / "out")

    def test_with_something_else_in_it_is_refused(self, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/notes.txt").write_text("mine")
        message = refusal(prepare, labelled(count=5), PreparationSpec(8), folder=tmp_path / "out")
        assert message == f"{tmp_path / 'out'}: exists and is not a prepared folder; choose another --out, or remove it"
        assert names(tmp_path) == ["out"]
        assert names(tmp_path / "out") == ["notes.txt"]

    def test_that_is_a_file_is_refused(self, tmp_path):
        (tmp_path / "out").write_text("mine")
        assert "is not a prepared folder" in refusal(prepare, labelled(count=5), PreparationSpec(8), folder=tmp_path / "out")
        assert (tmp_path / "out").read_text() == "mine"
        message = refusal(prepare, labelled(count=5), PreparationSpec(8), folder=tmp_path / "out/below")
        assert "cannot be written" in message

    @pytest.mark.parametrize("is_link", [False, True])
    def test_that_is_empty_is_filled(self, tmp_path, is_link):
        (tmp_path / "real").mkdir()
        out = tmp_path / "real"
        if is_link:
            out = tmp_path / "link"
            out.symlink_to("real")
        assert len(prepare(labelled(count=5), PreparationSpec(8), folder=out).classes()) == 5
        assert len(open_prepared(tmp_path / "real").classes()) == 5

    def test_the_top_of_a_disk_is_refused(self, monkeypatch, tmp_path):
        (tmp_path / "disk").mkdir()
        monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(tmp_path / "disk"))
        assert "is the root of a disk" in refusal(prepare, labelled(count=5), PreparationSpec(8), folder=tmp_path / "disk")
        assert "is the root of a disk" in refusal(
            prepare, labelled(count=5), PreparationSpec(8), folder=tmp_path / "disk/../disk"
        )

    def test_damaged_is_refused(self, tmp_path):
        prepare(labelled(count=20), PreparationSpec(8), folder=tmp_path / "out")
        os.truncate(tmp_path / "out/r0008.npy", 500)
        message = refusal(prepare, labelled(count=20), PreparationSpec(8), folder=tmp_path / "out")
        assert "is damaged" in message
        assert "is not overwritten" in message
        assert (tmp_path / "out/r0008.npy").stat().st_size == 500

    @pytest.mark.parametrize("name", ["r0008.npy", "info.json", "labels.npy"])
    def test_a_damaged_cache_is_made_again(self, tmp_path, name):
        prepare_cached(labelled(count=20), PreparationSpec(8), folder=tmp_path / "out")
        before = content(tmp_path / "out")
        os.truncate(tmp_path / "out" / name, 130)
        reported = []
        prepare_cached(labelled(count=20), PreparationSpec(8), folder=tmp_path / "out", report=reported.append)
        assert content(tmp_path / "out") == before
        assert reported[0] == f"{tmp_path / 'out'} is damaged and is prepared again"
        assert reported[1].startswith("preparing 20 images of array once, 0 MB in ")


def test_nothing_is_shown_where_stderr_is_no_terminal(tmp_path, capfd):
    prepare(labelled(), PreparationSpec(8), folder=tmp_path / "out", workers=1)
    assert capfd.readouterr() == ("", "")
