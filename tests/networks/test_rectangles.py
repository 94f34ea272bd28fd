"""Networks of images that are not square: shapes, names of parameters, growing, gains, cost."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, LossConfig
from pggan_jax.images import ImageSpec, image_shape
from pggan_jax.networks.build import Networks, build_networks, initialize, parameter_shapes
from pggan_jax.networks.cost import FIXED_COST, least_step_flops, relative_cost
from pggan_jax.networks.growth import transfer
from pggan_jax.networks.resample import downscale, upscale
from tests.helpers.compiling import quick_jit

BASE_SHAPES = ["3x4", "2x16", "5x2", "1x8"]


def config_of(base_shape: str, **options: Any) -> Config:
    features = {"fmap_base": 64, "fmap_max": 8} | options
    return Config(
        data=DataConfig(base_shape=base_shape),
        generator=GeneratorConfig(**features),
        discriminator=DiscriminatorConfig(**features),
    )


def make_networks(base_shape: str, resolution: int, **options: Any) -> Networks:
    return build_networks(config_of(base_shape, **options), resolution, image_spec=ImageSpec(0, 0, 3, 2))


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def random_params(networks: Networks, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), parameter_shapes(networks))


def images_of(networks: Networks, count: int = 4) -> np.ndarray:
    return normal(1, count, networks.shape.height, networks.shape.width, 3)


def fakes_of(networks, params, alpha=1.0):
    labels = np.eye(4, 2, dtype=np.float32)
    return quick_jit(networks.generator.apply)({"params": params}, normal(0, 4, networks.latent_size), labels, alpha)


def scores_of(networks, params, images, alpha=1.0):
    return quick_jit(networks.discriminator.apply)({"params": params}, images, alpha)


@pytest.mark.parametrize(
    ("base_shape", "names"), [("3x4", "3x4 6x8 12x16"), ("2x16", "2x16 4x32 8x64"), ("4x4", "4x4 8x8 16x16")]
)
def test_parameters_carry_height_and_width(base_shape, names):
    generator, discriminator = (set(tree) for tree in parameter_shapes(make_networks(base_shape, 16)))
    blocks = {f"block_{name}" for name in names.split()}
    newest, old = names.split()[-1], names.split()[-2]
    assert generator == blocks | {f"to_rgb_{newest}", f"to_rgb_{old}"}
    assert discriminator == blocks | {f"from_rgb_{newest}", f"from_rgb_{old}"}


@pytest.mark.parametrize(("base_shape", "fused_scale"), [("3x4", True), ("3x4", False), ("2x16", True), ("1x8", True)])
def test_shapes_of_images_scores_and_gradients(base_shape, fused_scale):
    networks = make_networks(base_shape, 16, fused_scale=fused_scale)
    height, width = (4 * int(side) for side in base_shape.split("x"))
    assert str(networks.shape) == f"{height}x{width}"
    generator, discriminator = random_params(networks)
    assert fakes_of(networks, generator).shape == (4, height, width, 3)
    images = images_of(networks)
    scores, logits = scores_of(networks, discriminator, images)
    assert (scores.shape, logits.shape) == ((4,), (4, 2))
    score = lambda images: networks.discriminator.apply({"params": discriminator}, images)[0].sum()  # noqa: E731
    gradients = quick_jit(jax.grad(score))(images)
    assert gradients.shape == images.shape
    # Every pixel moves the score: nothing is cut off.
    assert np.all(np.abs(gradients).max(axis=(0, 3)) > 0)
    # And the derivative of the penalty exists, for each parameter.
    params = dict(discriminator)
    penalty = lambda params: jnp.square(  # noqa: E731
        jax.grad(lambda x: networks.discriminator.apply({"params": params}, x)[0].sum())(images)
    ).sum()
    for path, leaf in flatten_dict(quick_jit(jax.grad(penalty))(params), sep="/").items():
        assert np.all(np.isfinite(leaf)), path


@pytest.mark.parametrize("base_shape", ["3x4", "2x16", "2x8", "2x4", "1x8"])
def test_alpha_0_is_the_previous_network(base_shape):
    small, grown = make_networks(base_shape, 8), make_networks(base_shape, 16)
    (old_g, old_d), (new_g, new_d) = random_params(small), random_params(grown, 1)
    new_g, new_d = transfer(old_g, new_g)[0], transfer(old_d, new_d)[0]
    np.testing.assert_array_equal(fakes_of(grown, new_g, 0.0), upscale(fakes_of(small, old_g)))
    images = images_of(grown)
    for one, other in zip(scores_of(grown, new_d, images, 0.0), scores_of(small, old_d, downscale(images)), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("base_shape", ["4x4", *BASE_SHAPES])
def test_gains(base_shape):
    """The first dense layer has gain sqrt(2 / positions): the sum of squares over all positions is 2 per channel."""
    networks = make_networks(base_shape, 4, fmap_base=256, fmap_max=64)
    positions = math.prod(map(int, base_shape.split("x")))
    generator, discriminator = initialize(networks, 0)
    assert generator[f"block_{base_shape}"]["dense"]["kernel"].shape == (64 + 2, positions * 64)
    assert discriminator[f"block_{base_shape}"]["dense0"]["kernel"].shape == (positions * 64, 64)
    latents = normal(0, 64, 64)
    _, seen = networks.generator.apply({"params": generator}, latents, np.zeros((64, 2)), capture_intermediates=True)
    (dense,) = seen["intermediates"][f"block_{base_shape}"]["dense"]["__call__"]
    assert positions * np.square(dense).mean() == pytest.approx(2.0, rel=0.1)
    images = normal(1, 64, networks.shape.height, networks.shape.width, 3)
    _, seen = networks.discriminator.apply({"params": discriminator}, images, capture_intermediates=True)
    (inputs,) = seen["intermediates"][f"block_{base_shape}"]["conv"]["__call__"]
    (outputs,) = seen["intermediates"][f"block_{base_shape}"]["dense0"]["__call__"]
    # He's constant keeps the mean square of what leaky ReLU lets through: (1 + 0.2^2) / 2 of the input's, times 2.
    activated = np.where(inputs > 0, inputs, 0.2 * inputs)
    assert np.square(outputs).mean() / np.square(activated).mean() == pytest.approx(2.0, rel=0.25)


def test_other_base_shapes_start_from_other_weights_of_the_same_distribution():
    leaves = flatten_dict(initialize(make_networks("3x4", 8), 3)[0], sep="/")
    for path, leaf in leaves.items():
        expected = 0.0 if path.endswith("bias") else 1.0
        assert np.std(leaf) == pytest.approx(expected, abs=0.35), path


def test_cost_follows_the_area():
    square, wide = config_of("4x4"), config_of("3x4")
    for resolution in (4, 16, 64):
        share = (relative_cost(wide, resolution) - FIXED_COST) / (relative_cost(square, resolution) - FIXED_COST)
        assert share == pytest.approx(3 / 4)
    flops = {}
    for base_shape in ("4x4", "3x4"):
        trees = parameter_shapes(make_networks(base_shape, 32))
        shapes = ({path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()} for tree in trees)
        flops[base_shape] = least_step_flops(dict(zip(("generator", "discriminator"), shapes, strict=True)), LossConfig())
    assert flops["3x4"] / flops["4x4"] == pytest.approx(3 / 4, rel=0.01)


def test_levels_double_the_base_shape():
    assert [str(image_shape(resolution, (2, 8))) for resolution in (4, 8, 64)] == ["2x8", "4x16", "32x128"]
    assert [image_shape(16).label, image_shape(16, (3, 4)).label, image_shape(16, (6, 6)).label] == ["16", "12x16", "24x24"]
    assert dataclasses.astuple(DataConfig(base_shape="3x4").shape_at(64)) == (64, 48, 64)
