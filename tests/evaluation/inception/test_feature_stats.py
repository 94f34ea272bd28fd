"""Statistics accumulated block by block equal those of all features at once, in constant memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from pggan_jax.evaluation.inception.feature_stats import (
    JACKKNIFE_GROUPS,
    FeatureStats,
    FeatureStatsCollector,
    FeatureSummary,
    merge_stats,
)
from pggan_jax.evaluation.metrics.fid import fid
from tests.helpers.feature_samples import features

SIZE = 12


def rows(count, seed=0, size=SIZE, shift=3.0):
    return features(count, size, seed, 0.1, shift).astype(np.float32)


def collected(data, *, batch=7, kept=16, groups=JACKKNIFE_GROUPS):
    collector = FeatureStatsCollector(len(data), groups=groups, max_kept=kept)
    for start in range(0, len(data), batch):
        collector.add(data[start : start + batch], start)
    return collector.finish()


def assert_close(ours, data, *, rel=1e-12):
    data = data.astype(np.float64)
    assert ours.count == len(data)
    np.testing.assert_allclose(ours.mean, data.mean(axis=0), rtol=rel)
    expected = np.cov(data, rowvar=False)
    np.testing.assert_allclose(ours.covariance, expected, rtol=0, atol=rel * np.abs(expected).max())


class TestJoining:
    def test_is_exact(self):
        data = rows(300)
        cuts = [data[:1], data[1:4], data[4:150], data[150:]]
        assert_close(merge_stats([FeatureStats.of(cut) for cut in cuts]), data)

    def test_precision_with_means_far_from_zero(self):
        """Plain squares about 0 would keep four of 16 digits."""
        data = features(300, SIZE, 1) + 1e6
        assert_close(merge_stats([FeatureStats.of(cut) for cut in np.split(data, 6)]), data, rel=1e-9)

    def test_all_but_one_group(self):
        data = rows(95)
        parts = collected(data).split()
        for left_out in range(JACKKNIFE_GROUPS):
            rest = merge_stats(parts[:left_out] + parts[left_out + 1 :])
            assert_close(rest, data[np.arange(95) % JACKKNIFE_GROUPS != left_out])


class TestCollector:
    @pytest.mark.parametrize("kept", [1, 9, 16, 94])
    def test_statistics_of_all_and_of_each_group(self, kept):
        data = rows(95)
        summary = collected(data, kept=kept)
        assert summary.features is None
        assert (summary.count, summary.size) == data.shape
        assert_close(summary.whole(), data)
        for part, moments in enumerate(summary.split()):
            assert_close(moments, data[part::JACKKNIFE_GROUPS])

    def test_one_group_without_jackknife(self):
        data = rows(95)
        summary = collected(data, groups=1)
        assert_close(summary.whole(), data)
        with pytest.raises(ValueError, match="needs 10 groups, not 1"):
            summary.split()

    @pytest.mark.parametrize("count", [16, 40])
    def test_features_of_small_sets_are_kept(self, count):
        data = rows(count)
        summary = collected(data, kept=40)
        np.testing.assert_array_equal(summary.features, data)
        assert summary.groups == ()
        assert_close(summary.whole(), data)

    def test_batch_size_does_not_change_a_bit(self):
        data = rows(203)
        first, *others = [collected(data, batch=batch) for batch in (1, 7, 16, 50, 203)]
        for other in others:
            for ours, theirs in zip(first.groups, other.groups, strict=True):
                np.testing.assert_array_equal(ours.scatter, theirs.scatter)
                np.testing.assert_array_equal(ours.mean, theirs.mean)

    def test_memory_does_not_grow(self):
        def peak(count):
            collector, batch = FeatureStatsCollector(count, max_kept=256), rows(64, size=64)
            tracemalloc.start()
            for start in range(0, count, 64):
                collector.add(batch, start)
            collector.finish()
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return most

        few, many = peak(1024), peak(16384)
        assert many < 1.05 * few
        assert many < 16384 * 64 * 4 / 2, "less than half of the features"

    def test_order_and_number_are_checked(self):
        collector = FeatureStatsCollector(20, max_kept=8)
        collector.add(rows(5), 0)
        with pytest.raises(ValueError, match="expected image 5, not 7"):
            collector.add(rows(5), 7)
        with pytest.raises(ValueError, match="20 images, and those of 5 were added"):
            collector.finish()


class TestFrechetDistance:
    """Statistics give the same distance as features."""

    @pytest.mark.parametrize(("count", "size"), [(400, 24), (95, 24), (60, 64), (40, 64)])
    @pytest.mark.parametrize("is_streamed", [(True, True), (True, False), (False, True)])
    def test_agrees(self, count, size, is_streamed):
        """To rounding; to 1e-6 with fewer images than features, where the computations differ."""
        sets = [rows(count, seed, size, shift=seed / 3) for seed in (1, 2)]
        plain = fid(*map(FeatureSummary.of, sets))
        streamed = fid(
            *(
                collected(data, groups=groups) if streams else FeatureSummary.of(data)
                for data, streams, groups in zip(sets, is_streamed, (1, JACKKNIFE_GROUPS), strict=True)
            )
        )
        rel = 1e-9 if count > size else 1e-6
        assert streamed.values["fid"] == pytest.approx(plain.values["fid"], rel=rel)
        assert streamed.uncertainty["fid"] == pytest.approx(plain.uncertainty["fid"], rel=100 * rel)
        assert streamed.notes == plain.notes

    def test_of_float32_features_far_from_zero(self):
        sets = [rows(400, seed, 24, shift=100 + seed / 10) for seed in (1, 2)]
        plain, streamed = fid(*map(FeatureSummary.of, sets)), fid(*map(collected, sets))
        assert streamed.values["fid"] == pytest.approx(plain.values["fid"], rel=1e-9)
