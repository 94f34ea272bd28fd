"""The points that the page of `explore` draws."""

from __future__ import annotations

import json

import numpy as np
import pytest

import pggan_jax as pg
from pggan_jax.checkpointing.open_model import lower_levels
from pggan_jax.generation.editing.directions import moved
from pggan_jax.generation.explorer import Explorer, Point
from pggan_jax.generation.walks import slerp
from tests.helpers.array_source import refusal
from tests.helpers.runs import finished_labelled_run, run_small, small_config

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    """A run that keeps checkpoints of two resolutions."""
    workdir = tmp_path_factory.mktemp("growing") / "run"
    run_small(workdir, small_config(schedule__stable_kimg=1.2, run__keep_levels=True, run__keep_last=1))
    return workdir


def explorer_of(source, **options):
    model = pg.load(source)
    lower = lower_levels(str(source), model, network="ema", on_skip=lambda *_: pytest.fail("left out"))
    return Explorer(model, [*lower, model], options.get("directions", {}))


class TestLatents:
    @pytest.fixture
    def explorer(self, finished):
        return explorer_of(finished, directions={"a": np.eye(8, dtype=np.float32)[0], "b": np.eye(8, dtype=np.float32)[5]})

    def test_of_a_seed(self, explorer):
        assert np.array_equal(explorer.latent(Point(5)), explorer.model.latents([5])[0])

    def test_of_the_ends_and_the_middle_of_a_walk(self, explorer):
        first, last = explorer.model.latents([5, 9])
        assert np.array_equal(explorer.latent(Point(5, other=9, share=0)), first)
        np.testing.assert_allclose(explorer.latent(Point(5, other=9, share=1)), last, atol=1e-6)
        middle = explorer.latent(Point(5, other=9, share=0.5))
        assert np.array_equal(middle, slerp(first, last, 0.5))
        assert not np.allclose(middle, (first + last) / 2, atol=0.1)

    def test_along_a_direction(self, explorer):
        latents = explorer.model.latents([5])
        wanted = moved(latents, explorer.directions["b"], [2.5])[0, 0]
        assert np.array_equal(explorer.latent(Point(5, strengths=(0.0, 2.5))), wanted)
        assert not np.array_equal(wanted, latents[0])


class TestImages:
    def test_by_all_levels(self, growing):
        explorer = explorer_of(growing)
        assert [level.resolution for level in explorer.levels] == [4, 8]
        assert [level.kimg for level in explorer.levels] == [1.008, explorer.model.kimg]
        images = explorer.images(Point(7))
        assert [image.shape for image in images] == [(4, 4, 1), (8, 8, 1)]
        for image, level in zip(images, explorer.levels, strict=True):
            assert np.array_equal(image, level.sample([7])[0])

    def test_of_a_class(self, tmp_path_factory):
        explorer = explorer_of(finished_labelled_run(tmp_path_factory.getbasetemp()))
        assert np.array_equal(explorer.images(Point(7, 3))[0], explorer.model.sample([7], 3)[0])
        for number in (10, -1, 2.5, None, "3"):
            assert "must be a number from 0 to 9" in refusal(explorer.images, Point(7, number))

    def test_what_is_stored_gives_the_image_again(self, finished):
        explorer = explorer_of(finished)
        arrays = explorer.arrays(Point(7, other=2, share=0.25))
        again = explorer.model.synthesize(arrays["latent"][None])[0]
        assert np.array_equal(arrays["image"], again)
        controls = json.loads(str(arrays["controls"]))
        assert (controls["seed"], controls["other"], controls["share"]) == (7, 2, 0.25)


def test_a_model_file_has_one_level(golden_model):
    assert lower_levels(str(golden_model), pg.load(golden_model), network="ema", on_skip=lambda *_: None) == []


@pytest.fixture
def golden_model():
    from tests.conftest import GOLDEN

    return GOLDEN / "model.safetensors"


@pytest.mark.parametrize("seed", [-1, 2**32, 10**400, 1.5, None, float("nan"), True, "7"])
def test_impossible_seeds(seed):
    assert "must be a whole number from 0 to 4294967295" in refusal(Point, seed)
    assert refusal(Point, 1, 0, seed).startswith("walk to seed")


@pytest.mark.parametrize("share", [-0.01, 1.01, None, float("inf"), "0.5"])
def test_impossible_shares(share):
    assert "must be a number from 0 to 1" in refusal(Point, 1, 0, 2, share)


@pytest.mark.parametrize("strength", [6.01, -7, None, float("nan"), "1"])
def test_impossible_strengths(strength):
    assert "must be a number from -6 to 6" in refusal(Point, 1, strengths=(0.0, strength))
