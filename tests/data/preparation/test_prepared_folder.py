"""Opening prepared folders, parts of them, and the errors for damaged ones."""

import json
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest

from pggan_jax.config import DataConfig
from pggan_jax.data.open_loader import open_loader
from pggan_jax.data.preparation.prepare import prepare
from pggan_jax.data.preparation.prepared_folder import PreparedSource, open_prepared
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.data.sources.open_source import open_source
from tests.helpers.array_source import ArraySource, noise, refusal

CLASSES = ("a", "b")


@pytest.fixture
def folder(tmp_path):
    source = ArraySource(noise(20, 16), np.arange(20) % 2, CLASSES, bad=frozenset([3]))
    prepare(source, PreparationSpec(16), folder=tmp_path / "out")
    return tmp_path / "out"


def edit_info(folder, **changes):
    info = json.loads((folder / "info.json").read_text())
    (folder / "info.json").write_text(json.dumps(info | changes))


class TestOpen:
    def test_whole(self, folder):
        prepared = open_prepared(folder)
        assert prepared.resolutions == [16, 8, 4]
        assert prepared.base_shape == (4, 4)
        assert isinstance(prepared.level(16), np.memmap)
        assert prepared.damaged_files() == []

    def test_absent(self, tmp_path):
        message = refusal(open_prepared, tmp_path / "out")
        assert message.startswith(
            f"{tmp_path / 'out'}: holds no info.json, so it is not a complete prepared folder; create one with "
        )

    def test_a_file(self, folder):
        assert "is a file" in refusal(open_prepared, folder / "info.json")

    @pytest.mark.parametrize("name", ["info.json", "r0016.npy", "r0004.npy", "labels.npy"])
    def test_without_a_file(self, folder, name):
        (folder / name).unlink()
        assert f"{folder}: holds no {name}" in refusal(open_prepared, folder)

    @pytest.mark.parametrize("name", ["info.json", "r0016.npy", "r0004.npy", "labels.npy"])
    @pytest.mark.parametrize("size", [0, 5, 100, -1])
    def test_with_a_truncated_file(self, folder, name, size):
        os.truncate(folder / name, size if size >= 0 else (folder / name).stat().st_size - 1)
        message = refusal(open_prepared, folder)
        assert message.startswith(f"{folder}: is damaged (")
        assert message.endswith("remove it and prepare it again")

    @pytest.mark.parametrize(
        "array",
        [np.zeros((18, 8, 8, 3), np.uint8), np.zeros((19, 8, 8, 1), np.uint8), np.zeros((19, 8, 8, 3), np.int8)],
    )
    def test_with_another_array(self, folder, array):
        np.save(folder / "r0008.npy", array)
        message = refusal(open_prepared, folder)
        assert "is damaged (r0008.npy holds" in message
        assert "info.json says uint8 (19, 8, 8, 3)" in message

    @pytest.mark.parametrize("content", ["[]", "3", "null", "{}", '"x"', "\xff", "{"])
    def test_with_an_info_of_something_else(self, folder, content):
        (folder / "info.json").write_bytes(content.encode("latin1"))
        assert f"{folder}: is damaged (" in refusal(open_prepared, folder)

    @pytest.mark.parametrize(
        "name", ["key", "source", "options", "images", "channels", "class_names", "levels", "labels", "skipped"]
    )
    @pytest.mark.parametrize("value", [None, "absent", -1, {}, [3]])
    def test_with_an_info_that_lacks_something(self, folder, name, value):
        info = json.loads((folder / "info.json").read_text())
        if value == "absent":
            del info[name]
        else:
            info[name] = value
        (folder / "info.json").write_text(json.dumps(info))
        if (name, value) in (("class_names", {}), ("skipped", {})):
            return  # As good as an empty list.
        assert "is damaged (" in refusal(open_prepared, folder)

    def test_of_another_format(self, folder):
        edit_info(folder, format="pggan_jax 99")
        message = refusal(open_prepared, folder)
        assert message == (
            f"{folder / 'info.json'}: has the format 'pggan_jax 99', only 'pggan_jax 1' is read; prepare the images again"
        )

    def test_that_may_not_be_read(self, folder, monkeypatch):
        def refuse(*_args, **_more):
            raise PermissionError(13, "Permission denied", str(folder / "r0008.npy"))

        monkeypatch.setattr(np, "load", refuse)
        assert refusal(open_prepared, folder).startswith(f"{folder / 'r0008.npy'}: cannot be read (Permission denied); ")


class TestPyramid:
    def test_from_a_lower_resolution(self, folder):
        prepared = open_prepared(folder)
        pyramid = prepared.pyramid(8, max_images=5)
        assert list(pyramid.levels) == [8, 4]
        assert (len(pyramid), pyramid.channels, pyramid.class_names) == (5, 3, CLASSES)
        np.testing.assert_array_equal(pyramid.levels[8], prepared.level(8)[:5])
        assert len(prepared.pyramid(16)) == 19

    def test_a_larger_one_is_refused(self, folder):
        message = refusal(open_prepared(folder).pyramid, 32)
        assert message.startswith(f"data.resolution = 32: {folder} was prepared up to 16; set data.resolution=16, or prepare")

    def test_another_base_shape(self, tmp_path):
        prepared = prepare(ArraySource(noise(2, (6, 8))), PreparationSpec(8, base_shape=(3, 4)), folder=tmp_path / "out")
        assert prepared.base_shape == (3, 4)
        assert {size: level.shape[1:3] for size, level in prepared.pyramid(8).levels.items()} == {8: (6, 8), 4: (3, 4)}
        config = DataConfig(f"prepared:{tmp_path / 'out'}", 8)
        assert len(open_loader(replace(config, base_shape="3x4"), seed=0)) == 2
        message = refusal(lambda config: open_loader(config, seed=0), config)
        assert message.startswith(f"data.base_shape = 4x4: prepared:{tmp_path / 'out'} was prepared with --base_shape=3x4")
        assert "set data.base_shape=3x4, or prepare the images again with --base_shape=4x4" in message

    @pytest.mark.parametrize(
        ("count", "expected"),
        [
            (0, ""),
            (1, "left out 1 unusable image: 0 is bad"),
            (3, "left out 3 unusable images: 0 is bad; 1 is bad; 2 is bad"),
            (5, "left out 5 unusable images: 0 is bad; 1 is bad; 2 is bad; and 2 more"),
        ],
    )
    def test_images_left_out_are_reported_in_one_line(self, count, expected):
        skipped = tuple(f"{index} is bad" for index in range(count))
        assert Pyramid({4: noise(1, 4)}, np.zeros(1, np.int32), (), skipped).warning == expected


class TestSource:
    def test_rows_of_the_largest_level(self, folder):
        source = open_source(f"prepared:{folder}")
        assert (len(source), source.channels, source.class_names) == (19, 3, CLASSES)
        good = [index for index in range(20) if index != 3]
        np.testing.assert_array_equal([source.read(row) for row in range(19)], noise(20, 16)[good])
        assert [source.label(row) for row in range(19)] == [index % 2 for index in good]
        assert source.item_name(7) == "row 7"

    def test_pickles_without_its_pixels(self, folder):
        source = PreparedSource(str(folder))
        pickled = pickle.dumps(source)
        assert len(pickled) < 500
        np.testing.assert_array_equal(pickle.loads(pickled).read(5), source.read(5))

    def test_pickles_from_another_place(self, folder, monkeypatch):
        """Workers do not inherit a later change of the working folder."""
        monkeypatch.chdir(folder.parent)
        source = PreparedSource("out")
        pickled = pickle.dumps(source)
        monkeypatch.chdir(folder)
        assert len(pickle.loads(pickled)) == 19
        assert source.name == pickle.loads(pickled).name == "prepared:out"

    def test_fingerprint_is_of_the_bytes(self, folder, tmp_path):
        folder.rename(tmp_path / "moved")
        moved = PreparedSource(str(tmp_path / "moved")).fingerprint()
        source = ArraySource(noise(20, 16), np.arange(20) % 2, CLASSES, bad=frozenset([3]))
        prepare(source, PreparationSpec(16), folder=tmp_path / "same")
        prepare(source, PreparationSpec(16, max_images=18), folder=tmp_path / "fewer")
        assert PreparedSource(str(tmp_path / "same")).fingerprint() == moved
        assert PreparedSource(str(tmp_path / "fewer")).fingerprint() != moved

    def test_prepared_again_at_half_size(self, folder, tmp_path):
        again = prepare(PreparedSource(str(folder)), PreparationSpec(8, resample="box"), folder=tmp_path / "small", workers=1)
        np.testing.assert_array_equal(again.classes(), open_prepared(folder).classes())
        assert again.level(8).shape == (19, 8, 8, 3)
        assert again.damaged_files() == []
