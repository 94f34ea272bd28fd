"""Negative controls: bad samples score far from the real-versus-real floor, reals close to it."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from pggan_jax.config import DataConfig
from pggan_jax.data.open_loader import open_loader
from pggan_jax.evaluation.evaluator import Evaluator
from pggan_jax.evaluation.image_sets import ImageSet, RealPool, generated_images
from pggan_jax.evaluation.inception.features import FeatureExtractor
from pggan_jax.evaluation.inception.weights import find_weights
from pggan_jax.evaluation.metric import MetricContext
from pggan_jax.generation.sampling import Sampler
from pggan_jax.images import ImageSpec, image_shape
from pggan_jax.networks.build import build_networks, initialize
from tests.helpers.runs import small_config

SIDE = 32


@pytest.fixture(scope="module")
def pool():
    return RealPool(open_loader(DataConfig("digits", SIDE), seed=0, report=print), SIDE, 0)


def fakes_of(images):
    return ImageSet(
        "fakes", len(images), image_shape(SIDE), np.zeros(len(images), np.int32), lambda start, stop: images[start:stop]
    )


def untrained_generator(count):
    """Samples of a generator at initialisation."""
    networks = build_networks(small_config(data__resolution=SIDE), SIDE, image_spec=ImageSpec(SIDE, SIDE, 1))
    params, classes = initialize(networks, 0)[0], np.zeros(1, np.int32)
    return generated_images(Sampler(networks.generator), params, classes=classes, alpha=1.0, seed=0, count=count)


def controls(pool, count):
    """Bad samples by name."""
    reals = pool.draw(len(pool) - count, count).read(0, count)
    random = np.random.default_rng(0)
    return {
        "constant": fakes_of(np.full_like(reals, 90)),
        "one mode": fakes_of(np.repeat(reals[:1], count, axis=0)),
        "noise": fakes_of(random.integers(0, 256, reals.shape, dtype=np.uint8)),
        "shuffled pixels": fakes_of(random.permuted(reals.reshape(count, -1), axis=1).reshape(reals.shape)),
        "generator at initialisation": untrained_generator(count),
    }


def evaluations(pool, metrics, count, **options):
    """By control and metric; `reals` are other reals."""
    evaluator = Evaluator(
        metrics, MetricContext(pool, DataConfig("digits", 16), show_progress=False, **options), num_images=count
    )
    sets = {"reals": fakes_of(pool.draw(len(pool) - count, count).read(0, count)), **controls(pool, count)}
    return {name: {result.metric: result for result in evaluator(images)} for name, images in sets.items()}


def test_pixels_and_patches(pool):
    found = evaluations(pool, ["swd", "ms_ssim"], 400)
    reals = found.pop("reals")
    assert reals["swd"].headline < 1.3 * reals["swd"].floor.values["average"]
    for name, results in found.items():
        assert results["swd"].headline > 5 * reals["swd"].headline, name
    similarity = reals["ms_ssim"].result.values["reals"]
    assert reals["ms_ssim"].headline == pytest.approx(similarity, abs=0.05)
    for name in ("constant", "one mode"):
        assert found[name]["ms_ssim"].headline == pytest.approx(1), "as alike as can be"
    assert found["noise"]["ms_ssim"].headline < similarity / 2, "more varied than anything real"


@pytest.mark.slow
def test_values_do_not_depend_on_the_devices_they_are_computed_on(pool):
    def measure(device):
        with jax.default_device(jax.devices()[device]):
            names = ["swd", "ms_ssim", "neighbors"]
            results = Evaluator(names, MetricContext(pool, DataConfig("digits", 16), show_progress=False), num_images=40)(
                untrained_generator(40)
            )
            return [dict(result.result.values) for result in results]

    assert jax.device_count() > 1
    assert measure(0) == measure(jax.device_count() - 1)


@pytest.mark.slow
def test_features(pool, tmp_path, monkeypatch):
    """Features of a random network distinguish these samples, too."""
    monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path))
    small = partial(FeatureExtractor, find_weights("random", needed_by="this test"), side=107)
    found = evaluations(pool, ["fid", "kid", "precision_recall"], 120, load_extractor=small)
    reals = found.pop("reals")
    assert reals["fid"].headline < 1.5 * reals["fid"].floor.values["frd_random"]
    assert abs(reals["kid"].headline) < 4 * reals["kid"].result.uncertainty["kid_random"]
    assert reals["precision_recall"].headline > 0.6
    for name, results in found.items():
        assert results["fid"].headline > 5 * reals["fid"].headline, name
        assert results["kid"].headline > 5 * results["kid"].result.uncertainty["kid_random"], name
        assert results["precision_recall"].result.values["recall"] < 0.3, name
