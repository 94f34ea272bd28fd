"""From a configuration to a loader: prepared once, reused from the cache, or a prepared folder."""

import numpy as np
import pytest
from PIL import Image

from pggan_jax.config import DataConfig
from pggan_jax.data import open_loader as loader_module
from pggan_jax.data.open_loader import cache_folder, open_loader
from pggan_jax.data.preparation.prepare import prepare
from pggan_jax.data.preparation.prepared_folder import open_prepared
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.errors import UserError
from tests.helpers.array_source import ArraySource, noise


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/data"


def use(monkeypatch, source):
    monkeypatch.setattr(loader_module, "open_source", lambda *_args, **_more: source)


def refusal(config):
    with pytest.raises(UserError) as caught:
        open_loader(config, seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def config(source="folder:x", resolution=8, **more):
    return DataConfig(source=source, resolution=resolution, **more)


def test_prepared_once_reported_once_and_reused(tmp_path, monkeypatch, cache):
    source = ArraySource(noise(20, 8), np.arange(20) % 2, ("a", "b"), log=tmp_path / "log")
    use(monkeypatch, source)
    reported = []
    first = open_loader(config(labels=True), seed=0, report=reported.append)
    (folder,) = cache.iterdir()
    assert reported == [f"preparing 20 images of array once, 0 MB in {folder}; later runs reuse them"]
    assert source.reads()[0] == list(range(20))
    second = open_loader(config(labels=True), seed=0, report=reported.append)
    assert len(reported) == 1
    assert len(source.reads()[0]) == 20
    assert len(first) == len(second) == 20
    assert (first.label_size, first.channels) == (second.label_size, second.channels) == (2, 3)
    np.testing.assert_array_equal(open_prepared(folder).level(8), source.images)


@pytest.mark.parametrize(
    "change", [{"resolution": 4}, {"channels": 1}, {"crop": "pad"}, {"max_images": 5}, {"shuffle_seed": 1}]
)
def test_other_settings_have_another_place(monkeypatch, cache, change):
    use(monkeypatch, ArraySource(noise(20, 4)))
    open_loader(config(resolution=4), seed=0)
    assert len(list(cache.iterdir())) == 1
    open_loader(config(**{"resolution": 4} | change), seed=0)
    assert len(list(cache.iterdir())) == (1 if change == {"resolution": 4} else 2)


def test_settings_that_do_not_change_the_images_share_it(monkeypatch, cache):
    use(monkeypatch, ArraySource(noise(20, 4), np.zeros(20), ("a",)))
    for more in ({}, {"mirror": True}, {"labels": True}, {"channels": 3}):
        open_loader(config(resolution=4, **more), seed=len(more))
    assert len(list(cache.iterdir())) == 1


def test_changed_files_are_prepared_again(tmp_path, cache):
    for index in range(3):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(noise(1, 8, seed=index)[0]).save(tmp_path / f"images/{index}.png")
    spec = config(f"folder:{tmp_path / 'images'}")
    assert len(open_loader(spec, seed=0)) == 3
    Image.fromarray(noise(1, 9, seed=7)[0]).save(tmp_path / "images/new.png")
    (tmp_path / "images/bad.png").write_text("hello")
    loader = open_loader(spec, seed=0)
    assert len(loader) == 4
    assert "left out 1 unusable image: bad.png is not an image" in loader.warning
    assert len(list(cache.iterdir())) == 2


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache/data"
    monkeypatch.setenv("PGGAN_JAX_CACHE", "~/images")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home/images/data"
    monkeypatch.delenv("PGGAN_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/pggan_jax/data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home/.cache/pggan_jax/data"


def test_digits_need_no_cache(cache):
    loader = open_loader(DataConfig(source="digits", resolution=8, labels=True), seed=0)
    assert (len(loader), loader.label_size, loader.channels) == (1797, 10, 1)
    assert not cache.exists()


def test_labels_wanted_but_absent(monkeypatch, tmp_path):
    source = ArraySource(noise(20, 8), log=tmp_path / "log")
    use(monkeypatch, source)
    assert refusal(config(labels=True)).startswith("data.labels = True: array has no classes; set data.labels=false, or ")
    assert source.reads() == ([], set())


class TestPreparedFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        source = ArraySource(noise(20, 8), np.arange(20) % 2, ("a", "b"))
        prepare(source, PreparationSpec(8), folder=tmp_path / "out")
        return tmp_path / "out"

    def test_is_read_in_place(self, folder, cache):
        reported = []
        loader = open_loader(config(f"prepared:{folder}", labels=True), seed=0, report=reported.append)
        assert (len(loader), loader.label_size) == (20, 2)
        assert len(open_loader(config(f"prepared:{folder}", resolution=4, max_images=7, channels=3), seed=0)) == 7
        assert reported == []
        assert not cache.exists()

    def test_cannot_give_what_it_does_not_hold(self, folder, tmp_path):
        spec = f"prepared:{folder}"
        assert refusal(config(spec, resolution=16)).startswith("data.resolution = 16:")
        assert refusal(config(spec, channels=1)).startswith(
            f"data.channels = 1: {spec} was prepared with 3; set data.channels=0"
        )
        assert refusal(config(spec, shuffle_seed=1, max_images=5)).startswith(
            f"data.shuffle_seed = 1: {spec} has a fixed order"
        )
        assert "holds no info.json" in refusal(config(f"prepared:{tmp_path / 'nowhere'}"))
        prepare(ArraySource(noise(3, 8)), PreparationSpec(8), folder=tmp_path / "plain")
        assert "has no classes" in refusal(config(f"prepared:{tmp_path / 'plain'}", labels=True))
