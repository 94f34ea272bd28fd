"""The pyramid: levels by the specified filter, unusable images left out, and a cache that is either whole or not there."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pggan_jax.data.pyramid import build_pyramid, halvings
from pggan_jax.data.sources import open_source
from pggan_jax.errors import UserError

REPOSITORY = Path(__file__).parent.parent


class ArraySource:
    """Images from an array, counting how often one is read."""

    name = "array"

    def __init__(self, images, labels=None, class_names=()):
        self.images, self.labels, self.class_names = images, labels, class_names
        self.channels = images.shape[-1]
        self.reads = 0

    def __len__(self):
        return len(self.images)

    def image(self, index):
        self.reads += 1
        return self.images[index]

    def label(self, index):
        return int(self.labels[index]) if self.class_names else 0

    def fingerprint(self):
        return str(self.images.sum())


def noise(count, resolution, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, resolution, resolution, channels), np.uint8)


def slow_level(image, size):
    """Every pixel of a level from whole blocks of the top level, in float64, rounded once."""
    factor = image.shape[0] // size
    level = np.empty((size, size, image.shape[-1]))
    for y in range(size):
        for x in range(size):
            level[y, x] = image[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor].mean(axis=(0, 1))
    return np.rint(level)


def make_folder(folder):
    """Five good images of two classes, and three unusable ones."""
    for index in range(5):
        path = folder / ("cat" if index % 2 else "dog") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(1, 12, seed=index)[0]).save(path)
    good = (folder / "cat/1.png").read_bytes()
    (folder / "cat/cut.png").write_bytes(good[: len(good) // 2])
    (folder / "dog/text.png").write_text("hello")
    Image.new("RGB", (5, 5)).save(folder / "dog/small.png")
    return open_source(f"folder:{folder}", resolution=8, channels=0)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def equal(first, second):
    assert list(first.levels) == list(second.levels)
    for size in first.levels:
        np.testing.assert_array_equal(first.levels[size], second.levels[size])
    np.testing.assert_array_equal(first.classes, second.classes)
    assert first.class_names == second.class_names


def test_levels_are_box_means_of_unrounded_values():
    images = noise(6, 32)
    pyramid = build_pyramid(ArraySource(images), resolution=32, cache=None)
    assert list(pyramid.levels) == [32, 16, 8, 4]
    assert (len(pyramid), pyramid.channels) == (6, 3)
    np.testing.assert_array_equal(pyramid.levels[32], images)
    for size in (16, 8, 4):
        assert pyramid.levels[size].dtype == np.uint8
        np.testing.assert_array_equal(pyramid.levels[size], [slow_level(image, size) for image in images])


def test_rounding_every_level_would_differ():
    """0.5 rounds to 0 (to even); its mean with three 1.5 rounds to 1, of the rounded 0, 2, 2, 2 to 2."""
    image = np.zeros((16, 16, 1), np.uint8)
    image[:4, :4, 0] = [[1, 0, 2, 1], [0, 1, 1, 2], [2, 1, 2, 1], [1, 2, 1, 2]]
    levels = halvings(image, (16, 8, 4))
    assert levels[8][:2, :2, 0].tolist() == [[0, 2], [2, 2]]
    assert levels[4][0, 0, 0] == 1


def test_the_largest_images_are_exact():
    image = noise(1, 1024, channels=1)[0]
    image[:256, :256] = 255
    image[0, 0] = 254
    sizes = tuple(2**power for power in range(10, 1, -1))
    np.testing.assert_array_equal(halvings(image, sizes)[4], slow_level(image, 4))


def test_classes_are_numbers():
    labels = np.array([2, 0, 1, 2])
    pyramid = build_pyramid(ArraySource(noise(4, 4), labels, ("a", "b", "c")), resolution=4, cache=None)
    np.testing.assert_array_equal(pyramid.classes, labels)
    assert pyramid.classes.dtype == np.int32
    assert pyramid.class_names == ("a", "b", "c")
    assert build_pyramid(ArraySource(noise(4, 4)), resolution=4, cache=None).classes.tolist() == [0, 0, 0, 0]


def test_more_images_than_one_chunk_keep_their_order():
    images = noise(2500, 4, channels=1)
    np.testing.assert_array_equal(build_pyramid(ArraySource(images), resolution=4, cache=None).levels[4], images)


@pytest.mark.parametrize("resolution", [0, 2, 12])
def test_other_resolutions_are_a_mistake_of_the_caller(resolution):
    with pytest.raises(ValueError, match=str(resolution)):
        build_pyramid(ArraySource(noise(1, 4)), resolution=resolution, cache=None)


@pytest.mark.parametrize("cached", [False, True])
def test_unusable_files_are_left_out_and_named(tmp_path, cached):
    source = make_folder(tmp_path / "images")
    assert len(source) == 8
    pyramid = build_pyramid(source, resolution=8, cache=tmp_path / "cache" if cached else None)
    message = pyramid.warning
    assert "left out 3 unusable images" in message
    assert "\n" not in message
    assert all(name in message for name in ("cat/cut.png", "dog/text.png", "dog/small.png"))
    assert len(pyramid) == 5
    good = [index for index in range(8) if index not in (2, 6, 7)]
    np.testing.assert_array_equal(pyramid.levels[8], [source.image(index) for index in good])
    np.testing.assert_array_equal(pyramid.classes, [source.label(index) for index in good])


@pytest.mark.parametrize("cached", [False, True])
def test_a_folder_without_a_usable_image_is_refused(tmp_path, cached):
    (tmp_path / "images").mkdir()
    for index in range(9):
        (tmp_path / "images" / f"{index}.png").write_text("hello")
    source = open_source(f"folder:{tmp_path / 'images'}", resolution=8, channels=0)
    with pytest.raises(UserError, match=r"none of 9 images is usable: 0\.png is not an image; .*and 6 more"):
        build_pyramid(source, resolution=8, cache=tmp_path / "cache" if cached else None)
    assert not cached or names(tmp_path / "cache") == []


def test_the_cache_holds_the_same_pyramid_and_is_reused(tmp_path):
    images, labels = noise(7, 16), np.arange(7) % 3
    plain = build_pyramid(ArraySource(images, labels, ("a", "b", "c")), resolution=16, cache=None)
    first = build_pyramid(ArraySource(images, labels, ("a", "b", "c")), resolution=16, cache=tmp_path / "deep/cache")
    again = ArraySource(images, labels, ("a", "b", "c"))
    second = build_pyramid(again, resolution=16, cache=tmp_path / "deep/cache")
    assert again.reads == 0
    equal(plain, first)
    equal(plain, second)
    assert isinstance(second.levels[16], np.memmap)
    (folder,) = names(tmp_path / "deep/cache")
    assert json.loads((tmp_path / "deep/cache" / folder / "info.json").read_text())["images"] == 7


def test_changed_files_make_another_cache(tmp_path):
    cache = tmp_path / "cache"
    build_pyramid(make_folder(tmp_path / "images"), resolution=8, cache=cache)
    Image.fromarray(noise(1, 20, seed=9)[0]).save(tmp_path / "images/cat/new.png")
    source = open_source(f"folder:{tmp_path / 'images'}", resolution=8, channels=0)
    assert len(build_pyramid(source, resolution=8, cache=cache)) == 6
    grey = open_source(f"folder:{tmp_path / 'images'}", resolution=8, channels=1)
    assert build_pyramid(grey, resolution=8, cache=cache).channels == 1
    small = open_source(f"folder:{tmp_path / 'images'}", resolution=4, channels=0)
    assert list(build_pyramid(small, resolution=4, cache=cache).levels) == [4]
    assert len(names(cache)) == 4


def test_a_damaged_cache_is_built_again(tmp_path):
    images = noise(3, 8)
    plain = build_pyramid(ArraySource(images), resolution=8, cache=tmp_path)
    expected = {size: np.array(level) for size, level in plain.levels.items()}
    (name,) = names(tmp_path)
    level = tmp_path / name / "8x8.npy"
    level.write_bytes(level.read_bytes()[:-1])
    source = ArraySource(images)
    repaired = build_pyramid(source, resolution=8, cache=tmp_path)
    assert source.reads == 3
    np.testing.assert_array_equal(repaired.levels[8], expected[8])


def test_an_interrupted_build_leaves_nothing(tmp_path):
    class Interrupted(ArraySource):
        def image(self, index):
            if index == 3:
                raise KeyboardInterrupt
            return super().image(index)

    with pytest.raises(KeyboardInterrupt):
        build_pyramid(Interrupted(noise(5, 8)), resolution=8, cache=tmp_path)
    assert names(tmp_path) == []


def test_a_killed_build_leaves_nothing_that_looks_finished(tmp_path):
    program = """
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from test_pyramid import ArraySource, noise
        from pggan_jax.data.pyramid import build_pyramid

        class Killed(ArraySource):
            def image(self, index):
                if index == 2000:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().image(index)

        build_pyramid(Killed(noise(2500, 4)), resolution=4, cache=Path(sys.argv[1]))
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path), str(REPOSITORY / "tests")]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=False)
    assert done.returncode == -9
    assert [Path(name).suffix for name in names(tmp_path)] == [".partial"]
    images = noise(2500, 4)
    pyramid = build_pyramid(ArraySource(images), resolution=4, cache=tmp_path)
    np.testing.assert_array_equal(pyramid.levels[4], images)
    assert [Path(name).suffix for name in names(tmp_path)] == [""]


def test_too_little_space_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(total=10**6, used=10**6 - 1000, free=1000))
    source = ArraySource(noise(10, 8), np.zeros(10), ("a", "b"))
    needed = 10 * (3 * (64 + 16) + 4)
    with pytest.raises(UserError, match=rf"{tmp_path}.* {needed:,} bytes and 1,000 are free"):
        build_pyramid(source, resolution=8, cache=tmp_path)
    assert source.reads == 0
    assert names(tmp_path) == []


def test_a_cache_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        build_pyramid(ArraySource(noise(1, 4)), resolution=4, cache=tmp_path / "file")


def test_nothing_is_shown_where_stderr_is_no_terminal(capsys):
    build_pyramid(ArraySource(noise(3, 4)), resolution=4, cache=None)
    assert capsys.readouterr() == ("", "")
