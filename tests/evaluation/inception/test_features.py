"""Outputs of the network: what is kept, shared between metrics, and cached; a stand-in counts its images."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pggan_jax.config import DataConfig
from pggan_jax.errors import UserError
from pggan_jax.evaluation.evaluator import Evaluator
from pggan_jax.evaluation.image_sets import ImageSet, RealPool
from pggan_jax.evaluation.inception import feature_stats
from pggan_jax.evaluation.inception.feature_cache import CachedFeatures
from pggan_jax.evaluation.inception.features import FeatureCollector, OutputRequest
from pggan_jax.evaluation.metric import MetricContext
from pggan_jax.evaluation.metrics import kid
from pggan_jax.images import image_shape

SIZE = 16


class StandIn:
    """16 features and 5 class scores of images of 4x4."""

    batch_size = 8
    fingerprint = "stand-in"
    has_random_weights = False
    details, notes = {}, ()

    def __init__(self):
        self.shown = 0

    def start(self, images):
        self.shown += len(images)
        padded = np.zeros((self.batch_size, SIZE), np.float32)
        padded[: len(images)] = images.reshape(len(images), SIZE, 3).mean(axis=2) / 64
        return padded, padded[:, :5] - 1


def image_set(count, seed=0):
    pixels = np.random.RandomState(seed).randint(0, 256, (count, 4, 4, 3)).astype(np.uint8)
    return ImageSet("images", count, image_shape(4), np.zeros(count, np.int32), lambda start, stop: pixels[start:stop])


def outputs_of(images, wanted, *, batch=10, extractor=None):
    request = OutputRequest(images.count, frozenset(wanted), max_kept=16)
    collector = FeatureCollector(extractor or StandIn(), image_shape(4), request=request)
    for first, part in images.batches(batch, until=images.count):
        collector.add(part, first)
    return collector.finish()


class TestCollector:
    def test_keeps_the_requested_outputs_only(self):
        images, extractor = image_set(50), StandIn()
        everything = outputs_of(images, {"features", "scores", "summary"}, extractor=extractor)
        assert extractor.shown == 50, "once for all"
        assert (everything.features.shape, everything.scores.shape) == ((50, SIZE), (50, 5))
        assert everything.summary.features is None
        scores = outputs_of(images, {"scores"})
        assert scores.features is scores.summary is None
        np.testing.assert_array_equal(scores.scores, everything.scores)

    @pytest.mark.parametrize("count", [16, 50])
    def test_a_summary_does_not_depend_on_other_outputs(self, count):
        alone = outputs_of(image_set(count), {"summary"}).summary
        together = outputs_of(image_set(count), {"features", "scores", "summary"}, batch=7).summary
        assert (alone.features is None) == (together.features is None) == (count > 16)
        for ours, theirs in zip(alone.split(), together.split(), strict=True):
            np.testing.assert_array_equal(ours.scatter, theirs.scatter)

    def test_memory_of_a_summary_does_not_grow(self):
        def peak(count):
            batch = image_set(64)
            collector = FeatureCollector(
                StandIn(), image_shape(4), request=OutputRequest(count, frozenset({"summary"}), max_kept=64)
            )
            tracemalloc.start()
            for start in range(0, count, 64):
                collector.add(batch.read(0, 64), start)
            collector.finish()
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return most

        few, many = peak(512), peak(8192)
        assert many < 1.2 * few
        assert many < 8192 * SIZE * 4 / 2, "less than half of the features"

    def test_order_and_number_are_checked(self):
        collector = FeatureCollector(StandIn(), image_shape(4), request=OutputRequest(20, frozenset({"features"})))
        collector.add(image_set(5).read(0, 5), 0)
        with pytest.raises(ValueError, match="expected image 5, not 7"):
            collector.add(image_set(5).read(0, 5), 7)
        with pytest.raises(UserError, match="expect 20 images, and 5 were added"):
            collector.finish()


class TestCache:
    @pytest.fixture
    def ask(self, tmp_path):
        """The outputs for some reals, and the number of images that the network was applied to."""

        def ask(wanted, *, count=50, seed=0, groups=10):
            images, extractor = image_set(count, seed), StandIn()
            request = OutputRequest(count, frozenset(wanted), groups=groups, max_kept=16)
            cached = CachedFeatures(extractor, images, request=request, folder=tmp_path / "cache")
            for first, part in images.batches(9, until=count):
                cached.add(part, first)
            return cached.finish(), extractor.shown

        return ask

    def kept(self, tmp_path):
        return sorted(path.name[64:] for path in (tmp_path / "cache").iterdir())

    def test_statistics_are_stored_if_enough(self, ask, tmp_path):
        first, shown = ask({"summary"})
        assert (shown, self.kept(tmp_path)) == (50, ["-moments10.npz"])
        again, shown = ask({"summary"})
        assert shown == 0
        for ours, theirs in zip(again.summary.groups, first.summary.groups, strict=True):
            assert ours.count == theirs.count
            np.testing.assert_array_equal(ours.mean, theirs.mean)
            np.testing.assert_array_equal(ours.scatter, theirs.scatter)
        assert ask({"summary"}, groups=1)[1] == 50, "without a jackknife they are others"

    def test_stored_features_give_statistics(self, ask, tmp_path):
        features, shown = ask({"features"})
        assert (shown, self.kept(tmp_path)) == (50, [".npz"])
        seen, shown = ask({"summary"})
        assert shown == 0
        np.testing.assert_allclose(seen.summary.whole().mean, features.features.mean(axis=0, dtype=np.float64), rtol=1e-12)
        both, shown = ask({"summary", "features"})
        assert shown == 0
        np.testing.assert_array_equal(both.features, features.features)
        assert self.kept(tmp_path) == ["-moments10.npz", ".npz"]

    def test_statistics_do_not_give_features(self, ask):
        ask({"summary"})
        seen, shown = ask({"summary", "features"})
        assert shown == 50
        assert seen.features.shape == (50, SIZE)
        assert ask({"features"})[1] == 0

    def test_few_features_serve_both(self, ask, tmp_path):
        ask({"summary"}, count=12)
        assert self.kept(tmp_path) == [".npz"]
        seen, shown = ask({"summary", "features"}, count=12)
        assert shown == 0
        np.testing.assert_array_equal(seen.summary.features, seen.features)

    def test_nothing_is_computed_without_request(self, ask, tmp_path):
        seen, shown = ask(frozenset())
        assert shown == 0
        assert seen.features is seen.summary is None

    def test_other_images_have_other_keys(self, ask):
        assert [ask({"summary"}, seed=seed)[1] for seed in (0, 1, 0)] == [50, 50, 0]

    @pytest.mark.parametrize("damage", [b"", b"damaged"])
    def test_damaged_files_are_computed_again(self, ask, tmp_path, damage):
        first, _ = ask({"summary"})
        for path in (tmp_path / "cache").iterdir():
            path.write_bytes(damage)
        again, shown = ask({"summary"})
        assert shown == 50
        np.testing.assert_array_equal(again.summary.whole().scatter, first.summary.whole().scatter)
        assert ask({"summary"})[1] == 0

    @pytest.mark.parametrize("is_archive", [True, False])
    def test_other_arrays_are_computed_again(self, ask, tmp_path, is_archive):
        """Features of another count, and a lone array under the name of an archive."""
        first, _ = ask({"features"})
        (path,) = (tmp_path / "cache").iterdir()
        with path.open("wb") as file:
            np.savez(file, features=np.zeros((7, 3))) if is_archive else np.save(file, np.zeros((50, SIZE)))
        again, shown = ask({"features"})
        assert shown == 50
        np.testing.assert_array_equal(again.features, first.features)

    def test_a_failed_write_loses_nothing(self, ask, tmp_path):
        (tmp_path / "cache").write_bytes(b"no folder can be made here")
        seen, shown = ask({"summary"})
        assert (seen.summary.count, shown) == (50, 50)


class Pool(RealPool):
    """Reals from memory."""

    def __len__(self):
        return 60

    @property
    def shape(self):
        return image_shape(self.resolution)

    def draw(self, first, count):
        source = image_set(60, 1)
        return ImageSet(
            "reals", count, image_shape(4), np.zeros(count, np.int32), lambda a, b: source.read(first + a, first + b)
        )


class TestEvaluator:
    """FID does not depend on other metrics or on how the features are collected."""

    @pytest.fixture
    def measure(self, monkeypatch, tmp_path):
        monkeypatch.setattr(kid, "SUBSETS", 2)

        def measure(*names, kept, cache):
            monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / cache / "data"))
            monkeypatch.setattr(feature_stats, "MAX_KEPT", kept)
            loader = SimpleNamespace(label_size=0, representation=None, held_out=None, held_out_count=0)
            extractor, pool = StandIn(), Pool(loader, 4, 0)
            context = MetricContext(pool, DataConfig("memory", 4), load_extractor=lambda: extractor, show_progress=False)
            (found,) = [one for one in Evaluator(names, context, num_images=60)(image_set(60, 2)) if one.metric == "fid"]
            return found, extractor.shown

        return measure

    @pytest.mark.parametrize("kept", [16, 2048])
    def test_fid_does_not_depend_on_other_metrics(self, measure, kept):
        alone, shown = measure("fid", kept=kept, cache="alone")
        assert shown == 60 + 60 + 60, "fakes, reals, and the halves of these for the floor"
        for cache in ("alone", "together"):
            together, _ = measure("kid", "fid", "inception_score", "precision_recall", kept=kept, cache=cache)
            assert together.result == alone.result
            assert together.floor == alone.floor
        again, shown = measure("fid", kept=kept, cache="together")
        assert shown == 60
        assert again.result == alone.result

    def test_statistics_and_features_give_the_same(self, measure):
        streamed, kept = (measure("fid", kept=kept, cache=f"kept{kept}")[0] for kept in (16, 2048))
        for ours, theirs in ((streamed.result, kept.result), (streamed.floor, kept.floor)):
            assert ours.values["fid"] == pytest.approx(theirs.values["fid"], rel=1e-9)
            assert ours.uncertainty["fid"] == pytest.approx(theirs.uncertainty["fid"], rel=1e-9)

    def test_inception_score_needs_no_reals(self, measure, tmp_path):
        _, with_score = measure("fid", "inception_score", kept=16, cache="a")
        _, without = measure("fid", kept=16, cache="b")
        assert with_score == without
        assert not list(Path(tmp_path).rglob("?" * 64 + ".npz"))
