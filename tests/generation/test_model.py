"""The model that `pg.load` returns."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

import pggan_jax as pg
from pggan_jax.checkpointing.open_model import split_source
from pggan_jax.errors import UserError
from pggan_jax.generation.sampling import latents_for_seeds
from tests.helpers.runs import copy_of

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_importing_the_package_loads_no_jax():
    code = "import sys, pggan_jax; assert 'jax' not in sys.modules and 'numpy' not in sys.modules; print(dir(pggan_jax))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'load'" in printed


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="'lod'"):
        pg.lod  # noqa: B018


class TestImages:
    def test_an_image_depends_on_its_seed_alone(self, finished):
        model = pg.load(finished)
        many = model.sample(range(20))
        assert many.shape == (20, 8, 8, 1)
        assert many.dtype == np.uint8
        assert np.array_equal(model.sample([17]), many[17:18])
        assert np.array_equal(model.synthesize(model.latents([17, 3])), many[[17, 3]])
        assert model.shape == (8, 8, 1)
        assert model.resolution == 8
        assert model.kimg == 1.92
        assert model.label_size == 0

    def test_float_images_are_those_of_the_sampler(self, finished):
        model = pg.load(finished)
        floats = np.asarray(model.apply_generator(model.latents([5]), np.zeros((1, 0), np.float32)))
        assert np.abs(np.clip(floats * 127.5 + 127.5, 0, 255) - model.sample([5])).max() <= 1

    def test_classes_by_number_name_and_row(self, labelled):
        model = pg.load(labelled)
        assert model.label_size == 10
        assert len(model.class_names) == 10
        wanted = model.sample(range(4), labels=[3, 1, 4, 1])
        assert np.array_equal(model.sample(range(4), labels=["3", "1", "4", "1"]), wanted)
        assert np.array_equal(model.sample(range(4), labels=np.eye(10)[[3, 1, 4, 1]]), wanted)
        assert np.array_equal(model.sample(range(13))[12:], model.sample([12], labels=2))
        assert not np.array_equal(model.sample([0], labels=1), model.sample([0], labels=2))

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (10, "label 10: must be from 0 to 9"),
            ("nine", "label nine: no class has this name"),
            ([1, 2], "2 labels for 3 images"),
            (np.eye(4), r"labels of shape \(4, 4\) do not fit"),
            (np.full((3, 10), np.nan), "give finite numbers"),
            (2.7, "label 2.7: must be a whole number from 0 to 9, or a name"),
            ([1, 2, 2.0], "label 2.0: must be a whole number"),
            (np.eye(10)[3], "10 labels for 3 images; give one class, one per image, or one-hot rows"),
        ],
    )
    def test_impossible_labels(self, labelled, labels, message):
        with pytest.raises(UserError, match=message):
            pg.load(labelled).sample(range(3), labels=labels)

    def test_labels_of_a_model_without_labels(self, finished):
        with pytest.raises(UserError, match="trained without labels"):
            pg.load(finished).sample([0], labels=3)

    @pytest.mark.parametrize(("latents", "message"), [(np.zeros((2, 3)), "of shape"), (np.full((1, 8), np.nan), "NaN")])
    def test_impossible_latents(self, finished, latents, message):
        with pytest.raises(UserError, match=message):
            pg.load(finished).synthesize(latents)

    @pytest.mark.parametrize("seeds", [[-1], [2**32], [2**70], [0.5], [1.0], 3, [[1, 2]], ["a"], [True]])
    def test_impossible_seeds(self, finished, seeds):
        with pytest.raises(UserError, match="must be integers from 0 to 2"):
            pg.load(finished).sample(seeds)

    @pytest.mark.parametrize("seeds", [[2**32 - 1, 0], np.array([2**32 - 1, 0], np.uint64), range(2**32 - 1, -1, 1 - 2**32)])
    def test_the_largest_seed(self, finished, seeds):
        expected = np.random.RandomState(2**32 - 1).randn(8).astype(np.float32)
        assert np.array_equal(pg.load(finished).latents(seeds)[0], expected)

    def test_no_images(self, labelled):
        model = pg.load(labelled)
        for images in (model.sample([]), model.sample(range(0), labels=3), model.synthesize(np.zeros((0, 8)))):
            assert (images.shape, images.dtype) == ((0, 4, 4, 1), np.uint8)
        assert model.latents([]).shape == (0, 8)

    def test_settings_of_jax_change_nothing(self, finished):
        model = pg.load(finished)
        before = model.sample(range(3))
        with jax.enable_x64(True):
            assert np.array_equal(pg.load(finished).sample(range(3)), before)


class TestIdentity:
    def test_models_are_keys(self, finished):
        first, second = pg.load(finished), pg.load(finished)
        assert len({first, first, second}) == 2

    def test_the_digest_is_that_of_what_determines_images(self, finished, labelled):
        model = pg.load(finished)
        assert model.digest == pg.load(f"{finished}@latest").digest
        module = model.networks.generator
        others = [pg.load(labelled), pg.load(finished, network="raw"), replace(model, alpha=model.alpha / 2 - 1)]
        for change in ({"normalize_latents": False}, {"use_leakyrelu": False}, {"dtype": "bfloat16"}):
            other = module.clone(config=replace(module.config, **change))
            others.append(replace(model, networks=replace(model.networks, generator=other)))
        assert len({model.digest, *(other.digest for other in others)}) == len(others) + 1


class TestScores:
    def test_any_number_of_images(self, finished):
        model = pg.load(finished)
        images = model.sample(range(70))
        scores = model.discriminate(images)
        assert scores.shape == (70,)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        as_float = model.discriminate(images.astype(np.float32) / 127.5 - 1)
        assert np.allclose(as_float, scores, atol=1e-4)
        assert model.discriminate(images[:1]).shape == (1,)
        assert model.discriminate(images[:0]).shape == (0,)

    @pytest.mark.parametrize("values", [np.int64(200), np.float32(200), np.float32("nan")])
    def test_another_range_is_refused(self, finished, values):
        with pytest.raises(UserError, match=r"give uint8, or finite floats in \[-1, 1\]"):
            pg.load(finished).discriminate(np.full((1, 8, 8, 1), values))

    def test_another_shape_is_refused(self, finished):
        with pytest.raises(UserError, match="do not fit"):
            pg.load(finished).discriminate(np.zeros((1, 4, 4, 1), np.uint8))


class TestSource:
    def test_one_checkpoint(self, finished):
        assert pg.load(f"{finished}@1.008").kimg == 1.008
        assert pg.load(finished, checkpoint="1.008").kimg == 1.008
        assert pg.load(f"{finished}@latest").kimg == 1.92

    def test_a_folder_with_an_at_sign(self, finished, tmp_path):
        workdir = copy_of(finished, tmp_path, "a@b")
        assert split_source(str(workdir)) == (workdir, "")
        assert split_source(f"{workdir}@1.008") == (workdir, "1.008")

    def test_the_raw_network(self, finished):
        assert not np.array_equal(pg.load(finished, network="raw").sample([1]), pg.load(finished).sample([1]))
        with pytest.raises(UserError, match="must be one of ema, raw"):
            pg.load(finished, network="average")

    @pytest.mark.parametrize(
        ("source", "message"),
        [("nowhere", "no such folder"), ("{run}@3", "there is none at that kimg"), ("{run}/config.json", "is a file")],
    )
    def test_what_cannot_be_opened(self, finished, source, message):
        with pytest.raises(UserError, match=message):
            pg.load(source.format(run=finished))

    def test_two_different_checkpoints(self, finished):
        with pytest.raises(UserError, match="give one of the two"):
            pg.load(f"{finished}@1.008", checkpoint="1.92")


def test_latents_are_those_of_the_command(finished):
    assert np.array_equal(pg.load(finished).latents([3]), latents_for_seeds([3], 8))


def test_every_public_name_exists():
    assert sorted(pg.__all__) == sorted(pg._PLACES)
    for name in pg.__all__:
        assert getattr(pg, name).__doc__, f"pg.{name} needs a docstring"


def test_loading_prints_nothing(finished):
    """In a new process, where absl logs to stderr."""
    code = f"import pggan_jax as pg; pg.load({str(finished)!r})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout + ended.stderr == ""
