"""Growing: what is kept, that nothing jumps at alpha 0 and nothing old is left at 1, and where new layers start from."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pggan_jax.config import Config, DiscriminatorConfig, GeneratorConfig, OptimizerConfig
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import Networks, build_networks, initialize
from pggan_jax.networks.growth import transfer
from pggan_jax.networks.resample import downscale, upscale
from pggan_jax.training.train_state import create_train_state, grow_train_state, reset_moments
from tests.helpers.compiling import quick_jit

LABELS = 2


def make_networks(resolution: int, *, start: int = 4, **options: Any) -> Networks:
    """Four features everywhere, two labels."""
    features = {"fmap_base": 64, "fmap_max": 4} | options
    config = Config(generator=GeneratorConfig(**features), discriminator=DiscriminatorConfig(**features))
    config = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, start_resolution=start))
    return build_networks(config, resolution, image_spec=ImageSpec(resolution, resolution, 3, LABELS))


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def random_params(networks: Networks, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Made without JAX's generator, which takes long to compile; biases are not zero, so that they count."""
    rng = np.random.default_rng(seed)
    size = networks.resolution
    latents, labels, images = jnp.zeros((1, 4)), jnp.zeros((1, LABELS)), jnp.zeros((1, size, size, 3))
    shapes = (
        jax.eval_shape(networks.generator.init, jax.random.key(0), latents, labels)["params"],
        jax.eval_shape(networks.discriminator.init, jax.random.key(0), images)["params"],
    )
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), shapes)


@functools.cache
def forward(networks: Networks) -> Any:
    @quick_jit
    def run(generator, discriminator, latents, labels, images, alpha):
        fakes = networks.generator.apply({"params": generator}, latents, labels, alpha)
        return fakes, *networks.discriminator.apply({"params": discriminator}, images, alpha)

    return run


INPUTS = normal(0, 4, 4), np.eye(4, LABELS, dtype=np.float32)


# Nothing jumps


@pytest.mark.parametrize(
    ("start", "small", "options"),
    [(4, 4, {}), (4, 8, {}), (4, 8, {"fused_scale": False}), (8, 8, {}), (4, 8, {"dtype": "bfloat16"})],
    ids=["4to8", "8to16", "separate", "from_start_8", "bfloat16"],
)
def test_at_alpha_0_the_grown_networks_are_the_old_ones(start, small, options):
    old, grown = make_networks(small, start=start, **options), make_networks(2 * small, start=start, **options)
    old_params = random_params(old, 1)
    params = [transfer(mine, fresh)[0] for mine, fresh in zip(old_params, random_params(grown, 2), strict=True)]
    images = normal(3, 4, 2 * small, 2 * small, 3)
    fakes, *scored = forward(grown)(*params, *INPUTS, images, 0.0)
    # The old network's own cast comes before its downscaled images, as in the grown one.
    smaller = downscale(jnp.asarray(images, options.get("dtype", "float32")))
    old_fakes, *old_scored = forward(old)(*old_params, *INPUTS, smaller, 1.0)
    np.testing.assert_array_equal(fakes, upscale(old_fakes))
    for mine, expected in zip(scored, old_scored, strict=True):
        # The same numbers in other programs: how XLA fuses them, and so their last bit, depends on the processor.
        np.testing.assert_allclose(mine, expected, rtol=2e-6, atol=1e-6)
    different, *scored = forward(grown)(*params, *INPUTS, images, 0.01)
    assert (np.asarray(different) != np.asarray(fakes)).any()


def test_at_alpha_1_the_old_path_is_not_seen():
    networks = make_networks(8)
    params = random_params(networks, 1)
    images = normal(3, 4, 8, 8, 3)
    changed = jax.tree.map_with_path(lambda path, leaf: leaf + 1.0 if "rgb_4x4" in jax.tree_util.keystr(path) else leaf, params)
    run = forward(networks)
    for before, after in zip(run(*params, *INPUTS, images, 1.0), run(*changed, *INPUTS, images, 1.0), strict=True):
        np.testing.assert_array_equal(before, after)
    for before, after in zip(run(*params, *INPUTS, images, 0.9), run(*changed, *INPUTS, images, 0.9), strict=True):
        assert np.abs(np.asarray(before) - np.asarray(after)).max() > 1e-3


def test_generated_images_are_blended_linearly():
    networks = make_networks(8)
    params, images = random_params(networks, 1), normal(3, 4, 8, 8, 3)
    old, half, new = (forward(networks)(*params, *INPUTS, images, alpha)[0] for alpha in (0.0, 0.25, 1.0))
    np.testing.assert_allclose(half, 0.75 * np.asarray(old) + 0.25 * np.asarray(new), atol=1e-5)


# What becomes of each leaf


def test_transfer_reports_and_copies():
    old = {"stays": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}, "gone": {"kernel": np.ones(1)}}
    fresh = {"stays": {"kernel": np.full((2, 3), 7.0), "bias": np.full(3, 7.0)}, "comes": {"kernel": np.full(2, 5.0)}}
    grown, report = transfer(old, fresh)
    assert report.kept == ("stays/bias", "stays/kernel")
    assert report.new == ("comes/kernel",)
    assert report.dropped == ("gone/kernel",)
    assert set(flatten_dict(grown, sep="/")) == {"stays/bias", "stays/kernel", "comes/kernel"}
    np.testing.assert_array_equal(grown["stays"]["kernel"], 1.0)
    np.testing.assert_array_equal(grown["comes"]["kernel"], 5.0)
    np.testing.assert_array_equal(fresh["stays"]["kernel"], 7.0)
    text = str(report)
    for word in ("kept 2", "new 1 (comes)", "dropped 1 (gone)"):
        assert word in text


def test_nothing_dropped_is_not_mentioned():
    _, report = transfer({"a": {"kernel": np.ones(1)}}, {"a": {"kernel": np.ones(1)}, "b": {"kernel": np.ones(1)}})
    assert "dropped" not in str(report)


def test_growing_from_8_to_16_keeps_the_blocks_and_drops_the_oldest_rgb_layers():
    for network, rgb in ((0, "to_rgb"), (1, "from_rgb")):
        old, fresh = (random_params(make_networks(size), size)[network] for size in (8, 16))
        _, report = transfer(old, fresh)
        layers = lambda paths: {path.split("/")[0] for path in paths}  # noqa: E731
        assert layers(report.kept) == {"block_4x4", "block_8x8", f"{rgb}_8x8"}
        assert layers(report.new) == {"block_16x16", f"{rgb}_16x16"}
        assert layers(report.dropped) == {f"{rgb}_4x4"}
        assert set(report.kept) | set(report.dropped) == set(flatten_dict(old, sep="/"))
        assert set(report.kept) | set(report.new) == set(flatten_dict(fresh, sep="/"))


def test_another_shape_under_the_same_path_is_refused():
    with pytest.raises(ValueError, match=r"block_4x4/conv/kernel has shape \(3, 2\) but \(3, 4\)"):
        transfer({"block_4x4": {"conv": {"kernel": np.ones((3, 2))}}}, {"block_4x4": {"conv": {"kernel": np.ones((3, 4))}}})


def test_networks_of_other_widths_do_not_grow_into_each_other():
    old, fresh = random_params(make_networks(4), 0)[0], random_params(make_networks(8, fmap_max=3), 0)[0]
    with pytest.raises(ValueError, match="has shape"):
        transfer(old, fresh)


# Where layers start from


@pytest.fixture(scope="module")
def initialized() -> dict[tuple[int, int], dict[str, np.ndarray]]:
    """`initialize` by (resolution, seed), as flat paths."""
    trees = {(size, seed): initialize(make_networks(size), seed) for size, seed in ((4, 0), (8, 0), (4, 1))}
    return {key: flatten_dict({"G": both[0], "D": both[1]}, sep="/") for key, both in trees.items()}


def test_a_layer_starts_the_same_whenever_it_is_made(initialized):
    small, large = initialized[4, 0], initialized[8, 0]
    shared = small.keys() & large.keys()
    assert len(shared) > 12
    for path in shared:
        np.testing.assert_array_equal(small[path], large[path], err_msg=path)


def test_another_seed_starts_elsewhere_in_every_kernel(initialized):
    for path, leaf in initialized[4, 0].items():
        other = np.asarray(initialized[4, 1][path])
        if path.endswith("kernel"):
            assert not np.isclose(leaf, other).all(), path
        else:
            np.testing.assert_array_equal(leaf, 0.0)


def test_no_two_layers_start_alike(initialized):
    firsts = [float(np.ravel(leaf)[0]) for path, leaf in initialized[8, 0].items() if path.endswith("kernel")]
    assert len(set(firsts)) == len(firsts)


def test_stored_weights_start_from_a_standard_normal(initialized):
    kernels = np.concatenate([np.ravel(leaf) for path, leaf in initialized[8, 0].items() if path.endswith("kernel")])
    assert kernels.size > 1500
    np.testing.assert_allclose([kernels.mean(), kernels.std()], [0.0, 1.0], atol=0.08)


# The whole state


@pytest.fixture(scope="module")
def small_and_grown():
    """A state at 4x4 in which no two trees hold the same numbers, and what it grows into; beta1 makes first moments."""
    config = OptimizerConfig(beta1=0.5)
    state = create_train_state(config, make_networks(4), 0)
    leaves, structure = jax.tree.flatten(state)
    state = jax.tree.unflatten(structure, [leaf + (index + 1) for index, leaf in enumerate(leaves)])
    return state, *grow_train_state(state, config, make_networks(8), 0)


TREES = ("generator", "discriminator", "generator_ema")
MOMENTS = ("generator_moments", "discriminator_moments")


def trees_of(state) -> dict[str, dict[str, np.ndarray]]:
    parts = {name: getattr(state, name) for name in TREES}
    for name in MOMENTS:
        parts |= {f"{name}.{order}": getattr(getattr(state, name), order) for order in ("first", "second")}
    return {name: flatten_dict(tree, sep="/") for name, tree in parts.items()}


def test_parameters_average_and_moments_grow_each_from_their_own(small_and_grown, initialized):
    state, grown, *_ = small_and_grown
    old, new = trees_of(state), trees_of(grown)
    for name, leaves in new.items():
        assert leaves.keys() > old[name].keys()
        for path, leaf in leaves.items():
            if path in old[name]:
                expected = old[name][path]
            elif "moments" in name:
                expected = np.zeros_like(leaf)
            else:
                expected = initialized[8, 0][f"{'D' if name == 'discriminator' else 'G'}/{path}"]
            np.testing.assert_array_equal(leaf, expected, err_msg=f"{name} {path}")


def test_counters_and_reports_survive_growing(small_and_grown):
    state, grown, generator_report, discriminator_report = small_and_grown
    for name in ("step", "images_seen", "lsgan_average", "skipped_generator", "skipped_discriminator"):
        assert getattr(grown, name) == getattr(state, name) != 0
    for name in MOMENTS:
        assert getattr(grown, name).count == getattr(state, name).count != 0
    assert "to_rgb_8x8/kernel" in generator_report.new
    assert "from_rgb_8x8/kernel" in discriminator_report.new


def test_resetting_forgets_moments_and_their_counters_only(small_and_grown):
    state, *_ = small_and_grown
    reset = reset_moments(state)
    for name in MOMENTS:
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(getattr(reset, name)))
        assert jax.tree.structure(getattr(reset, name)) == jax.tree.structure(getattr(state, name))
    for field in dataclasses.fields(state):
        if field.name not in MOMENTS:
            jax.tree.map(np.testing.assert_array_equal, getattr(reset, field.name), getattr(state, field.name))
