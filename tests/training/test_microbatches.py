"""Microbatches: which there may be, and training with them against training without."""

from __future__ import annotations

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.config.networks import StddevGroups
from pggan_jax.distributed import devices
from pggan_jax.distributed import devices as placement
from pggan_jax.distributed.batch_sharding import (
    check_batches,
    microbatch_counts,
    microbatch_indices,
    microbatches_as_set,
    shard_batch,
)
from pggan_jax.errors import ConfigError
from pggan_jax.images import ImageSpec
from pggan_jax.loop import step_cost
from pggan_jax.loop.step_cost import choose_microbatches, with_microbatches
from pggan_jax.networks.build import build_networks
from pggan_jax.training.microbatches import mean_over_microbatches
from pggan_jax.training.multi_step import make_multi_step
from pggan_jax.training.step_inputs import Batch, SharedInputs, TracedSchedulePoint
from pggan_jax.training.train_state import create_train_state
from tests.helpers.compiling import quick_jit
from tests.helpers.runs import small_config, small_loader

pytestmark = pytest.mark.usefixtures("quick_compilation")


class TestCounts:
    @pytest.mark.parametrize(
        ("batch", "form", "size", "devices", "expected"),
        [
            (16, "strided", 4, 1, [1, 2, 4]),
            (16, "contiguous", 4, 2, [1, 2]),
            (24, "strided", 4, 1, [1, 2, 3, 6]),
            (16, "none", 4, 1, [1, 2, 4, 8, 16]),
            (16, "whole_batch", 4, 1, [1]),
            (16, "strided", 16, 1, [1]),
            (16, "strided", 64, 1, [1]),
            (4, "strided", 4, 2, [1]),
            (4, "strided", 4, 1, [1]),
        ],
    )
    def test_consist_of_whole_groups(self, batch, form, size, devices, expected):
        assert microbatch_counts(batch // devices, StddevGroups(form, size)) == expected

    @pytest.mark.parametrize("form", ["strided", "contiguous"])
    @pytest.mark.parametrize("devices", [1, 2])
    def test_groups_of_microbatches_are_the_groups_of_the_batch(self, form, devices):
        """As the network forms them: each microbatch is grouped like a batch of its own."""

        def groups(samples):
            count = len(samples) // 4
            if form == "contiguous":
                return {frozenset(samples[4 * group : 4 * group + 4].tolist()) for group in range(count)}
            return {frozenset(samples[group::count].tolist()) for group in range(count)}

        stddev = StddevGroups(form, 4)
        for count in microbatch_counts(32 // devices, stddev):
            found = set()
            for of_device in shard_batch(32, stddev, devices=devices):
                microbatches = microbatch_indices(len(of_device), len(of_device) // count, stddev)
                assert len(microbatches) == count
                for microbatch in microbatches:
                    found |= groups(of_device[microbatch])
            assert found == groups(np.arange(32))


class TestAsSet:
    def count(self, devices=1, resolution=4, **changes):
        return microbatches_as_set(small_config(**changes), resolution, devices=devices)

    def test_the_fewest_that_are_small_enough(self):
        assert [self.count(run__microbatch=most) for most in (0, 4, 5, 7, 8, 15, 16, 99)] == [0, 4, 4, 4, 2, 2, 1, 1]
        assert self.count(run__microbatch=8, devices=2) == 1

    def test_single_resolutions(self):
        changes = {"run__microbatch": 8, "run__microbatch_at": {8: 4}}
        assert [self.count(resolution=resolution, **changes) for resolution in (4, 8)] == [2, 4]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"run__microbatch": 3}, r"run.microbatch = 3: at 4x4 .* its 16 images at once: 16, 8, 4, .* at least 4, or 0"),
            ({"run__microbatch_at": {4: 2}}, r"run.microbatch_at = 2: "),
            (
                {"run__microbatch": 8, "discriminator__minibatch_stddev": "whole_batch"},
                r"at once: 16, .*=whole_batch take the whole batch; allow at least 16",
            ),
            ({"run__microbatch": 8, "discriminator__mbstd_group_size": 16}, "at once: 16, .* allow at least 16"),
        ],
    )
    def test_what_is_impossible_is_refused_in_one_line(self, changes, words):
        with pytest.raises(ConfigError, match=words) as caught:
            self.count(**changes)
        assert "\n" not in str(caught.value)

    def test_a_run_refuses_it_at_once(self):
        with pytest.raises(ConfigError) as caught:
            check_batches(small_config(run__microbatch=1, schedule__batch_size=32), devices=1)
        assert (caught.value.path, caught.value.value) == ("run.microbatch", 1)


@pytest.mark.parametrize("unroll", [False, True])
def test_mean_over_microbatches(unroll):
    samples = {"x": jnp.arange(12.0).reshape(6, 2), "y": jnp.ones((6,), jnp.bfloat16)}
    microbatches = np.array([[0, 2], [1, 4], [5, 3]])

    def means(own):
        assert own["x"].shape == (2, 2)
        return own["x"].mean(axis=0), own["x"][0] * own["y"][0]

    run = quick_jit(lambda samples: mean_over_microbatches(means, samples, microbatches, unroll=unroll))
    mean, firsts = run(samples)
    np.testing.assert_allclose(mean, np.arange(12.0).reshape(6, 2).mean(axis=0))
    np.testing.assert_allclose(firsts, np.array([0 + 2 + 10, 1 + 3 + 11]) / 3, rtol=1e-6)


ALPHAS = (0.0, 0.5, 1.0)


def train(config, *, microbatches, resolution=8, devices=1):
    """The state as NumPy and the metrics of three steps from the same start."""
    loader = small_loader(config.data, config.run.seed)
    networks = build_networks(config, resolution, image_spec=loader.image_spec, axis_name=placement.AXIS)
    with mock.patch.object(placement, "device_count", return_value=devices):
        config = with_microbatches(config, resolution, count=microbatches)
    multi_step = make_multi_step(config, networks)
    mapped = placement.map_over_devices(multi_step, devices=jax.local_devices()[:devices])
    state = jax.device_get(create_train_state(config.optimizer, networks, 5))
    sample_index = shard_batch(16, config.discriminator.stddev_groups, devices=devices)
    sample_index = np.repeat(sample_index[:, None, None, :], config.schedule.critic_steps, axis=2)
    one = np.ones(1, np.float32)
    shared = SharedInputs(np.uint32(3), loader.class_table())
    metrics = []
    for step, alpha in enumerate(ALPHAS):
        updates = np.arange(config.schedule.critic_steps)[None, None, :, None] + config.schedule.critic_steps * step
        images, labels = loader.gather(resolution, 16 * updates + sample_index)
        batch = Batch(images, labels, sample_index.astype(np.uint32))
        point = TracedSchedulePoint(alpha * one, 1e-3 * one, 0.9 * one)
        state, totals = mapped(state, batch, point, shared, np.int32(1))
        metrics.append(jax.device_get(totals.sums))
    return jax.device_get(state), metrics


def assert_same(first, second):
    (one, one_metrics), (two, two_metrics) = first, second
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), one_metrics, two_metrics)
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(one)[0], jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=jax.tree_util.keystr(path))


def full_config(critic_steps=1, form="strided"):
    """With mirror and labels."""
    changes = {"schedule__critic_steps": critic_steps, "discriminator__minibatch_stddev": form}
    return small_config(data__mirror=True, data__labels=True, **changes)


@functools.cache
def trained_whole(resolution, *choices):
    """Of each config once; for reading only."""
    return train(full_config(*choices), microbatches=1, resolution=resolution)


class TestTheSameTraining:
    """Three steps over a fade, with mirror and labels: with and without microbatches, state and metrics agree within 1e-4."""

    @pytest.mark.parametrize(
        ("resolution", "critic_steps", "form", "devices", "microbatches"),
        [
            (4, 1, "strided", 1, 4),
            (8, 1, "strided", 1, 2),
            pytest.param(4, 2, "strided", 1, 2, marks=pytest.mark.slow),
            pytest.param(4, 1, "contiguous", 2, 2, marks=pytest.mark.slow),
            pytest.param(8, 1, "strided", 2, 2, marks=pytest.mark.slow),
        ],
    )
    def test_as_the_whole_batch(self, resolution, critic_steps, form, devices, microbatches):
        whole = trained_whole(resolution, critic_steps, form)
        config = full_config(critic_steps, form)
        assert_same(train(config, microbatches=microbatches, resolution=resolution, devices=devices), whole)
        assert int(whole[0].images_seen) == 48 * critic_steps

    def test_in_a_loop(self):
        """The form for accelerators."""
        whole = trained_whole(8, 1, "strided")
        with mock.patch.object(devices, "backend", return_value="gpu"):
            assert_same(train(full_config(), microbatches=4), whole)

    def test_pairs_and_augmentation_too(self):
        """Real and generated images of one index stay together, with their random numbers; on two devices."""
        changes = {"loss__name": "rpgan", "data__augment": ("color", "translation", "cutout")}
        config = small_config(data__mirror=True, data__labels=True, **changes)
        whole = train(config, microbatches=1, resolution=4)
        assert_same(train(config, microbatches=2, resolution=4, devices=2), whole)

    @pytest.mark.slow
    def test_the_noise_of_lsgan_too(self):
        config = small_config(loss__name="lsgan")
        assert_same(train(config, microbatches=2, resolution=4), train(config, microbatches=1, resolution=4))

    def test_the_comparison_can_fail(self):
        """Microbatches whose groups are not those of the batch are another network."""
        whole = trained_whole(8, 1, "strided")
        neighbours = np.arange(16).reshape(2, 8)
        with (
            mock.patch("pggan_jax.training.train_step.microbatch_indices", return_value=neighbours),
            pytest.raises(AssertionError),
        ):
            assert_same(train(full_config(), microbatches=2), whole)


@pytest.fixture
def optimised():
    """Compile as a run does."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_microbatches_take_less_memory(backend, optimised):
    """In either form the step's own memory with four microbatches is below half of that with one."""
    config = small_config(schedule__batch_size=1024)
    networks = build_networks(config, 4, image_spec=ImageSpec(4, 4, 1), axis_name=devices.AXIS)
    with mock.patch.object(devices, "backend", return_value=backend):
        compiled = [step_cost.compile_step(config, networks, microbatches=count)[1] for count in (1, 4)]
    whole, accumulated = (one.memory_analysis().temp_size_in_bytes for one in compiled)
    assert accumulated < whole / 2


class TestChoice:
    """Where nothing is set: whole, unless the memory would not hold it."""

    def choose(self, limit, **changes):
        """Microbatches chosen with so much memory, and those that were compiled to see."""
        config = small_config(**changes)
        networks = build_networks(config, 8, image_spec=ImageSpec(8, 8, 1), axis_name=devices.AXIS)
        compiled = []

        def compile_step(config, networks, *, microbatches):
            compiled.append(microbatches)
            return None, microbatches

        with (
            mock.patch.object(devices, "memory_limit_bytes", return_value=limit),
            mock.patch.object(devices, "device_count", return_value=1),
            mock.patch.object(step_cost, "compile_step", compile_step),
            mock.patch.object(step_cost, "peak_bytes", (1000).__truediv__),
        ):
            return choose_microbatches(config, networks), compiled

    def test_what_is_set_is_taken(self):
        assert self.choose(1, run__microbatch=8) == (2, [])

    def test_with_plenty_nothing_is_compiled(self):
        assert self.choose(10**12) == (1, [])

    def test_a_backend_that_does_not_tell_takes_it_whole(self):
        assert self.choose(0) == (1, [])

    @pytest.mark.parametrize(
        ("limit", "expected"), [(1200, (1, [1])), (1000, (2, [1, 2])), (300, (4, [1, 2])), (1, (4, [1, 2]))]
    )
    def test_the_fewest_that_fit_in_nine_tenths(self, limit, expected):
        assert self.choose(limit) == expected

    def test_what_cannot_be_divided_stays_whole(self):
        assert self.choose(1, discriminator__minibatch_stddev="whole_batch") == (1, [])


def test_memory_is_reported():
    assert devices.memory_limit_bytes() > 2**20
