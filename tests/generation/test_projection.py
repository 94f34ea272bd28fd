"""Projection of images: its loss, its schedules, and that own samples are found again."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import pggan_jax as pg
from pggan_jax.errors import UserError
from pggan_jax.generation.model import Model
from pggan_jax.generation.projection import Projection, _Projector, project
from pggan_jax.generation.projection_loss import (
    LossInputs,
    ProjectionSettings,
    channel_scales,
    features_of,
    learning_rate,
    losses_of,
    noise_strength,
    normalized,
    pyramid_rows,
)
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import build_networks, initialize
from pggan_jax.networks.discriminator import DiscriminatorBlock
from tests.helpers.runs import small_config

pytestmark = pytest.mark.usefixtures("quick_compilation")

FEW = ProjectionSettings(candidates=60, starts=2, steps=60)
_FILTER = np.array([1, 4, 6, 4, 1]) / 16


def filtered(image: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        image = ndimage.correlate1d(image, _FILTER, axis=axis, mode="mirror")
    return image


def slow_distance(first: np.ndarray, second: np.ndarray, levels: int) -> float:
    """Mean over the levels of the mean absolute difference; each pyramid by itself, with zeros between pixels."""

    def pyramid(image: np.ndarray) -> list[np.ndarray]:
        found = []
        for _ in range(levels - 1):
            small = filtered(image)[::2, ::2]
            large = np.zeros_like(image)
            large[::2, ::2] = small
            found.append(image - 4 * filtered(large))
            image = small
        return [*found, image]

    pairs = zip(pyramid(first), pyramid(second), strict=True)
    return float(np.mean([np.abs(one - other).mean() for one, other in pairs]))


@pytest.mark.parametrize(
    ("shape", "levels"), [((4, 4, 1), 1), ((3, 4, 1), 1), ((8, 8, 3), 2), ((12, 16, 1), 2), ((32, 16, 3), 3), ((32, 32, 1), 4)]
)
def test_the_pyramid_distance(shape, levels):
    first, second = np.random.RandomState(0).uniform(-1, 1, (2, 1, *shape)).astype(np.float32)
    rows = np.asarray(pyramid_rows(jnp.asarray(first))), np.asarray(pyramid_rows(jnp.asarray(second)))
    wanted = slow_distance(first[0].astype(np.float64), second[0].astype(np.float64), levels)
    assert np.abs(rows[0] - rows[1]).sum() == pytest.approx(wanted, rel=1e-4)
    assert np.abs(np.asarray(pyramid_rows(jnp.asarray(first - second)))).sum() == pytest.approx(wanted, rel=1e-4)


def test_the_schedules():
    settings = ProjectionSettings(steps=1000)
    rates = {0: 0, 25: 0.05, 50: 0.1, 400: 0.1, 750: 0.1, 875: 0.05, 1000: 0}
    for step, rate in rates.items():
        assert float(learning_rate(step, settings)) == pytest.approx(rate, abs=1e-7)
    noises = {0: 0.05, 375: 0.05 / 4, 750: 0, 900: 0}
    for step, noise in noises.items():
        assert float(noise_strength(step, settings)) == pytest.approx(noise, abs=1e-7)


def test_latents_get_unit_mean_square():
    latents = np.asarray(normalized(jnp.asarray(np.random.RandomState(0).randn(3, 8).astype(np.float32) * 7)))
    assert np.allclose(np.square(latents).mean(axis=1), 1, atol=1e-5)


class TestFeatures:
    def test_are_the_outputs_of_the_blocks(self, finished):
        model = pg.load(finished)
        images = jnp.asarray(np.random.RandomState(0).uniform(-1, 1, (4, 8, 8, 1)).astype(np.float32))
        _, kept = model.networks.discriminator.apply(
            {"params": model.discriminator},
            images,
            np.float32(model.alpha),
            capture_intermediates=lambda module, _: isinstance(module, DiscriminatorBlock),
            mutable=["intermediates"],
        )
        (wanted,) = jax.tree.leaves(kept)
        (found,) = features_of(model, model.discriminator, images)
        assert np.array_equal(found, wanted)

    @pytest.mark.parametrize("count", [1, 3, 5])
    def test_do_not_depend_on_other_images(self, finished, labelled, count):
        for workdir in (finished, labelled):
            model = pg.load(workdir)
            images = np.random.RandomState(0).uniform(-1, 1, (8, *model.shape)).astype(np.float32)
            many, few = (features_of(model, model.discriminator, jnp.asarray(part)) for part in (images, images[:count]))
            assert len(many) == 1
            assert np.allclose(many[0][:count], few[0], atol=1e-5)

    def test_a_channel_that_never_varies_does_not_dominate(self):
        features = np.random.RandomState(0).randn(9, 4, 4, 3).astype(np.float32) * [1, 10, 0]
        (scales,) = channel_scales([jnp.asarray(features)])
        assert np.allclose(scales[:2], features.std(axis=(0, 1, 2))[:2], rtol=0.3)
        assert scales[2] > 0.1


class TestProject:
    def test_own_samples_are_found(self, finished):
        """Of seeds that are not among the candidates."""
        model = pg.load(finished)
        images = model.sample(range(1000, 1006))
        found = list(project(model, images, ProjectionSettings(candidates=300, starts=4, steps=200)))
        assert len(found) == 6
        improved = [one.rmse < 0.5 * one.nearest_rmse for one in found]
        assert sum(improved) >= 5, [(one.rmse, one.nearest_rmse) for one in found]
        for index, one in enumerate(found):
            assert nearest_of(images, one.image) == index
            assert one.nearest_rmse == pytest.approx(rmse(model.sample([one.nearest.seed])[0], images[index]))
            assert one.rmse == pytest.approx(rmse(model.synthesize(one.latent[None])[0], images[index]))
            assert one.psnr == pytest.approx(20 * np.log10(255 / one.rmse))
            assert np.square(one.latent).mean() == pytest.approx(1, abs=1e-4)

    @pytest.mark.slow
    def test_own_samples_are_found_among_many(self, learned):
        """The projection of a sample is nearer to it than to 19 other targets and all 500 candidates."""
        model, settings = pg.load(learned), ProjectionSettings(candidates=500, starts=4, steps=200)
        images = model.sample(range(1000, 1020))
        everything = np.concatenate([images, model.sample(range(settings.candidates))])
        found = list(project(model, images, settings))
        nearest = [nearest_of(everything, one.image) for one in found]
        assert sum(one == index for index, one in enumerate(nearest)) >= 19, nearest

    def test_an_image_does_not_depend_on_the_others(self, finished):
        """Up to rounding, which the steps enlarge."""
        model, settings = pg.load(finished), replace(FEW, steps=20)
        images = model.sample(range(1000, 1006))
        together = list(project(model, images, settings))
        for index in (0, 5):
            (alone,) = project(model, images[index : index + 1], settings)
            assert alone.nearest[:2] == together[index].nearest[:2]
            assert np.allclose(alone.latent, together[index].latent, atol=0.02)
            assert alone.loss == pytest.approx(together[index].loss, rel=0.02, abs=1e-3)

    def test_a_candidate_is_found_exactly(self, finished):
        model = pg.load(finished)
        (found,) = project(model, model.sample([7]), replace(FEW, steps=0))
        assert found.nearest.seed == 7
        assert found.nearest.distance == 0
        assert found.rmse <= 0.5
        assert (found.nearest_rmse, found.number) == (0, 0)

    def test_no_step_makes_it_worse(self, finished):
        model = pg.load(finished)
        images = np.random.RandomState(0).randint(0, 256, (2, 8, 8, 1), np.uint8)
        start, wild = (list(project(model, images, replace(FEW, **more))) for more in ({"steps": 0}, {"learning_rate": 50.0}))
        for one, other in zip(start, wild, strict=True):
            assert other.loss <= one.loss + 1e-5

    def test_the_class_is_found_or_given(self, labelled):
        model, settings = pg.load(labelled), replace(FEW, steps=0)
        images = model.sample([3, 14])
        assert [one.number for one in project(model, images, settings)] == [3, 4]
        given = list(project(model, images, settings, number=7))
        assert [one.number for one in given] == [7, 7]
        assert all(one.nearest.number == 7 for one in given)

    @pytest.mark.parametrize(
        "images", [np.zeros((1, 4, 4, 1), np.uint8), np.zeros((1, 8, 8, 1)), np.zeros((8, 8, 1), np.uint8)]
    )
    def test_images_that_do_not_fit(self, finished, images):
        with pytest.raises(UserError, match="do not fit"):
            project(pg.load(finished), images)

    def test_needs_a_discriminator(self, finished):
        with pytest.raises(UserError, match="has no discriminator"):
            project(replace(pg.load(finished), discriminator=None), np.zeros((1, 8, 8, 1), np.uint8))

    def test_impossible_numbers_of_starts(self):
        for starts in (0, 11):
            with pytest.raises(UserError, match="of 10 candidates"):
                ProjectionSettings(candidates=10, starts=starts)

    def test_images_that_are_not_square(self):
        config = small_config(data__base_shape="3x4")
        networks = build_networks(config, 8, image_spec=ImageSpec(6, 8, 1))
        generator, discriminator = initialize(networks, 0)
        model = Model("wide", config, networks, generator, discriminator, alpha=1.0, kimg=0.0)
        assert model.shape == (6, 8, 1)
        (found,) = project(model, model.sample([1000]), replace(FEW, steps=20))
        assert found.image.shape == (6, 8, 1)
        assert found.rmse < found.nearest_rmse

    def test_several_steps_in_one_program(self, finished):
        """What an accelerator runs equals the steps one by one."""
        model = pg.load(finished)
        projector = _Projector(model, replace(FEW, steps=3))
        latents = normalized(jnp.asarray(model.latents([1, 2])))
        images = jnp.asarray(model.sample([8, 9]), jnp.float32) / 127.5 - 1
        features = features_of(model, model.discriminator, images)
        inputs = LossInputs(model.generator, model.discriminator, jnp.zeros((2, 0)), images, features, channel_scales(features))
        one_by_one = latents, projector._adam.init(latents)
        for step in range(3):
            one_by_one = projector._step(one_by_one, step, inputs)
        at_once = jax.jit(projector._several_steps)((latents, projector._adam.init(latents)), 0, inputs)
        assert np.allclose(at_once[0], one_by_one[0], atol=1e-3)
        assert not np.allclose(at_once[0], latents, atol=1e-2)
        assert losses_of(model, at_once[0], inputs).shape == (2,)


def nearest_of(images: np.ndarray, image: np.ndarray) -> int:
    """Which of the images has the smallest mean absolute difference."""
    return int(np.abs(images.astype(float) - image).mean(axis=(1, 2, 3)).argmin())


def rmse(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.square(image.astype(float) - other).mean()))


def test_equal_images_have_infinite_psnr():
    assert Projection(np.zeros(1), 0, np.zeros(1), 0.0, 0.0, None, 0.0).psnr == np.inf
