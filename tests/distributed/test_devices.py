"""Splitting a batch over devices: any number of devices trains the same network."""

from __future__ import annotations

import functools
import re

import jax
import numpy as np
import pytest

from pggan_jax.config.io import replace_setting
from pggan_jax.config.networks import StddevGroups
from pggan_jax.distributed import devices, processes
from pggan_jax.distributed import devices as placement
from pggan_jax.distributed.batch_sharding import check_batches, near_batch_sizes, shard_batch
from pggan_jax.errors import UserError
from pggan_jax.networks.build import build_networks
from pggan_jax.training.multi_step import make_multi_step
from pggan_jax.training.step_inputs import Batch, SharedInputs, TracedSchedulePoint
from pggan_jax.training.train_state import create_train_state
from tests.helpers.runs import dcgan_config, small_config, small_loader, tiny_config

pytestmark = pytest.mark.usefixtures("quick_compilation")


def strided_groups(count, size):
    """The official groups: sample n belongs to group n mod M."""
    return {frozenset(range(first, count, count // size)) for first in range(count // size)}


class TestShardBatch:
    @pytest.mark.parametrize("form", ["strided", "contiguous", "whole_batch", "none"])
    @pytest.mark.parametrize("devices", [1, 2, 4, 8])
    def test_every_sample_exactly_once(self, form, devices):
        sample_index = shard_batch(32, StddevGroups(form, 4), devices=devices)
        assert sample_index.shape == (devices, 32 // devices)
        assert sorted(sample_index.ravel()) == list(range(32))

    @pytest.mark.parametrize("devices", [1, 2, 4, 8])
    @pytest.mark.parametrize("size", [2, 4])
    def test_strided_groups_stay_whole(self, devices, size):
        """Strided grouping of each device's own samples, as the network does it, gives the global groups."""
        found = set()
        for samples in shard_batch(32, StddevGroups("strided", size), devices=devices):
            groups = len(samples) // size
            found |= {frozenset(samples[group::groups]) for group in range(groups)}
        assert found == strided_groups(32, size)

    @pytest.mark.parametrize(("batch", "devices"), [(8, 1), (8, 2), (16, 1), (16, 2), (16, 4)])
    def test_the_official_groups(self, reference, batch, devices):
        wanted = {frozenset(group) for group in reference["golden_misc"][f"mbstd_groups_N{batch}_group4"]}
        found = set()
        for samples in shard_batch(batch, StddevGroups("strided", 4), devices=devices):
            groups = len(samples) // 4
            found |= {frozenset(samples[group::groups]) for group in range(groups)}
        assert found == wanted

    @pytest.mark.parametrize("devices", [1, 2])
    def test_contiguous_groups_stay_whole(self, reference, devices):
        wanted = reference["golden_misc"]["pytorch_GAN_zoo_mbstd_groups_N8"]
        sample_index = shard_batch(8, StddevGroups("contiguous", 4), devices=devices)
        assert sample_index.reshape(-1, 4).tolist() == wanted

    def test_strided_is_no_mere_reshape(self):
        assert shard_batch(8, StddevGroups("strided", 4), devices=2).tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]

    @pytest.mark.parametrize("form", ["strided", "contiguous"])
    def test_one_group_may_span_devices(self, form):
        assert shard_batch(4, StddevGroups(form, 4), devices=4).tolist() == [[0], [1], [2], [3]]

    @pytest.mark.parametrize(
        ("batch", "form", "size", "devices", "words"),
        [
            (6, "none", 4, 4, "6 images cannot be split over 4 devices"),
            (8, "strided", 4, 4, "2 minibatch-stddev groups of 4 cannot be split over 4 devices"),
            (24, "contiguous", 4, 4, "6 minibatch-stddev groups of 4 cannot be split over 4 devices"),
        ],
    )
    def test_refuses(self, batch, form, size, devices, words):
        with pytest.raises(ValueError, match=words):
            shard_batch(batch, StddevGroups(form, size), devices=devices)


class TestCheckBatches:
    def test_what_can_be_shared_passes(self):
        check_batches(small_config(schedule__batch_size_at={4: 16, 8: 32}), devices=4)

    def test_names_batch_devices_and_possible_counts(self):
        with pytest.raises(UserError) as caught:
            check_batches(small_config(schedule__batch_size_at={4: 16, 8: 24}), devices=4)
        assert (caught.value.path, caught.value.value) == ("schedule.batch_size_at", 24)
        assert all(words in caught.value.rule for words in ("8x8", "4 devices", "16 or 32", "1, 2, 3 devices"))

    def test_without_groups_more_counts_are_possible(self):
        with pytest.raises(UserError, match="; set it to 4 or 8, or use 1, 2, 3 devices"):
            check_batches(small_config(discriminator__minibatch_stddev="none", schedule__batch_size_at={4: 6}), devices=4)

    @pytest.mark.parametrize("form", ["strided", "contiguous", "whole_batch", "none"])
    @pytest.mark.parametrize("devices", [2, 3, 5, 7, 8])
    @pytest.mark.parametrize("batch_size", [1, 4, 8, 16, 24, 100])
    def test_what_it_proposes_works(self, form, devices, batch_size):
        """Both the other batch sizes and the other numbers of devices; nothing nearer does."""
        groups = StddevGroups(form, 4)
        for size in near_batch_sizes(batch_size, groups, devices=devices):
            assert size != batch_size
            shard_batch(size, groups, devices=devices)
        config = small_config(discriminator__minibatch_stddev=form, schedule__batch_size_at={4: batch_size})
        try:
            check_batches(replace_setting(config, "data.resolution", 4), devices=devices)
        except UserError as error:
            sizes, counts = re.search(r"set it to ([\d or]+), or use ([\d, ]+) devices", str(error)).groups()
            for size in map(int, sizes.split(" or ")):
                shard_batch(size, groups, devices=devices)
            for count in map(int, counts.split(", ")):
                shard_batch(batch_size, groups, devices=count)
                assert count < devices

    @pytest.mark.parametrize(
        ("backend", "words"),
        [
            ("gpu", " (CUDA_VISIBLE_DEVICES=0,1,2,3)"),
            ("tpu", " (TPU_VISIBLE_CHIPS=0,1,2,3)"),
            ("cpu", " (JAX_NUM_CPU_DEVICES=4, "),
        ],
    )
    def test_says_how_to_use_fewer(self, backend, words):
        config = small_config(schedule__batch_size=16, discriminator__minibatch_stddev="none")
        with pytest.raises(UserError) as caught:
            check_batches(config, devices=5, backend=backend)
        assert words in str(caught.value)
        assert len(str(caught.value)) <= 300


def test_one_process_has_all_samples():
    groups = StddevGroups("strided", 4)
    wanted = shard_batch(16, groups, devices=jax.device_count())
    assert np.array_equal(devices.local_sample_index(16, groups), wanted)


def train(config, *, devices, steps, alpha):
    """The state as NumPy and the metrics of some steps at the last resolution, from the same start on some of the devices."""
    loader, resolution = small_loader(config.data, config.run.seed), config.data.resolution
    networks = build_networks(config, resolution, image_spec=loader.image_spec, axis_name=placement.AXIS)
    chosen = jax.local_devices()[:devices]
    mapped = placement.map_over_devices(make_multi_step(config, networks), devices=chosen)
    state = jax.device_get(create_train_state(config.optimizer, networks, 5))
    sample_index = shard_batch(16, config.discriminator.stddev_groups, devices=devices)[:, None, None, :]
    one = np.ones(1, np.float32)
    shared = SharedInputs(np.uint32(3), loader.class_table())
    metrics = []
    for step in range(steps):
        images, labels = loader.gather(resolution, 16 * step + sample_index)
        point = TracedSchedulePoint(alpha[step] * one, 1e-3 * one, 0.9 * one)
        batch = Batch(images, labels, sample_index.astype(np.uint32))
        state, totals = mapped(state, batch, point, shared, np.int32(1))
        metrics.append(jax.device_get(totals.sums))
    return jax.device_get(state), metrics


def assert_same_gradients(config, *, devices):
    """Of one step on one device and on several, by Adam's squares.

    Adam itself turns a gradient of 1e-8 into a whole step of either sign.
    """
    one, several = (train(config, devices=count, steps=1, alpha=(0.5,))[0] for count in (1, devices))
    for network in ("generator_moments", "discriminator_moments"):
        squares = getattr(one, network).second
        largest = max(leaf.max() for leaf in jax.tree.leaves(squares))
        assert largest > 1e-10
        same = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5 * largest)
        jax.tree.map(same, squares, getattr(several, network).second)


FADE = (0.0, 0.25, 0.5, 0.75, 1.0)


class TestAnyNumberOfDevices:
    """One device, or four fake ones, over a fade: the same state and metrics within 1e-4."""

    @pytest.mark.parametrize("form", ["strided", pytest.param("whole_batch", marks=pytest.mark.slow)])
    def test_trains_the_same(self, form):
        config = small_config(discriminator__minibatch_stddev=form, data__mirror=True, data__labels=True)
        one, one_metrics = train(config, devices=1, steps=5, alpha=FADE)
        four, four_metrics = train(config, devices=4, steps=5, alpha=FADE)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), one_metrics, four_metrics)
        for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(one)[0], jax.tree.leaves(four), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=jax.tree_util.keystr(path))
        assert int(one.images_seen) == int(four.images_seen) == 80

    @pytest.mark.slow
    def test_batch_norm_layer_norm_and_minibatch_discrimination_have_the_same_gradients(self):
        config = small_config(discriminator__minibatch_stddev="none", discriminator__minibatch_discrimination=6)
        config = replace_setting(config, "generator.normalization", "batch")
        assert_same_gradients(replace_setting(config, "discriminator.normalization", "layer"), devices=4)

    @pytest.mark.parametrize("name", ["dcgan", pytest.param("dcgan_mnist", marks=pytest.mark.slow)])
    def test_dcgan_has_the_same_gradients(self, name):
        assert_same_gradients(dcgan_config(networks__name=name), devices=2)

    def test_the_tiny_networks_have_the_same_gradients(self):
        assert_same_gradients(tiny_config(), devices=2)

    def test_the_comparison_can_fail(self):
        """Other groups are another network."""
        config = small_config(data__mirror=True, data__labels=True)
        strided, _ = train(config, devices=1, steps=5, alpha=FADE)
        other = replace_setting(config, "discriminator.minibatch_stddev", "whole_batch")
        whole, _ = train(other, devices=1, steps=5, alpha=FADE)
        differences = jax.tree.map(lambda a, b: np.abs(a - b).max(), strided.discriminator, whole.discriminator)
        assert max(jax.tree.leaves(differences)) > 1e-3


class TestHostFlags:
    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            (("127.0.0.1:1", None, None), "needs all of --coordinator"),
            ((None, 2, 0), "needs all of --coordinator"),
            (("127.0.0.1:1", 2, 2), "--process_id=2: must be from 0 to 1"),
        ],
    )
    def test_half_of_them_are_refused(self, flags, words):
        with pytest.raises(UserError, match=words):
            processes.initialize_hosts(*flags)

    def test_none_is_one_host(self):
        processes.initialize_hosts(None, None, None)
        assert processes.is_main_process()
        assert devices.describe_devices() == f"{jax.device_count()} x cpu"

    def test_alone_a_stop_is_answered_at_once(self):
        vote = processes.StopVote(delay=2)
        assert [vote(False), vote(True), vote(False)] == [False, True, False]
