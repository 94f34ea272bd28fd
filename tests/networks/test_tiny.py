"""The tiny networks of the test on 1,000 modes: sizes, a plain reference, growing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from scipy.signal import correlate

from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, NetworksConfig, ScheduleConfig
from pggan_jax.generation.sampling import Sampler
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import Networks, build_networks, initialize, parameter_shapes
from pggan_jax.networks.growth import transfer
from tests.helpers.compiling import quick_jit

PLAIN = {"normalization": "batch", "use_wscale": False}
OUR_NORM = {"normalization": "none", "use_wscale": True}


def make_networks(resolution: int = 32, *, start: int = 32, share: int = 2, stddev: str = "none", norm=OUR_NORM) -> Networks:
    """The networks of a run that ends at 32x32; D has 1 / `share` of the feature maps."""
    use_pixelnorm = norm["normalization"] == "none"
    config = Config(
        data=DataConfig(resolution=32),
        networks=NetworksConfig(name="tiny"),
        generator=GeneratorConfig(fmap_base=128, latent_size=64, output_activation="tanh", use_pixelnorm=use_pixelnorm, **norm),
        discriminator=DiscriminatorConfig(fmap_base=128 // share, minibatch_stddev=stddev, **norm),
        schedule=ScheduleConfig(start_resolution=start),
    )
    return build_networks(config, resolution, image_spec=ImageSpec(resolution, resolution, 3, 0))


def shapes(networks: Networks) -> list[dict[str, tuple[int, ...]]]:
    return [{path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()} for tree in parameter_shapes(networks)]


def counts(networks: Networks) -> list[int]:
    return [sum(map(math.prod, tree.values())) for tree in shapes(networks)]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def random_parameters(networks: Networks, seed: int = 0) -> list[dict]:
    """Numbers that depend on the path alone, so that equal paths of two resolutions are equal."""
    trees = []
    for number, tree in enumerate(shapes(networks)):
        leaves = {}
        for path, shape in tree.items():
            stream = np.random.default_rng([seed, number, *path.encode()])
            scale = 1.0 if path.endswith(("gain", "shift", "bias")) else 1 / math.sqrt(math.prod(shape[:-1]))
            leaves[path] = (stream.standard_normal(shape) * scale).astype(np.float32)
        trees.append(unflatten_dict(leaves, sep="/"))
    return trees


@pytest.mark.parametrize(
    ("options", "generator", "discriminator"),
    [
        ({"norm": PLAIN, "share": 2}, 90_187, 1_861),
        ({"norm": PLAIN, "share": 4}, 90_187, 571),
        ({"share": 2}, 90_067, 1_833),
        ({"share": 4}, 90_067, 557),
        ({"share": 2, "stddev": "whole_batch"}, 90_067, 1_849),
        ({"share": 4, "stddev": "whole_batch"}, 90_067, 573),
        ({"share": 2, "stddev": "whole_batch", "start": 4}, 90_502, 1_865),
        ({"share": 4, "stddev": "whole_batch", "start": 4}, 90_502, 581),
    ],
)
def test_parameter_counts(options, generator, discriminator):
    assert counts(make_networks(**options)) == [generator, discriminator]


def test_layers_of_the_published_networks():
    generator, discriminator = shapes(make_networks(start=4, stddev="whole_batch"))
    assert {path: shape for path, shape in generator.items() if "bias" not in path} == {
        "block_4x4/dense/kernel": (64, 1024),
        "block_8x8/conv/kernel": (3, 3, 64, 32),
        "block_16x16/conv/kernel": (3, 3, 32, 16),
        "block_32x32/conv/kernel": (3, 3, 16, 8),
        "to_rgb_32x32/kernel": (3, 3, 8, 3),
        "to_rgb_16x16/kernel": (3, 3, 16, 3),
    }
    assert {path: shape for path, shape in discriminator.items() if "bias" not in path} == {
        "block_32x32/conv/kernel": (3, 3, 3, 4),
        "from_rgb_16x16/kernel": (1, 1, 3, 4),
        "block_16x16/conv/kernel": (3, 3, 4, 8),
        "block_8x8/conv/kernel": (3, 3, 8, 16),
        "block_4x4/dense/kernel": (272, 1),
    }


def test_channels_of_the_convolutions_that_read_small_images():
    for resolution, channels in ((4, 16), (8, 8), (16, 4)):
        discriminator = shapes(make_networks(resolution, start=4))[1]
        assert discriminator[f"from_rgb_{resolution}x{resolution}/kernel"] == (1, 1, 3, channels)
    assert "from_rgb_32x32/kernel" not in shapes(make_networks(32, start=4))[1]


@pytest.mark.parametrize("norm", [PLAIN, OUR_NORM])
def test_batch_norm_takes_the_place_of_biases(norm):
    for tree in shapes(make_networks(norm=norm)):
        blocks = {path.split("/")[0] for path in tree if path.startswith("block") and not path.endswith("4x4/dense/kernel")}
        for block in blocks - {"block_4x4"}:
            names = {path.removeprefix(f"{block}/") for path in tree if path.startswith(block)}
            assert names == {"conv/kernel", *(["norm/gain", "norm/shift"] if norm is PLAIN else ["conv/bias"])}


# A plain reference: loops over channels


def convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    padding = kernel.shape[0] // 2
    padded = np.pad(x.astype(np.float64), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    out = np.zeros((*x.shape[:3], kernel.shape[3]))
    for image in range(len(x)):
        for channel in range(kernel.shape[3]):
            out[image, :, :, channel] = correlate(padded[image], kernel[..., channel], mode="valid")[..., 0]
    return out


def after(x: np.ndarray, params: dict, layer: str, *, leak: float, gain: float = math.sqrt(2)) -> np.ndarray:
    """Equalized bias or batch norm, then leaky ReLU."""
    kernel = params[layer]["kernel"]
    if "norm" in params:
        x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-4)
        x = x * params["norm"]["gain"] + params["norm"]["shift"]
    else:
        x = x * gain / math.sqrt(math.prod(kernel.shape[:-1])) + params[layer]["bias"]
    return np.where(x > 0, x, leak * x)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-8)


@pytest.mark.parametrize("norm", [PLAIN, OUR_NORM])
def test_generator_is_the_plain_one(norm):
    networks = make_networks(norm=norm)
    params, latents, norm_or_not = random_parameters(networks)[0], normal(1, 3, 64), unit if norm is OUR_NORM else np.asarray
    x = (unit(latents) @ params["block_4x4"]["dense"]["kernel"]).reshape(3, 4, 4, 64)
    x = norm_or_not(after(x, params["block_4x4"], "dense", leak=0.3, gain=math.sqrt(2) / 4))
    for side in (8, 16, 32):
        block = params[f"block_{side}x{side}"]
        x = x.repeat(2, axis=1).repeat(2, axis=2)
        x = norm_or_not(after(convolved(x, block["conv"]["kernel"]), block, "conv", leak=0.3))
    last = params["to_rgb_32x32"]
    scale = 1 / math.sqrt(72) if norm is OUR_NORM else 1.0
    expected = np.tanh(convolved(x, last["kernel"]) * scale + last["bias"])
    images = quick_jit(networks.generator.apply)({"params": params}, latents)
    np.testing.assert_allclose(images, expected, atol=2e-4)


@pytest.mark.parametrize("norm", [PLAIN, OUR_NORM])
def test_discriminator_is_the_plain_one(norm):
    networks = make_networks(norm=norm, stddev="whole_batch")
    params, images = random_parameters(networks)[1], normal(2, 4, 32, 32, 3)
    x = images
    for side in (32, 16, 8):
        block = params[f"block_{side}x{side}"]
        x = after(convolved(x, block["conv"]["kernel"]), block, "conv", leak=0.2)
        x = x.reshape(4, side // 2, 2, side // 2, 2, -1).mean((2, 4))
    statistic = np.full((4, 4, 4, 1), np.sqrt(x.var(0) + 1e-8).mean())
    dense = params["block_4x4"]["dense"]
    scale = 1 / math.sqrt(272) if norm is OUR_NORM else 1.0
    expected = np.concatenate([x, statistic], -1).reshape(4, -1) @ dense["kernel"] * scale + dense["bias"]
    scores, logits = quick_jit(networks.discriminator.apply)({"params": params}, images)
    np.testing.assert_allclose(scores, expected[:, 0], atol=2e-4)
    assert logits.shape == (4, 0)


# Growing


@pytest.mark.parametrize("norm", [PLAIN, OUR_NORM])
@pytest.mark.parametrize("resolution", [8, 32])
def test_alpha_zero_is_the_previous_resolution(norm, resolution):
    old, new = (make_networks(side, start=4, norm=norm, stddev="whole_batch") for side in (resolution // 2, resolution))
    (g_old, d_old), (g_new, d_new) = random_parameters(old), random_parameters(new)
    latents, images = normal(1, 4, 64), normal(2, 4, resolution, resolution, 3)
    small = images.reshape(4, resolution // 2, 2, resolution // 2, 2, 3).mean((2, 4))
    expected = np.asarray(quick_jit(old.generator.apply)({"params": g_old}, latents)).repeat(2, 1).repeat(2, 2)
    made = quick_jit(new.generator.apply)({"params": g_new}, latents, None, 0.0)
    np.testing.assert_allclose(made, expected, atol=1e-6)
    scores = quick_jit(new.discriminator.apply)({"params": d_new}, images, 0.0)[0]
    np.testing.assert_allclose(scores, quick_jit(old.discriminator.apply)({"params": d_old}, small)[0], rtol=1e-4, atol=1e-5)


def test_growing_keeps_all_but_what_reads_and_makes_smaller_images():
    old, new = (initialize(make_networks(side, start=4), seed=0) for side in (16, 32))
    reports = [transfer(before, fresh)[1] for before, fresh in zip(old, new, strict=True)]
    assert {path.split("/")[0] for path in reports[0].dropped} == {"to_rgb_8x8"}
    assert {path.split("/")[0] for path in reports[0].new} == {"to_rgb_32x32", "block_32x32"}
    assert {path.split("/")[0] for path in reports[1].dropped} == {"from_rgb_8x8"}
    assert {path.split("/")[0] for path in reports[1].new} == {"block_32x32"}


def test_the_input_of_tanh_fades():
    networks = make_networks(8, start=4)
    params, latents = {"params": random_parameters(networks)[0]}, normal(1, 2, 64)
    make = quick_jit(networks.generator.apply)
    before = [np.arctanh(np.asarray(make(params, latents, None, alpha), float)) for alpha in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(before[1], (before[0] + before[2]) / 2, atol=1e-3)


# What sees what


def test_an_image_does_not_depend_on_the_others_once_statistics_are_fixed():
    networks = make_networks(norm=PLAIN)
    assert networks.generator.has_batch_norm
    assert networks.discriminator.has_batch_norm
    assert not make_networks().generator.has_batch_norm
    assert not make_networks().discriminator.has_batch_norm
    sampler, params = Sampler(networks.generator), random_parameters(networks)[0]
    latents, labels = normal(0, 6, 64), np.zeros((6, 0), np.float32)
    alone, together = (sampler.floats(params, latents[:count], labels[:count], 1.0) for count in (1, 6))
    assert np.abs(together[:1] - alone).max() > 1e-3
    fixed = sampler.with_statistics(params, alpha=1.0)
    alone, together = (sampler.floats(fixed, latents[:count], labels[:count], 1.0) for count in (1, 6))
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)


def test_initial_values():
    for norm in (PLAIN, OUR_NORM):
        for tree in initialize(make_networks(norm=norm), seed=0):
            for path, leaf in flatten_dict(tree, sep="/").items():
                if path.endswith("gain"):
                    assert (leaf == 1).all()
                elif path.endswith("kernel"):
                    gain = 1.0 if "to_rgb" in path or leaf.shape[-1] == 1 else math.sqrt(2)
                    gain /= 4 if leaf.shape == (64, 1024) else 1
                    expected = gain / math.sqrt(math.prod(leaf.shape[:-1])) if norm is PLAIN else 1.0
                    assert abs(leaf.std() / expected - 1) < 5 / math.sqrt(2 * leaf.size), path
                else:
                    assert not leaf.any(), path


def test_labels_reach_the_generator_and_are_guessed():
    networks = make_networks()
    networks = Networks(replace(networks.generator, label_size=10), replace(networks.discriminator, label_size=10), 64)
    generator, discriminator = shapes(networks)
    assert generator["block_4x4/dense/kernel"] == (74, 1024)
    assert discriminator["block_4x4/dense/kernel"] == (256, 11)
