"""DCGAN: published sizes, the literal layers, initial values, what sees what, and that it trains."""

from __future__ import annotations

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax import lax

from pggan_jax.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    NetworksConfig,
    ScheduleConfig,
)
from pggan_jax.generation.sampling import Sampler
from pggan_jax.images import ImageSpec
from pggan_jax.networks.block_features import block_features
from pggan_jax.networks.build import Networks, build_networks, initialize, parameter_shapes
from pggan_jax.networks.cost import least_step_flops
from pggan_jax.networks.normalization import measure_statistics, with_statistics
from pggan_jax.networks.resample import strided_convolve, strided_convolve_transposed
from tests.helpers.compiling import quick_jit


def make_networks(
    resolution: int,
    fmap_base: int,
    fmap_max: int = 1024,
    *,
    channels: int = 3,
    label_size: int = 0,
    base: str = "4x4",
    **options,
) -> Networks:
    """DCGAN of one size; `options` are those of `NetworksConfig`."""
    config = Config(
        data=DataConfig(resolution=resolution, base_shape=base),
        networks=NetworksConfig(**{"name": "dcgan"} | options),
        generator=GeneratorConfig(fmap_base=fmap_base, fmap_max=fmap_max, latent_size=100, normalize_latents=False),
        discriminator=DiscriminatorConfig(fmap_base=fmap_base, fmap_max=fmap_max),
        schedule=ScheduleConfig(start_resolution=resolution),
    )
    shape = config.data.shape_at(resolution)
    return build_networks(config, resolution, image_spec=ImageSpec(shape.height, shape.width, channels, label_size))


def faces() -> Networks:
    return make_networks(64, 2048)


def mnist() -> Networks:
    return make_networks(16, 256, channels=1, label_size=10, base="7x7", name="dcgan_mnist")


def tiny(**options) -> Networks:
    return make_networks(16, 32, **options)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


PUBLISHED = [
    ("faces", faces, 18_885_760, 17_232_768, 34_560, 3_584),
    ("svhn", lambda: make_networks(32, 512), 1_446_976, 1_033_664, 8_576, 768),
    ("mnist", mnist, 6_820_538, 6_688_202, 0, 0),
    ("torch", lambda: make_networks(64, 1024, kernel_size=4), 3_576_704, 2_765_568, 1_920, 1_792),
]


@pytest.mark.parametrize(("name", "make", "generator", "discriminator", "g_norm", "d_norm"), PUBLISHED)
def test_published_parameter_counts(name, make, generator, discriminator, g_norm, d_norm):
    trees = [flatten_dict(tree, sep="/") for tree in parameter_shapes(make())]
    assert [sum(math.prod(leaf.shape) for leaf in tree.values()) for tree in trees] == [generator, discriminator]
    of_norm = [sum(math.prod(leaf.shape) for path, leaf in tree.items() if "norm" in path) for tree in trees]
    assert of_norm == [g_norm, d_norm]


def test_first_batch_norm_is_per_unit_and_the_outer_layers_have_none():
    generator, discriminator = (flatten_dict(tree, sep="/") for tree in parameter_shapes(faces()))
    assert generator["block_4x4/norm/gain"].shape == (16384,)
    assert generator["block_8x8/norm/gain"].shape == (512,)
    assert [path for path in generator if path.startswith("block_64x64")] == ["block_64x64/up/kernel"]
    assert [path for path in discriminator if path.startswith("block_64x64")] == ["block_64x64/down/kernel"]
    assert discriminator["block_64x64/down/kernel"].shape == (5, 5, 3, 128)
    assert discriminator["block_8x8/norm/gain"].shape == (1024,)
    assert not [path for path in generator | discriminator if "bias" in path]


def test_labels_stand_before_every_layer_of_the_conditional_network():
    generator, discriminator = (flatten_dict(tree, sep="/") for tree in parameter_shapes(mnist()))
    assert {path: leaf.shape for path, leaf in generator.items()} == {
        "hidden/kernel": (110, 1024),
        "block_7x7/dense/kernel": (1034, 6272),
        "block_14x14/up/kernel": (5, 5, 138, 64),
        "block_28x28/up/kernel": (5, 5, 74, 1),
    }
    assert {path: leaf.shape for path, leaf in discriminator.items()} == {
        "block_28x28/down/kernel": (5, 5, 11, 64),
        "block_14x14/down/kernel": (5, 5, 74, 128),
        "block_7x7/hidden/kernel": (6282, 1024),
        "block_7x7/dense/kernel": (1034, 1),
    }


def test_initial_values():
    for tree in initialize(make_networks(32, 512), seed=3):
        for path, leaf in flatten_dict(tree, sep="/").items():
            mean = 1.0 if path.endswith("gain") else 0.0
            if path.endswith("shift"):
                assert not leaf.any()
            else:
                assert abs(leaf.mean() - mean) < 5 * 0.02 / math.sqrt(leaf.size), path
                assert abs(leaf.std() / 0.02 - 1) < 5 / math.sqrt(2 * leaf.size), path


# The convolutions


def literal(high: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(high, kernel, (2, 2), ((2, 2), (2, 2)), dimension_numbers=("NHWC", "HWIO", "NHWC"))


def test_strided_convolution_has_padding_two():
    high, kernel = normal(0, 2, 8, 6, 3), normal(1, 5, 5, 3, 4)
    np.testing.assert_allclose(strided_convolve(high, kernel), literal(high, kernel), rtol=1e-4, atol=1e-4)


def test_transposed_convolution_is_its_exact_adjoint():
    low, kernel = normal(0, 2, 4, 3, 4), normal(1, 5, 5, 3, 4)
    (expected,) = jax.linear_transpose(lambda high: literal(high, kernel), jnp.zeros((2, 8, 6, 3)))(low)
    np.testing.assert_allclose(strided_convolve_transposed(low, kernel), expected, rtol=1e-4, atol=1e-4)


def test_arithmetic_is_counted_at_the_side_of_the_strided_convolution():
    counted = least_step_flops({"generator": {"block_8x8/up/kernel": (5, 5, 6, 7)}, "discriminator": {}}, LossConfig())
    assert counted == 2 * 4 * 25 * 6 * 7 * 4 * 4


# The whole networks


@pytest.mark.parametrize("make", [lambda: make_networks(32, 512), mnist])
def test_fresh_images_are_grey_and_scores_are_small(make):
    networks = make()
    params, of_discriminator = initialize(networks, seed=0)
    labels = np.eye(10, dtype=np.float32)[np.arange(32) % 10][:, : networks.generator.label_size]
    images = quick_jit(networks.generator.apply)({"params": params}, normal(0, 32, 100), labels)
    shape = networks.shape
    assert images.shape == (32, shape.height, shape.width, networks.generator.channels)
    assert abs(images.mean()) < 0.1
    assert 0.02 < images.std() < 0.6
    scores, logits = quick_jit(networks.discriminator.apply)({"params": of_discriminator}, images, 1.0, None, labels)
    assert scores.shape == (32,)
    assert logits.shape == (32, 0)
    assert np.abs(scores).max() < 10


def test_the_score_of_an_image_depends_on_its_own_batch_alone():
    """Reals and fakes pass one after the other: no statistics are kept between two passes."""
    networks = tiny()
    params = {"params": initialize(networks, seed=0)[1]}
    score = quick_jit(lambda images: networks.discriminator.apply(params, images)[0])
    reals = normal(0, 4, 16, 16, 3)
    before = score(reals)
    score(3 * normal(1, 4, 16, 16, 3))
    np.testing.assert_array_equal(score(reals), before)
    together = score(np.concatenate([reals, 3 * normal(1, 4, 16, 16, 3)]))[:4]
    assert np.abs(together - before).max() > 1e-3


def test_without_outer_biases_contrast_is_invisible():
    """No layer before the first batch norm has a bias, and leaky ReLU is homogeneous."""
    networks, images = tiny(), 0.5 * normal(0, 8, 16, 16, 3)
    params = initialize(networks, seed=0)[1]
    score = quick_jit(lambda params, images: networks.discriminator.apply({"params": params}, images)[0])
    np.testing.assert_allclose(score(params, 0.3 * images), score(params, images), atol=1e-3)
    assert np.abs(score(params, images + 0.3) - score(params, images)).max() > 1e-2, "brightness is not"


def test_outer_biases_show_contrast():
    networks, images = tiny(outer_biases=True), 0.5 * normal(0, 8, 16, 16, 3)
    of_generator, params = initialize(networks, seed=0)
    leaves = [*flatten_dict(of_generator, sep="/").items(), *flatten_dict(params, sep="/").items()]
    biases = {path: leaf for path, leaf in leaves if path.endswith("bias")}
    assert list(biases) == ["block_16x16/up/bias", "block_16x16/down/bias", "block_4x4/dense/bias"]
    assert not any(leaf.any() for leaf in biases.values())
    params["block_16x16"]["down"]["bias"] += 0.3 * normal(1, 8)
    score = quick_jit(lambda params, images: networks.discriminator.apply({"params": params}, images)[0])
    assert np.abs(score(params, 0.3 * images) - score(params, images)).max() > 1e-2


def test_conditional_network_is_the_published_one_on_data_from_0_to_1():
    """Sigmoid output: G's image in [0, 1] is sigmoid of the last layer; D sees that image."""
    networks = mnist()
    params = initialize(networks, seed=0)[0]
    latents, labels = normal(0, 4, 100), np.eye(10, dtype=np.float32)[:4]
    images, state = networks.generator.apply({"params": params}, latents, labels, capture_intermediates=True)
    last = state["intermediates"]["block_28x28"]["__call__"][0]
    np.testing.assert_allclose((images + 1) / 2, jax.nn.sigmoid(last), rtol=1e-5, atol=1e-6)


def test_the_class_changes_images_and_scores_of_the_conditional_network():
    networks = mnist()
    of_generator, of_discriminator = initialize(networks, seed=0)
    one, other = (np.eye(10, dtype=np.float32)[np.full(6, number)] for number in (3, 4))
    mixed = np.eye(10, dtype=np.float32)[np.arange(6)]
    images = networks.generator.apply({"params": of_generator}, normal(0, 6, 100), mixed)
    scores = [networks.discriminator.apply({"params": of_discriminator}, images, 1.0, None, one)[0] for one in (mixed, other)]
    assert np.abs(scores[0] - scores[1]).max() > 1e-3
    assert np.abs(images - networks.generator.apply({"params": of_generator}, normal(0, 6, 100), mixed[::-1])).max() > 1e-3
    assert one.shape == other.shape


def test_an_auxiliary_classifier_comes_with_labels():
    networks = tiny(label_size=10)
    params = {"params": initialize(networks, seed=0)[1]}
    scores, logits = networks.discriminator.apply(params, normal(0, 4, 16, 16, 3))
    assert (scores.shape, logits.shape) == ((4,), (4, 10))


def test_uniform_latents_are_the_normal_ones_through_the_distribution_function():
    networks = tiny()
    config = replace(networks.generator.config, latents="uniform")
    params, latents = {"params": initialize(networks, seed=0)[0]}, normal(0, 6, 100)
    uniform = networks.generator.clone(config=config).apply(params, latents)
    mapped = np.vectorize(math.erf)(latents / math.sqrt(2)).astype(np.float32)
    np.testing.assert_allclose(uniform, networks.generator.apply(params, mapped), rtol=1e-3, atol=1e-4)


def test_a_sampled_image_does_not_depend_on_the_others():
    networks = tiny(label_size=2)
    sampler, params = Sampler(networks.generator), initialize(networks, seed=0)[0]
    fixed = sampler.with_statistics(params, alpha=1.0)
    latents, labels = normal(0, 6, 100), np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 0, 1]]
    together = sampler.floats(fixed, latents, labels, 1.0)
    np.testing.assert_allclose(together[:1], sampler.floats(fixed, latents[:1], labels[:1], 1.0), rtol=1e-5, atol=1e-6)


def test_features_of_an_image_are_its_own_with_fixed_statistics():
    networks = tiny()
    params, images = initialize(networks, seed=0)[1], normal(0, 6, 16, 16, 3)
    fixed = with_statistics(params, measure_statistics(networks.discriminator, params, images))
    together = block_features(networks.discriminator, fixed, images, alpha=1.0)
    alone = block_features(networks.discriminator, fixed, images[:1], alpha=1.0)
    assert [one.shape[1:] for one in together] == [(8, 8, 8), (4, 4, 16)]
    for many, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(many[:1], one, rtol=1e-4, atol=1e-5)
