"""Both networks: sizes, runtime factors, the literal linear structure, what every option does, bfloat16."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from pggan_jax.config import Config, DiscriminatorConfig, GeneratorConfig, LossConfig
from pggan_jax.generation.sampling import Sampler
from pggan_jax.images import ImageSpec
from pggan_jax.interop.foreign.official_variables import layer_path
from pggan_jax.networks.build import Networks, build_networks, initialize
from pggan_jax.networks.cost import FIXED_COST, discriminator_passes, least_step_flops, relative_cost
from pggan_jax.networks.discriminator import DiscriminatorBlock
from pggan_jax.networks.generator import GeneratorBlock
from pggan_jax.networks.layers import Equalized, EqualizedConv, leaky_relu
from pggan_jax.networks.resample import blur, convolve, downscale, upscale
from tests.helpers.compiling import quick_jit

SMALL = {"fmap_base": 32, "fmap_max": 8}
DEFAULT_RESOLUTIONS = tuple(2**res for res in range(2, 11))


def make_networks(resolution: int, *, channels: int = 3, label_size: int = 0, start: int = 4, **options: Any) -> Networks:
    """Small networks; options named in both networks' settings go to both."""
    parts = {}
    for name, kind in (("generator", GeneratorConfig), ("discriminator", DiscriminatorConfig)):
        known = {field.name for field in dataclasses.fields(kind)}
        parts[name] = kind(**{key: value for key, value in (SMALL | options).items() if key in known})
    config = Config(**parts)
    config = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, start_resolution=start))
    return build_networks(config, resolution, image_spec=ImageSpec(resolution, resolution, channels, label_size))


def generator_shapes(networks: Networks) -> dict[str, Any]:
    """The generator's abstract parameters, by path."""
    latents, labels = jnp.zeros((1, networks.latent_size)), jnp.zeros((1, networks.generator.label_size))
    variables = jax.eval_shape(networks.generator.init, jax.random.key(0), latents, labels)
    return flatten_dict(variables["params"], sep="/")


def discriminator_shapes(networks: Networks) -> dict[str, Any]:
    """The discriminator's abstract parameters, by path."""
    images = jax.ShapeDtypeStruct((1, networks.resolution, networks.resolution, networks.generator.channels), jnp.float32)
    variables = jax.eval_shape(networks.discriminator.init, jax.random.key(0), images)
    return flatten_dict(variables["params"], sep="/")


def shapes(networks: Networks) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both networks' abstract parameters."""
    return generator_shapes(networks), discriminator_shapes(networks)


def random_tree(leaves: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """N(0, 1) weights and small biases; a leaf depends on its path alone."""
    tree = {}
    for path, leaf in leaves.items():
        values = np.random.default_rng([seed, *path.encode()]).standard_normal(leaf.shape).astype(np.float32)
        tree[path] = values * 0.3 if path.endswith("bias") else values
    return unflatten_dict(tree, sep="/")


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def count(leaves: dict[str, Any], *prefixes: str) -> int:
    return sum(math.prod(leaf.shape) for path, leaf in leaves.items() if path.startswith(prefixes or ("",)))


# Sizes


@pytest.fixture(scope="module")
def default_shapes() -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
    networks = (build_networks(Config(), size, image_spec=ImageSpec(size, size, 3)) for size in DEFAULT_RESOLUTIONS)
    return {pair.resolution: shapes(pair) for pair in networks}


def single_and_all(by_resolution: dict[int, tuple[dict, dict]], network: int, layer: str) -> tuple[int, int]:
    """Parameters with the newest RGB layer alone, as the paper counts, and with those of all resolutions."""
    largest = max(by_resolution)
    tree = by_resolution[largest][network]
    rgb = {size: count(leaves[network], f"{layer}_{size}x{size}/") for size, leaves in by_resolution.items()}
    assert all(rgb.values())
    rest = count(tree) - count(tree, layer)
    return rest + rgb[largest], rest + sum(rgb.values())


def check_totals(expected: dict[str, int], by_resolution: dict[int, tuple[dict, dict]]) -> None:
    of_generator, of_discriminator = (
        single_and_all(by_resolution, network, layer) for network, layer in enumerate(("to_rgb", "from_rgb"))
    )
    assert of_generator == (expected["G_single_torgb"], expected["G_all_lods"])
    assert of_discriminator == (expected["D_single_fromrgb"], expected["D_all_lods"])


@pytest.mark.parametrize("resolution", DEFAULT_RESOLUTIONS)
def test_parameter_totals_of_the_default(reference, default_shapes, resolution):
    up_to_here = {size: leaves for size, leaves in default_shapes.items() if size <= resolution}
    check_totals(reference["param_totals_default"][str(resolution)], up_to_here)


@pytest.mark.parametrize("resolution", DEFAULT_RESOLUTIONS)
def test_parameters_by_block_of_the_default(reference, default_shapes, resolution):
    expected = reference["param_per_block_default_1024"][str(resolution)]
    generator, discriminator = default_shapes[resolution]
    name = f"{resolution}x{resolution}"
    assert count(generator, f"block_{name}/") == expected["G_block"]
    assert count(generator, f"to_rgb_{name}/") == expected["G_torgb"]
    assert count(discriminator, f"block_{name}/") == expected["D_block"]
    assert count(discriminator, f"from_rgb_{name}/") == expected["D_fromrgb"]
    assert generator[f"block_{name}/{'conv' if resolution == 4 else 'conv1'}/bias"].shape == (expected["channels"],)


@pytest.mark.parametrize(
    ("name", "resolution", "channels", "label_size", "options"),
    [
        ("cifar10_paper_32", 32, 3, 0, {"fmap_base": 4096, "fmap_max": 128, "latent_size": 128}),
        ("ablation_128", 128, 3, 0, {"fmap_base": 2048, "fmap_max": 512, "latent_size": 512}),
        ("mnist_32", 32, 1, 0, {"fmap_base": 8192, "fmap_max": 512}),
        ("cifar10_32_conditional", 32, 3, 10, {"fmap_base": 8192, "fmap_max": 512}),
    ],
)
def test_parameter_totals_of_other_configurations(reference, name, resolution, channels, label_size, options):
    sizes = [size for size in DEFAULT_RESOLUTIONS if size <= resolution]
    by_resolution = {size: shapes(make_networks(size, channels=channels, label_size=label_size, **options)) for size in sizes}
    check_totals(reference["param_totals_other"][name], by_resolution)


def test_fused_forms_have_the_same_parameters():
    assert shapes(make_networks(8, fused_scale=True)) == shapes(make_networks(8, fused_scale=False))


def test_only_the_current_and_the_previous_rgb_layers_are_held(default_shapes):
    for resolution, (generator, discriminator) in default_shapes.items():
        held = {f"{size}x{size}" for size in (resolution, resolution // 2) if size >= 4}
        assert {path.split("/")[0] for path in generator if "rgb" in path} == {f"to_rgb_{size}" for size in held}
        assert {path.split("/")[0] for path in discriminator if "rgb" in path} == {f"from_rgb_{size}" for size in held}


# Runtime factors


LAYER_ATTRIBUTES = ("features", "kernel_size", "resampling", "positions", "gain", "use_wscale", "dtype")


@functools.cache
def runtime_factor(layer: Equalized, inputs: int) -> float:
    """What a layer multiplies a kernel of one by, measured by running it."""
    size = layer.kernel_size if isinstance(layer, EqualizedConv) else 0
    kernel = np.zeros((size, size, inputs, 1) if size else (inputs, 1), np.float32)
    x = np.zeros((1, 4, 4, inputs) if size else (1, inputs), np.float32)
    kernel[(size // 2, size // 2, 0, 0) if size else (0, 0)] = 1.0
    x[..., 0] = 1.0
    single = layer.clone(features=1) if size else layer.clone(features=1, positions=())
    y = quick_jit(single.apply)({"params": {"kernel": kernel, "bias": np.zeros(1, np.float32)}}, x)
    return float(np.asarray(y).ravel()[0])


def layers_called(abstract_run: Any, networks: Networks) -> dict[str, tuple[Equalized, int]]:
    """Each layer that a pass through a network calls, by path, with its number of inputs."""
    calls = {}

    def note(call, arguments, options, context):
        module = context.module
        if isinstance(module, Equalized) and context.method_name == "__call__":
            attributes = {name: getattr(module, name) for name in LAYER_ATTRIBUTES if hasattr(module, name)}
            calls["/".join(module.path)] = type(module)(**attributes, parent=None), arguments[0].shape[-1]
        return call(*arguments, **options)

    with nn.intercept_methods(note):
        abstract_run(networks)
    return calls


@pytest.mark.parametrize(("name", "abstract_run"), [("G", generator_shapes), ("D", discriminator_shapes)], ids=["G", "D"])
def test_runtime_factors_of_the_default(reference, name, abstract_run):
    called: dict[str, tuple[Equalized, int]] = {}
    for size in DEFAULT_RESOLUTIONS[::-2]:  # the current and the previous RGB layers of these are all of them
        called |= layers_called(abstract_run, build_networks(Config(), size, image_spec=ImageSpec(size, size, 3)))
    for layer in reference[f"{name}_1024_layers"]:
        module, inputs = called.pop(layer_path(layer["name"], 1024))
        np.testing.assert_allclose(runtime_factor(module, inputs), layer["runtime_scale"], rtol=1e-5, err_msg=layer["name"])
    assert not called, "layers that the official network does not have"


def test_without_wscale_nothing_is_multiplied():
    for abstract_run in (generator_shapes, discriminator_shapes):
        for module, inputs in layers_called(abstract_run, make_networks(8, use_wscale=False)).values():
            assert runtime_factor(module, inputs) == pytest.approx(1.0)


# The linear structure, literally (spec 2.2), in float64


class Linear:
    """Both official networks at full resolution, growing by lerps, from trees that hold every RGB layer."""

    def __init__(self, generator: dict, discriminator: dict, *, full: int, fused: bool):
        self.trees = {"G": flatten_dict(generator, sep="/"), "D": flatten_dict(discriminator, sep="/")}
        self.full, self.fused = full, fused

    def layer(self, network: str, path: str, x: np.ndarray, gain: float = math.sqrt(2), between=lambda x: x) -> np.ndarray:
        kernel = self.trees[network][f"{path}/kernel"].astype(np.float64)
        kernel = kernel * gain / math.sqrt(math.prod(kernel.shape[:-1]))
        if kernel.ndim == 2:
            linear = x @ kernel
        elif kernel.shape[0] == 1:
            linear = x @ kernel[0, 0]
        else:
            height, width = x.shape[1:3]
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            linear = sum(padded[:, r : r + height, c : c + width] @ kernel[r, c] for r in range(3) for c in range(3))
        return between(linear) + self.trees[network][f"{path}/bias"]

    @staticmethod
    def leaky(x: np.ndarray) -> np.ndarray:
        return np.maximum(0.2 * x, x)

    @staticmethod
    def norm(x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-8)

    @staticmethod
    def up(x: np.ndarray) -> np.ndarray:
        return x.repeat(2, axis=1).repeat(2, axis=2)

    @staticmethod
    def down(x: np.ndarray) -> np.ndarray:
        return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4

    @staticmethod
    def lerp_clip(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
        return a + (b - a) * min(max(t, 0.0), 1.0)

    def sizes(self) -> list[int]:
        return [2**res for res in range(3, int(math.log2(self.full)) + 1)]

    def generate(self, latents: np.ndarray, lod: float) -> np.ndarray:
        act = lambda x: self.norm(self.leaky(x))  # noqa: E731
        as_map = lambda x: x.reshape(len(latents), 4, 4, -1)  # noqa: E731
        x = self.norm(latents.astype(np.float64))
        x = act(self.layer("G", "block_4x4/dense", x, math.sqrt(2) / 4, between=as_map))
        x = act(self.layer("G", "block_4x4/conv", x))
        images = self.layer("G", "to_rgb_4x4", x, 1.0)
        for size in self.sizes():
            x = act(self.layer("G", f"block_{size}x{size}/conv0", self.up(x)))
            x = act(self.layer("G", f"block_{size}x{size}/conv1", x))
            level = math.log2(self.full / size)
            images = self.lerp_clip(self.layer("G", f"to_rgb_{size}x{size}", x, 1.0), self.up(images), lod - level)
        return images

    def score(self, images: np.ndarray, lod: float) -> np.ndarray:
        images = images.astype(np.float64)
        x = self.leaky(self.layer("D", f"from_rgb_{self.full}x{self.full}", images))
        for size in reversed(self.sizes()):
            x = self.leaky(self.layer("D", f"block_{size}x{size}/conv0", x))
            if self.fused:
                x = self.leaky(self.layer("D", f"block_{size}x{size}/conv1", x, between=self.down))
            else:
                x = self.down(self.leaky(self.layer("D", f"block_{size}x{size}/conv1", x)))
            images = self.down(images)
            y = self.leaky(self.layer("D", f"from_rgb_{size // 2}x{size // 2}", images))
            x = self.lerp_clip(x, y, lod - math.log2(self.full / size))
        groups = len(x) // 4
        spread = np.stack([np.sqrt(x[first::groups].var(axis=0) + 1e-8).mean() for first in range(groups)])
        spread = spread[np.arange(len(x)) % groups][:, None, None, None]
        x = np.concatenate([x, np.broadcast_to(spread, (*x.shape[:3], 1))], axis=-1)
        x = self.leaky(self.layer("D", "block_4x4/conv", x)).reshape(len(x), -1)
        return self.layer("D", "block_4x4/dense1", self.leaky(self.layer("D", "block_4x4/dense0", x)), 1.0)[:, 0]


@functools.cache
def forward(networks: Networks) -> Any:
    @quick_jit
    def run(generator, discriminator, latents, images, alpha):
        fakes = networks.generator.apply({"params": generator}, latents, None, alpha)
        return fakes, networks.discriminator.apply({"params": discriminator}, images, alpha)[0]

    return run


@pytest.mark.parametrize("fused", [True, False])
def test_static_depth_equals_the_linear_structure(fused):
    full, latents, images = 16, normal(0, 8, 8), normal(1, 8, 16, 16, 3)
    networks = {size: make_networks(size, fused_scale=fused) for size in (4, 8, 16)}
    by_size = {size: shapes(both) for size, both in networks.items()}
    of_generator = random_tree(functools.reduce(dict.__or__, (leaves[0] for leaves in by_size.values())))
    of_discriminator = random_tree(functools.reduce(dict.__or__, (leaves[1] for leaves in by_size.values())))
    linear = Linear(of_generator, of_discriminator, full=full, fused=fused)
    for lod in (0.0, 0.1, 0.5, 0.999, 1.0, 1.3, 1.75, 2.0):
        size, alpha = full >> math.floor(lod), 1.0 - (lod - math.floor(lod))
        smaller = images
        while smaller.shape[1] > size:
            smaller = Linear.down(smaller)
        trees = random_tree(by_size[size][0]), random_tree(by_size[size][1])
        fakes, scores = forward(networks[size])(*trees, latents, smaller, alpha)
        while fakes.shape[1] < full:
            fakes = Linear.up(np.asarray(fakes))
        np.testing.assert_allclose(fakes, linear.generate(latents, lod), atol=5e-5, err_msg=f"lod {lod}")
        np.testing.assert_allclose(scores, linear.score(images, lod), atol=5e-5, err_msg=f"lod {lod}")


# Options


@functools.cache
def run_small(resolution: int = 8, *, seed: int = 0, alpha: float = 0.6, **options: Any) -> tuple[np.ndarray, ...]:
    """Images, scores and logits of small networks with given options, on fixed parameters and inputs."""
    networks = make_networks(resolution, **options)
    generator, discriminator = (random_tree(leaves, seed) for leaves in shapes(networks))
    label_size, channels = networks.generator.label_size, networks.generator.channels
    latents, labels = normal(0, 8, networks.latent_size), np.eye(8, label_size, dtype=np.float32)
    images = normal(1, 8, resolution, resolution, channels)

    @quick_jit
    def run(generator, discriminator):
        fakes = networks.generator.apply({"params": generator}, latents, labels, alpha)
        return fakes, *networks.discriminator.apply({"params": discriminator}, images, alpha)

    return tuple(np.asarray(output) for output in run(generator, discriminator))


GENERATOR_CHANGES = {
    "fmap_base": 16,
    "fmap_decay": 2.0,
    "fmap_max": 4,
    "latent_size": 5,
    "latents": "uniform",
    "first_bias": "position",
    "normalize_latents": False,
    "use_wscale": False,
    "use_pixelnorm": False,
    "pixelnorm_epsilon": 0.5,
    "use_leakyrelu": False,
    "fused_scale": False,
    "blur": True,
    "normalization": "batch",
    "output_activation": "tanh",
    "dtype": "bfloat16",
}
DISCRIMINATOR_CHANGES = {
    "fmap_base": 16,
    "fmap_decay": 2.0,
    "fmap_max": 4,
    "use_wscale": False,
    "minibatch_stddev": "contiguous",
    "mbstd_group_size": 2,
    "fused_scale": False,
    "blur": True,
    "normalization": "layer",
    "minibatch_discrimination": 3,
    "dtype": "bfloat16",
}


def test_every_option_is_looked_at():
    assert set(GENERATOR_CHANGES) == {field.name for field in dataclasses.fields(GeneratorConfig)}
    assert set(DISCRIMINATOR_CHANGES) == {field.name for field in dataclasses.fields(DiscriminatorConfig)}


@pytest.mark.parametrize("option", sorted(GENERATOR_CHANGES.keys() | DISCRIMINATOR_CHANGES.keys()))
def test_every_option_changes_what_its_network_gives(option):
    """And only its own network; the fused form changes the generator not at all."""
    images, scores, _ = run_small()
    for network, changes in enumerate((GENERATOR_CHANGES, DISCRIMINATOR_CHANGES)):
        if option not in changes:
            continue
        others = run_small(**{option: changes[option]})
        difference = np.abs(others[network] - (images, scores)[network]).max()
        if network == 0 and option == "fused_scale":
            assert difference < 1e-5
        else:
            assert difference > 1e-4
        if option not in (DISCRIMINATOR_CHANGES, GENERATOR_CHANGES)[network]:
            np.testing.assert_array_equal(others[1 - network], (scores, images)[network])


@pytest.mark.parametrize("options", [{"channels": 1}, {"channels": 4}, {"label_size": 3}, {"latent_size": 3, "label_size": 2}])
def test_shapes_and_dtypes_of_outputs(options):
    images, scores, logits = run_small(**options)
    assert images.shape == (8, 8, 8, options.get("channels", 3))
    assert scores.shape == (8,)
    assert logits.shape == (8, options.get("label_size", 0))
    assert images.dtype == scores.dtype == logits.dtype == np.float32


def test_features_follow_base_decay_and_cap():
    def width(**options):
        leaves, _ = shapes(make_networks(16, **options))
        return {size: leaves[f"to_rgb_{size}x{size}/kernel"].shape[2] for size in (8, 16)}

    assert width(fmap_base=64, fmap_max=100) == {8: 16, 16: 8}
    assert width(fmap_base=64, fmap_max=12) == {8: 12, 16: 8}
    assert width(fmap_base=64, fmap_max=100, fmap_decay=2.0) == {8: 4, 16: 1}


def test_latent_size_defaults_to_the_features_of_stage_zero():
    assert make_networks(4, fmap_base=32, fmap_max=100).latent_size == 32
    assert make_networks(4, latent_size=5).latent_size == 5
    leaves, _ = shapes(make_networks(4, latent_size=5, label_size=3))
    assert leaves["block_4x4/dense/kernel"].shape == (8, 16 * 8)


def block_output(**options: Any) -> np.ndarray:
    config = GeneratorConfig(**SMALL, **options)
    block = GeneratorBlock(config, 8)
    x = normal(0, 2, 4, 4, 8)
    leaves = flatten_dict(jax.eval_shape(block.init, jax.random.key(0), x)["params"], sep="/")
    return np.asarray(quick_jit(block.apply)({"params": random_tree(leaves)}, x))


def test_pixelnorm_gives_unit_mean_square_and_without_it_nothing_is_normalised():
    on, off = block_output(), block_output(use_pixelnorm=False)
    np.testing.assert_allclose(np.square(on).mean(axis=-1), 1.0, rtol=1e-4)
    assert np.square(off).mean(axis=-1).std() > 0.1


def test_pixelnorm_epsilon_shrinks_small_features():
    huge = block_output(pixelnorm_epsilon=1e4)
    assert np.square(huge).mean(axis=-1).max() < 1e-2


def test_leaky_relu_lets_negatives_through_and_relu_does_not():
    assert block_output().min() < -0.01
    assert block_output(use_leakyrelu=False).min() == 0.0


def scaled_latents(**options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images for latents and for latents seven times as long, without pixel norm, which would hide it."""
    networks = make_networks(4, use_pixelnorm=False, **options)
    params = random_tree(shapes(networks)[0])
    latents = normal(0, 2, 8)
    apply = quick_jit(lambda latents: networks.generator.apply({"params": params}, latents))
    return np.asarray(apply(latents)), np.asarray(apply(7 * latents))


def test_normalized_latents_have_no_length():
    short, long = scaled_latents()
    np.testing.assert_allclose(short, long, atol=1e-5)


def test_latents_that_are_not_normalized_have_one():
    short, long = scaled_latents(normalize_latents=False)
    assert np.abs(short - long).max() > 1.0


def test_latent_and_label_are_normalised_as_one_vector():
    """With all of the first dense layer's rows equal, only the sum of what enters it is seen."""
    networks = make_networks(4, latent_size=2, label_size=2, use_pixelnorm=False)
    params = flatten_dict(random_tree(shapes(networks)[0]), sep="/")
    dense = params["block_4x4/dense/kernel"]
    params["block_4x4/dense/kernel"] = np.broadcast_to(dense[:1], dense.shape)
    params = unflatten_dict(params, sep="/")
    apply = quick_jit(lambda latents, labels: networks.generator.apply({"params": params}, latents, labels))
    label = np.array([[0.0, 1.0]], np.float32)
    # Over their root mean squares, (3, 0, 0, 1) and (1/3, 0, 0, 1) have the same sum; (30, 0, 0, 1) has another.
    third, three, thirty = (np.asarray(apply(np.array([[length, 0.0]], np.float32), label)) for length in (1 / 3, 3.0, 30.0))
    np.testing.assert_allclose(third, three, atol=1e-5)
    assert np.abs(thirty - three).max() > 0.01


def test_labels_matter_to_the_generator():
    networks = make_networks(4, label_size=3)
    params = random_tree(shapes(networks)[0])
    latents = np.broadcast_to(normal(0, 1, 8), (3, 8))
    images = np.asarray(networks.generator.apply({"params": params}, latents, np.eye(3, dtype=np.float32)))
    assert np.abs(images[0] - images[1]).max() > 0.01
    assert np.abs(images[1] - images[2]).max() > 0.01


def moved_scores(**options: Any) -> np.ndarray:
    """Which of eight scores move when the first image does."""
    networks = make_networks(4, **options)
    params = random_tree(shapes(networks)[1])
    images = normal(0, 8, 4, 4, 3)
    apply = quick_jit(lambda images: networks.discriminator.apply({"params": params}, images)[0])
    other = images.copy()
    other[0] += 1.0
    return np.flatnonzero(np.abs(np.asarray(apply(images)) - np.asarray(apply(other))) > 1e-6)


@pytest.mark.parametrize(
    ("form", "group_size", "moved"),
    [
        ("none", 4, [0]),
        ("strided", 4, [0, 2, 4, 6]),
        ("strided", 2, [0, 4]),
        ("contiguous", 4, [0, 1, 2, 3]),
        ("contiguous", 2, [0, 1]),
        ("whole_batch", 2, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_an_image_moves_the_scores_of_its_group(form, group_size, moved):
    assert list(moved_scores(minibatch_stddev=form, mbstd_group_size=group_size)) == moved


def test_without_minibatch_stddev_its_channel_is_gone():
    for form, inputs in (("none", 8), ("strided", 9), ("contiguous", 9), ("whole_batch", 9)):
        _, leaves = shapes(make_networks(4, minibatch_stddev=form))
        assert leaves["block_4x4/conv/kernel"].shape == (3, 3, inputs, 8)


# Blur and minibatch discrimination


def without_rgb(tree: dict[str, Any], resolution: int) -> dict[str, Any]:
    return {name: leaves for name, leaves in tree.items() if name.rpartition("_")[2] != f"{resolution}x{resolution}"}


@functools.cache
def grown(resolution: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images and scores at alpha 0 of networks at 8x8, or of those at 4x4 with the same leaves, on inputs averaged to 4x4."""
    networks, larger = make_networks(resolution, **options), make_networks(8, **options)
    trees = [random_tree(leaves) for leaves in shapes(larger)]
    if resolution == 4:
        trees = [without_rgb(tree, 8) for tree in trees]
    images = Linear.down(normal(1, 8, 8, 8, 3)) if resolution == 4 else normal(1, 8, 8, 8, 3)
    return tuple(map(np.asarray, forward(networks)(*trees, normal(0, 8, 8), images, 0.0)))


@pytest.mark.parametrize("fused", [True, False])
def test_with_blur_alpha_zero_is_the_previous_resolution(fused):
    old, new = grown(4, blur=True, fused_scale=fused), grown(8, blur=True, fused_scale=fused)
    np.testing.assert_array_equal(new[0], Linear.up(old[0]))
    np.testing.assert_allclose(new[1], old[1], rtol=1e-5, atol=1e-6)


def test_with_blur_the_fused_generator_is_the_same_function_and_the_parameters_stay():
    np.testing.assert_allclose(run_small(blur=True)[0], run_small(blur=True, fused_scale=False)[0], atol=1e-5)
    assert shapes(make_networks(16, blur=True)) == shapes(make_networks(16))


@pytest.mark.parametrize("fused", [True, False])
def test_blur_is_between_convolution_and_bias_and_before_the_second_convolution_of_the_discriminator(fused):
    """Against the blocks by their parts."""
    config = GeneratorConfig(**SMALL, blur=True, fused_scale=fused, use_pixelnorm=False)
    x = normal(0, 2, 4, 4, 8)
    block = GeneratorBlock(config, 8)
    params = random_tree(flatten_dict(jax.eval_shape(block.init, jax.random.key(0), x)["params"], sep="/"))

    def convolved(layer, x):
        kernel = params[layer]["kernel"]
        return convolve(x, kernel / math.sqrt(kernel[..., 0].size / 2))

    expected = leaky_relu(blur(convolved("conv0", upscale(x))) + params["conv0"]["bias"])
    expected = leaky_relu(convolved("conv1", expected) + params["conv1"]["bias"])
    np.testing.assert_allclose(block.apply({"params": params}, x), expected, atol=1e-5)

    block = DiscriminatorBlock(DiscriminatorConfig(**SMALL, blur=True, fused_scale=fused), 8)
    params = random_tree(flatten_dict(jax.eval_shape(block.init, jax.random.key(0), x, None)["params"], sep="/"))
    expected = blur(leaky_relu(convolved("conv0", x) + params["conv0"]["bias"]))
    expected = convolved("conv1", expected)
    if fused:
        expected = leaky_relu(downscale(expected) + params["conv1"]["bias"])
    else:
        expected = downscale(leaky_relu(expected + params["conv1"]["bias"]))
    np.testing.assert_allclose(block.apply({"params": params}, x, None), expected, atol=1e-5)


def test_minibatch_discrimination_sees_the_whole_batch_and_widens_the_last_layer():
    options = {"minibatch_stddev": "none", "minibatch_discrimination": 100}
    assert list(moved_scores(**options)) == list(range(8))
    plain, compared = (shapes(make_networks(8, **other))[1] for other in ({"minibatch_stddev": "none"}, options))
    assert count(compared) - count(plain) == 8 * 500 + 100
    assert compared["block_4x4/discrimination/kernel"].shape == (8, 500)
    assert compared["block_4x4/dense1/kernel"].shape == (108, 1)


def test_the_kernel_of_minibatch_discrimination_is_drawn():
    """As every kernel: N(0, 1), or N(0, 1/fan_in) without equalized learning rate."""
    for use_wscale, expected in ((True, 1.0), (False, 8**-0.5)):
        networks = make_networks(4, minibatch_discrimination=100, use_wscale=use_wscale)
        kernel = initialize(networks, seed=0)[1]["block_4x4"]["discrimination"]["kernel"]
        np.testing.assert_allclose(kernel.std(), expected, rtol=0.05)


# Batch norm and layer norm (Table 1, rows a to c)


def test_normalization_adds_gains_and_shifts():
    plain, norm = shapes(make_networks(8)), (shapes(make_networks(8, normalization=kind)) for kind in ("batch", "layer"))
    (generator, _), (_, discriminator) = norm
    added = {path: leaf.shape for path, leaf in generator.items() if path not in plain[0]}
    blocks = [f"block_4x4/{name}" for name in ("dense", "conv")] + [f"block_8x8/{name}" for name in ("conv0", "conv1")]
    assert added == {f"{layer}_norm/{leaf}": (8,) for layer in blocks for leaf in ("gain", "shift")}
    assert plain[0].keys() - generator.keys() == {f"{layer}/bias" for layer in blocks}, "what batch norm would remove"
    added = {path: leaf.shape for path, leaf in discriminator.items() if path not in plain[1]}
    layers = [f"block_4x4/{name}" for name in ("conv", "dense0")] + [f"block_8x8/{name}" for name in ("conv0", "conv1")]
    assert added == {f"{layer}_norm/gain": (1,) for layer in (*layers, "from_rgb_8x8", "from_rgb_4x4")}
    assert plain[1].items() <= discriminator.items()


def test_gains_start_at_one():
    for kind, network in (("batch", 0), ("layer", 1)):
        leaves = flatten_dict(initialize(make_networks(8, normalization=kind), seed=0)[network], sep="/")
        gains = [leaf for path, leaf in leaves.items() if path.endswith("gain")]
        assert gains
        assert all((gain == 1.0).all() for gain in gains)


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_with_normalization_alpha_zero_is_the_previous_resolution(kind):
    old, new = grown(4, normalization=kind), grown(8, normalization=kind)
    np.testing.assert_array_equal(new[0], Linear.up(old[0]))
    np.testing.assert_allclose(new[1], old[1], rtol=1e-5, atol=1e-6)


def test_batch_norm_comes_before_the_activation():
    """Without pixel norm, each channel of the block has mean and variance of gain and shift before its leaky ReLU."""
    config = GeneratorConfig(**SMALL, normalization="batch", use_pixelnorm=False)
    block, x = GeneratorBlock(config, 8), normal(0, 8, 4, 4, 8)
    params = random_tree(flatten_dict(jax.eval_shape(block.init, jax.random.key(0), x)["params"], sep="/"))
    y = np.asarray(block.apply({"params": params}, x))
    before = np.where(y >= 0, y, y / 0.2)
    np.testing.assert_allclose(before.mean(axis=(0, 1, 2)), params["conv1_norm"]["shift"], atol=1e-3)
    np.testing.assert_allclose(before.std(axis=(0, 1, 2)), np.abs(params["conv1_norm"]["gain"]), rtol=1e-2)


@pytest.mark.parametrize("fused", [True, False])
def test_layer_norm_comes_before_bias_and_activation(fused):
    config = DiscriminatorConfig(**SMALL, normalization="layer", fused_scale=fused)
    block, x = DiscriminatorBlock(config, 8), normal(0, 3, 8, 8, 8)
    params = random_tree(flatten_dict(jax.eval_shape(block.init, jax.random.key(0), x, None)["params"], sep="/"))

    def layer(name, x, between=lambda x: x):
        kernel = params[name]["kernel"]
        y = np.asarray(between(convolve(x, kernel / math.sqrt(9 * 8 / 2))), np.float64)
        y = y - y.mean(axis=(1, 2, 3), keepdims=True)
        y = y / np.sqrt((y**2).mean(axis=(1, 2, 3), keepdims=True) + 1e-4)
        return Linear.leaky(y * params[f"{name}_norm"]["gain"] + params[name]["bias"]).astype(np.float32)

    expected = layer("conv1", layer("conv0", x), downscale) if fused else downscale(layer("conv1", layer("conv0", x)))
    np.testing.assert_allclose(block.apply({"params": params}, x, None), expected, atol=2e-5)


def test_images_with_batch_norm_depend_on_the_batch_until_statistics_are_fixed():
    generator = make_networks(8, normalization="batch").generator
    assert generator.has_batch_norm
    assert not make_networks(8).generator.has_batch_norm
    params = random_tree(generator_shapes(make_networks(8, normalization="batch")))
    sampler, latents, labels = Sampler(generator), normal(0, 8, 8), np.zeros((8, 0), np.float32)
    several, one = (sampler.floats(params, latents[:count], labels[:count], 0.5) for count in (8, 1))
    assert np.abs(several[0] - one[0]).max() > 1e-2
    fixed = sampler.with_statistics(params, alpha=0.5)
    several, one = (sampler.floats(fixed, latents[:count], labels[:count], 0.5) for count in (8, 1))
    np.testing.assert_allclose(several[0], one[0], atol=1e-5)


# bfloat16


@pytest.mark.parametrize("fused", [True, False])
def test_bfloat16_keeps_float32_parameters_and_outputs_and_comes_close(fused):
    options = {"fused_scale": fused, "label_size": 3}
    for leaves in shapes(make_networks(8, dtype="bfloat16", **options)):
        assert {leaf.dtype for leaf in leaves.values()} == {jnp.dtype("float32")}
    for half, single in zip(run_small(dtype="bfloat16", **options), run_small(**options), strict=True):
        assert half.dtype == np.float32
        difference = np.abs(half - single)
        assert 1e-5 < difference.max() < 0.1 * np.abs(single).max()


def test_bfloat16_reaches_the_convolutions():
    networks = make_networks(8, dtype="bfloat16")
    text = []
    for module, leaves, *inputs in (
        (networks.generator, shapes(networks)[0], normal(0, 2, 8)),
        (networks.discriminator, shapes(networks)[1], normal(0, 2, 8, 8, 3)),
    ):
        params = {"params": unflatten_dict(leaves, sep="/")}
        text += str(jax.make_jaxpr(module.apply)(params, *inputs)).splitlines()
    convolutions = [line for line in text if "conv_general_dilated[" in line or "dot_general[" in line]
    assert len(convolutions) >= 10
    assert all("bf16[" in line for line in convolutions), convolutions


# Start resolution


def test_at_the_start_resolution_there_is_nothing_to_fade_in_from():
    networks = make_networks(8, start=8)
    generator, discriminator = shapes(networks)
    assert not [path for path in (*generator, *discriminator) if path.endswith("rgb_4x4/kernel")]
    assert "block_4x4/conv/kernel" in generator
    assert "block_4x4/conv/kernel" in discriminator
    first, second = run_small(start=8, alpha=0.0), run_small(start=8, alpha=1.0)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_above_the_start_resolution_there_is():
    generator, discriminator = shapes(make_networks(16, start=8))
    assert {path.split("/")[0] for path in generator if "rgb" in path} == {"to_rgb_8x8", "to_rgb_16x16"}
    assert {path.split("/")[0] for path in discriminator if "rgb" in path} == {"from_rgb_8x8", "from_rgb_16x16"}


# Cost


def test_relative_cost_counts_the_multiply_adds_of_the_convolutions():
    config = Config(generator=GeneratorConfig(**SMALL), discriminator=DiscriminatorConfig(**SMALL))
    leaves = shapes(build_networks(config, 16, image_spec=ImageSpec(16, 16, 3)))
    expected = FIXED_COST
    for tree in leaves:
        for path, leaf in tree.items():
            if leaf.shape[:2] == (3, 3) and "block_4x4" not in path:
                expected += math.prod(leaf.shape) * int(path.split("/")[0].split("x")[1]) ** 2
    base = relative_cost(config, 4) - FIXED_COST
    np.testing.assert_allclose(relative_cost(config, 16) - base, expected)


def test_least_step_flops_counts_passes_and_fused_layers():
    shapes = {
        "generator": {"block_8x8/conv0/kernel": (3, 3, 5, 7), "block_8x8/conv0/bias": (7,), "block_4x4/dense/kernel": (3, 80)},
        "discriminator": {"block_4x4/conv/kernel": (3, 3, 6, 5), "from_rgb_8x8/kernel": (1, 1, 3, 4)},
    }
    generator = 4 * 5 * 7 * 64 + 3 * 80
    discriminator = 9 * 6 * 5 * 16 + 3 * 4 * 64
    assert least_step_flops(shapes, LossConfig()) == 2 * (4 * generator + 12 * discriminator)
    rpgan = least_step_flops(shapes, LossConfig(name="rpgan"))
    assert rpgan == 2 * (4 * generator + 15 * discriminator)


@pytest.mark.parametrize(
    ("loss", "passes"),
    [
        (LossConfig(), 12),
        (LossConfig(name="lsgan"), 8),
        (LossConfig(name="logistic"), 11),
        (LossConfig(name="hinge", penalize="both"), 14),
        (LossConfig(name="hinge", penalize="both", r1_gamma=0.0), 8),
        (LossConfig(name="rpgan"), 15),
        (LossConfig(name="rpgan", penalize="fakes"), 12),
    ],
)
def test_passes_through_the_discriminator(loss, passes):
    assert discriminator_passes(loss) == passes
