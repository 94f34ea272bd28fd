"""What a run carries: how it begins, how it grows, how moments are forgotten or kept."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pggan_jax.config import OptimizerConfig
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import build_networks
from pggan_jax.training.train_state import create_train_state, grow_train_state, reset_moments
from tests.helpers.runs import BOUNDARY, digest, load_trained_model, run_small, small_config

pytestmark = pytest.mark.usefixtures("quick_compilation")


def networks_at(resolution):
    return build_networks(small_config(), resolution, image_spec=ImageSpec(resolution, resolution, 1))


@pytest.fixture(scope="module")
def states():
    """States at 4x4 and 8x8; the first as if it had been trained: every leaf changed, every moment filled."""
    config = OptimizerConfig(beta1=0.5)
    small, large = (jax.device_get(create_train_state(config, networks_at(size), 5)) for size in (4, 8))
    random = np.random.default_rng(0)
    trained = jax.tree.map(lambda leaf: leaf + random.uniform(1, 2, leaf.shape).astype(leaf.dtype), small)
    return trained, large, config


class TestCreate:
    def test_begins_at_nothing(self, states):
        _, state, _ = states
        for name in ("step", "images_seen", "skipped_generator", "skipped_discriminator"):
            assert getattr(state, name) == 0
            assert getattr(state, name).dtype == np.int32
        assert not any(np.any(leaf) for leaf in jax.tree.leaves((state.generator_moments, state.discriminator_moments)))
        jax.tree.map(np.testing.assert_array_equal, state.generator, state.generator_ema)

    def test_shapes_without_memory(self, states):
        _, state, config = states
        abstract = jax.eval_shape(lambda: create_train_state(config, networks_at(8), 5))
        assert jax.tree.map(np.shape, state) == jax.tree.map(lambda leaf: leaf.shape, abstract)

    def test_no_buffer_appears_twice(self):
        """A donated buffer may not."""
        state = jax.device_put(create_train_state(OptimizerConfig(), networks_at(4), 5))
        pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
        assert len(set(pointers)) == len(pointers)


class TestGrow:
    def test_keeps_what_was_and_starts_what_is_new(self, states):
        old, fresh, config = states
        grown, of_generator, of_discriminator = grow_train_state(old, config, networks_at(8), 5)
        assert jax.tree.map(np.shape, grown) == jax.tree.map(np.shape, fresh)
        for name, report in (("generator", of_generator), ("generator_ema", of_generator), ("discriminator", of_discriminator)):
            before, after, new = (flatten_dict(getattr(state, name), sep="/") for state in (old, grown, fresh))
            assert report.kept
            assert report.new
            for path in report.kept:
                np.testing.assert_array_equal(after[path], before[path])
            for path in report.new:
                np.testing.assert_array_equal(after[path], new[path])
        assert set(of_generator.kept) == set(flatten_dict(old.generator, sep="/"))
        assert of_generator.dropped == of_discriminator.dropped == ()

    def test_moments_go_with_their_leaves(self, states):
        old, _, config = states
        grown, report, _ = grow_train_state(old, config, networks_at(8), 5)
        assert grown.generator_moments.count == old.generator_moments.count
        for name in ("first", "second"):
            before, after = (flatten_dict(getattr(state.generator_moments, name), sep="/") for state in (old, grown))
            for path in report.kept:
                np.testing.assert_array_equal(after[path], before[path])
            for path in report.new:
                assert not np.any(after[path])

    def test_counters_go_on(self, states):
        old, _, config = states
        grown, _, _ = grow_train_state(old, config, networks_at(8), 5)
        for name in ("step", "images_seen", "lsgan_average", "skipped_generator", "skipped_discriminator"):
            assert getattr(grown, name) == getattr(old, name)

    def test_twice_drops_the_oldest_image_layers(self, states):
        old, _, config = states
        middle, _, _ = grow_train_state(old, config, networks_at(8), 5)
        _, of_generator, of_discriminator = grow_train_state(middle, config, networks_at(16), 5)
        assert {path.split("/")[0] for path in of_generator.dropped} == {"to_rgb_4x4"}
        assert {path.split("/")[0] for path in of_discriminator.dropped} == {"from_rgb_4x4"}


def test_reset_forgets_moments_and_counters_alone(states):
    state, _, _ = states
    reset = reset_moments(state)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((reset.generator_moments, reset.discriminator_moments)))
    for name in ("generator", "discriminator", "generator_ema", "step", "images_seen"):
        jax.tree.map(np.testing.assert_array_equal, getattr(reset, name), getattr(state, name))


class TestNewPhase:
    """In a run: the moments' counters tell how many updates they hold."""

    @pytest.mark.parametrize(("policy", "updates"), [("reset", 2), ("carry", 33)])
    def test_policy(self, tmp_path, policy, updates):
        config = small_config(optimizer__on_new_phase=policy)
        run_small(tmp_path, config, stop_at=BOUNDARY + 32)
        state = load_trained_model(tmp_path).state
        assert int(state.step) == 33
        assert int(state.images_seen) == BOUNDARY + 32
        assert int(state.generator_moments.count) == int(state.discriminator_moments.count) == updates
        assert len(digest(tmp_path)) == 64
