"""The work of a run in calls, and each call's data: every image once, padded calls, the schedule's numbers."""

from __future__ import annotations

from unittest import mock

import jax
import numpy as np
import pytest

from pggan_jax.loop.input_feed import InputFeed, plan_chunks
from pggan_jax.schedule import Schedule
from tests.helpers.runs import BOUNDARY, TOTAL, small_config, small_loader


def schedule_of(config):
    return Schedule(config.schedule, config.data.resolution)


def make_feed(config, steps_per_call):
    loader = small_loader(config.data, config.run.seed)
    return InputFeed(config, loader, steps_per_call=steps_per_call), loader


class TestPlanChunks:
    @pytest.mark.parametrize("steps", [1, 3, 7, 1000])
    def test_covers_the_run_without_gap_or_overlap(self, steps):
        chunks = list(plan_chunks(schedule_of(small_config()), start=0, steps_per_call=steps))
        assert [chunk.start for chunk in chunks] == [0, *[chunk.end for chunk in chunks[:-1]]]
        assert chunks[-1].end == TOTAL
        assert all(1 <= chunk.steps <= steps for chunk in chunks)

    @pytest.mark.parametrize("steps", [3, 1000])
    def test_no_chunk_crosses_a_stage_or_a_tick(self, steps):
        schedule = schedule_of(small_config())
        for chunk in plan_chunks(schedule, start=0, steps_per_call=steps):
            assert chunk.stage.start <= chunk.start < chunk.end <= chunk.stage.end
            assert chunk.tick.start <= chunk.start < chunk.end <= chunk.tick.end

    def test_the_rest_of_a_run(self):
        schedule = schedule_of(small_config())
        chunks = list(plan_chunks(schedule, start=BOUNDARY + 32, steps_per_call=3))
        assert chunks[0].start == BOUNDARY + 32
        assert chunks[-1].end == TOTAL
        assert not list(plan_chunks(schedule, start=TOTAL, steps_per_call=3))


class TestEveryImage:
    """Whatever the devices, hosts and batch sizes: the positions of a run, each exactly once and in order of the chunks."""

    @pytest.mark.parametrize("hosts", [1, 2, 3])
    def test_all_positions_of_a_run_over_all_hosts(self, hosts):
        config = small_config(schedule__batch_size_at={4: 48, 8: 24}, discriminator__minibatch_stddev="none")
        schedule = schedule_of(config)
        shown = []
        for chunk in plan_chunks(schedule, start=0, steps_per_call=3):
            parts = [positions_of(config, chunk, host=host, hosts=hosts) for host in range(hosts)]
            here = np.concatenate([part.ravel() for part in parts])
            np.testing.assert_array_equal(np.sort(here), np.arange(chunk.start, chunk.end))
            shown.extend(here)
        np.testing.assert_array_equal(np.sort(shown), np.arange(schedule.total_images))
        assert schedule.total_images > 1797, "more than an epoch"
        loader = small_loader(config.data, config.run.seed)
        first_epoch = loader.rows(np.sort(shown)[:1797])
        np.testing.assert_array_equal(np.sort(first_epoch), np.arange(1797))

    def test_another_batch_size_from_the_middle_on_keeps_the_place(self):
        """Stopped at 480 images and continued in other steps: what comes next is what would have come."""
        plain, wide = small_config(), small_config(schedule__batch_size_at={4: 16, 8: 32})
        for config in (plain, wide):
            chunks = list(plan_chunks(schedule_of(config), start=BOUNDARY, steps_per_call=1))[:8]
            positions = np.concatenate([positions_of(config, chunk).ravel() for chunk in chunks])
            np.testing.assert_array_equal(np.sort(positions), np.arange(BOUNDARY, chunks[-1].end))


def positions_of(config, chunk, *, host=0, hosts=1):
    """The positions that one of several hosts asks its loader for, without those that only pad the chunk."""
    loader = mock.Mock(wraps=small_loader(config.data, config.run.seed))
    loader.label_size = 0
    devices = jax.local_device_count()
    with (
        mock.patch.object(jax, "device_count", return_value=hosts * devices),
        mock.patch.object(jax, "process_index", return_value=host),
    ):
        InputFeed(config, loader, steps_per_call=3)(chunk)
    ((positions,), _) = loader.rows.call_args
    return positions[:, : chunk.steps]


class TestWhereTheDataLie:
    @pytest.mark.parametrize("size", [0.0, 0.05, 1.0], ids=["streamed", "mixed", "resident"])
    def test_a_level_stays_only_while_its_resolution_lasts(self, size):
        config = small_config(data__labels=True, run__device_data_mb=size)
        feed, loader = make_feed(config, 2)
        stays = {level: loader.level(level).nbytes <= size * 1e6 for level in (4, 8)}
        for chunk in plan_chunks(feed._schedule, start=BOUNDARY - 96, steps_per_call=2):
            _, (batch, *_) = feed(chunk)
            resolution = chunk.stage.resolution
            rows = loader.rows(positions_of(config, chunk))
            np.testing.assert_array_equal(np.asarray(batch.images)[:, : chunk.steps], loader.images(resolution, rows))
            kept = feed._resident_resolution if feed._resident else None
            assert kept == (resolution if stays[resolution] else None)
            if chunk.start > BOUNDARY + 96:
                break

    def test_resident_and_streamed_batches_are_of_one_kind(self):
        """The step then needs no second program."""
        kinds = []
        for size in (0.0, 1.0):
            feed, _ = make_feed(small_config(run__device_data_mb=size), 1)
            _, (batch, *_) = feed(next(plan_chunks(feed._schedule, start=0, steps_per_call=1)))
            kinds.append([(leaf.shape, leaf.dtype, leaf.sharding, leaf.committed) for leaf in batch])
        assert kinds[0] == kinds[1]


class TestFeed:
    def test_a_step_shows_the_images_at_its_positions(self):
        feed, loader = make_feed(small_config(data__labels=True), 1)
        chunk = list(plan_chunks(feed._schedule, start=0, steps_per_call=1))[5]
        _, (batch, *_) = feed(chunk)
        images, labels = loader.gather(4, np.arange(80, 96))
        order = np.asarray(batch.sample_index).ravel()
        assert sorted(order) == list(range(16))
        np.testing.assert_array_equal(np.asarray(batch.images).reshape(16, 4, 4, 1), images[order])
        np.testing.assert_array_equal(np.asarray(batch.labels).reshape(16, 10), labels[order])
        assert batch.images.shape == (jax.device_count(), 1, 1, 16 // jax.device_count(), 4, 4, 1)
        assert batch.images.dtype == np.uint8

    def test_critic_steps_take_batches_of_their_own(self):
        feed, loader = make_feed(small_config(schedule__critic_steps=3), 2)
        chunk = next(plan_chunks(feed._schedule, start=0, steps_per_call=2))
        _, (batch, *_) = feed(chunk)
        assert chunk.end == 96
        shown = np.asarray(batch.images).transpose(1, 2, 0, 3, 4, 5, 6).reshape(6, 16, 4, 4, 1)
        order = np.asarray(batch.sample_index)[:, 0, 0].ravel()
        for update in range(6):
            images, _ = loader.gather(4, 16 * update + order)
            np.testing.assert_array_equal(shown[update], images)

    def test_a_short_chunk_is_padded(self):
        feed, _ = make_feed(small_config(), 4)
        chunks = list(plan_chunks(feed._schedule, start=0, steps_per_call=4))
        short = next(chunk for chunk in chunks if chunk.steps < 4)
        shapes = [jax.tree.map(np.shape, feed(chunk)[1][0]) for chunk in (chunks[0], short)]
        assert shapes[0] == shapes[1]
        _, points, _, count = feed(short)[1]
        assert points.alpha.shape == points.learning_rate.shape == points.ema_decay.shape == (4,)
        assert (points.alpha[short.steps - 1 :] == points.alpha[short.steps - 1]).all()
        assert count == short.steps

    def test_schedule_points_follow_the_schedule(self):
        config = small_config(schedule__rampup_kimg=1.0, run__seed=12)
        feed, _ = make_feed(config, 3)
        schedule = schedule_of(config)
        for chunk in plan_chunks(schedule, start=BOUNDARY, steps_per_call=3):
            _, points, shared, _ = feed(chunk)[1]
            starts = [chunk.start + 16 * step for step in range(chunk.steps)]
            alphas = [schedule.at(start).alpha for start in starts]
            rates = [schedule.at(start).learning_rate for start in starts]
            np.testing.assert_allclose(points.alpha[: chunk.steps], alphas, rtol=1e-6)
            np.testing.assert_allclose(points.learning_rate[: chunk.steps], rates, rtol=1e-6)
            assert shared.noise_seed == 12
            assert {leaf.dtype.name for leaf in jax.tree.leaves(points)} == {"float32"}

    def test_average_decay(self):
        """By half-life: half is forgotten after so many images; else the plain number."""
        feed, _ = make_feed(small_config(optimizer__ema_half_life_kimg=0.16), 1)
        decay = feed(next(plan_chunks(feed._schedule, start=0, steps_per_call=1)))[1][1].ema_decay
        assert decay[0] ** 10 == pytest.approx(0.5)
        feed, _ = make_feed(small_config(optimizer__ema_half_life_kimg=0.0, optimizer__ema_decay=0.75), 1)
        assert feed(next(plan_chunks(feed._schedule, start=0, steps_per_call=1)))[1][1].ema_decay[0] == 0.75


def test_cosine_schedules_are_traced_only_where_they_are_used():
    plain = small_config()
    cosines = small_config(
        loss__name="hinge", schedule__r1_gamma_end=2.0, schedule__ema_half_life_kimg_end=1.5, schedule__learning_rate_end=0.001
    )
    for config in (plain, cosines):
        feed, _ = make_feed(config, 2)
        schedule = schedule_of(config)
        for chunk in list(plan_chunks(schedule, start=0, steps_per_call=2))[::20]:
            _, (_, points, _, _) = feed(chunk)
            looks = [schedule.at(chunk.start + step * chunk.stage.images_per_step) for step in range(chunk.steps)]
            np.testing.assert_allclose(points.learning_rate[: chunk.steps], [look.learning_rate for look in looks], rtol=1e-6)
            if config is plain:
                assert points.penalty_weight is None
                np.testing.assert_allclose(points.ema_decay, 0.5 ** (16 / 500), rtol=1e-6)
                continue
            annealed = np.array([look.annealed for look in looks])
            np.testing.assert_allclose(points.penalty_weight[: chunk.steps], 10 - 8 * annealed, rtol=1e-6)
            np.testing.assert_allclose(points.ema_decay[: chunk.steps], 0.5 ** (16 / (500 + 1000 * annealed)), rtol=1e-6)


def test_an_average_of_half_life_0_is_the_generator():
    config = small_config(optimizer__ema_half_life_kimg=0.0, schedule__ema_half_life_kimg_end=1.0)
    feed, _ = make_feed(config, 1)
    _, (_, points, _, _) = feed(next(plan_chunks(schedule_of(config), start=0, steps_per_call=1)))
    assert points.ema_decay.tolist() == [0.0]
