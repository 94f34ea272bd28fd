"""Classifiers trained on demand, modes of stacked digits, shares of classes, GAN-train and GAN-test."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.data.sources.builtin import DigitsSource
from pggan_jax.data.sources.synthetic import StackedSource
from pggan_jax.errors import UserError
from pggan_jax.evaluation.classifier import Classifier, train_classifier
from pggan_jax.evaluation.metrics.classification_accuracy import gan_train_test
from pggan_jax.evaluation.metrics.mode_coverage import (
    STACKED_MODES,
    class_shares,
    classify_stacked,
    kl_divergence,
    plane_rows,
    stacked_modes,
)
from pggan_jax.evaluation.pixels import pixel_rows
from tests.helpers.image_batches import noise


@pytest.fixture(scope="module")
def reader(digits):
    images, classes = digits
    return train_classifier(pixel_rows(images), classes, seed=0)


class TestClassifier:
    def test_accuracy_on_unseen_digits(self, reader):
        assert reader.accuracy >= 0.985

    def test_probabilities(self, reader, digits):
        found = reader.probabilities(pixel_rows(digits[0][:50]))
        assert found.shape == (50, 10)
        assert found.max(axis=1).mean() > 0.95
        assert reader.probabilities(pixel_rows(noise(50, 16, channels=1))).max(axis=1).mean() < 0.2, "noise is not a digit"
        assert np.mean(found.argmax(axis=1) == digits[1][:50]) > 0.95

    def test_classes_without_images(self, digits):
        images, classes = digits
        some = (classes == 2) | (classes == 7)
        found = train_classifier(pixel_rows(images[some]), classes[some], seed=0).probabilities(pixel_rows(images[:20]))
        assert found.shape == (20, 8)
        assert (found[:, [0, 1, 3, 4, 5, 6]] == 0).all()

    @pytest.mark.parametrize("classes", [[0] * 40, [0] * 37 + [1] * 3])
    def test_too_few_images_or_classes_are_refused(self, classes):
        with pytest.raises(UserError, match="needs at least 2 classes with at least 8 images each"):
            train_classifier(pixel_rows(noise(40, 16, channels=1)), np.array(classes), seed=0)


class TestHistograms:
    def test_divergence(self):
        assert kl_divergence(np.full(10, 3)) == pytest.approx(0)
        assert kl_divergence(np.array([5, 0, 0, 0])) == pytest.approx(np.log(4))
        assert kl_divergence(np.array([3, 1]), np.array([1, 3])) == pytest.approx(0.5 * np.log(3))
        assert kl_divergence(np.array([1, 1]), np.array([1, 0])) == np.inf

    def test_a_perfect_sampler_is_at_kl_floor(self, reader):
        modes = np.random.RandomState(0).randint(0, STACKED_MODES, 25600)
        values = stacked_modes(modes, np.ones(25600), classifier=reader).values
        assert values["modes"] == 1000
        assert values["kl_floor"] == pytest.approx(0.0195, abs=1e-4)
        assert values["kl"] == pytest.approx(values["kl_floor"], abs=0.003)

    def test_divergence_from_the_training_combinations(self):
        """If ones are rare, a sampler with as few of them has a small `kl_training`, but not a small `kl`."""
        shares = np.array([2, 1, *[2] * 8]) / 19
        digits = np.random.RandomState(0).choice(10, (3, 25600), p=shares)
        modes = 100 * digits[0] + 10 * digits[1] + digits[2]
        values = stacked_modes(modes, np.ones(25600), classifier=Classifier(None, lambda: 1.0, shares)).values
        assert values["kl_training"] == pytest.approx(values["kl_floor"], abs=0.003)
        assert values["kl"] > 2 * values["kl_floor"]

    def test_uncertainty_is_the_deviation_over_draws(self, reader):
        random = np.random.RandomState(0)
        runs = [stacked_modes(random.randint(0, STACKED_MODES, 2000), np.ones(2000), classifier=reader) for _ in range(12)]
        scatter = np.std([run.values["kl"] for run in runs])
        assert scatter / 3 < runs[0].uncertainty["kl"] < 3 * scatter

    def test_one_mode(self, reader):
        values = stacked_modes(np.full(500, 123), np.ones(500), classifier=reader).values
        assert values["modes"] == 1
        assert values["kl"] == pytest.approx(np.log(1000))


class TestStacked:
    def test_channels_are_read_in_order(self, reader, digits):
        images, classes = digits
        found, certainty = classify_stacked(
            plane_rows(np.concatenate([images[:60], images[60:120], images[120:180]], axis=-1)), reader
        )
        expected = 100 * classes[:60] + 10 * classes[60:120] + classes[120:180]
        assert np.mean(found == expected) > 0.95
        assert certainty.shape == (60,)

    def test_reals_cover_more_than_copies_and_noise(self, reader):
        source = StackedSource(DigitsSource(height=16, width=16), count=400)
        reals = np.stack([source.read(number) for number in range(400)])
        found = {
            name: stacked_modes(*classify_stacked(plane_rows(images), reader), classifier=reader).values
            for name, images in (("reals", reals), ("copies", np.repeat(reals[:4], 100, axis=0)), ("noise", noise(400, 16)))
        }
        assert found["reals"]["modes"] > 300
        assert found["copies"]["modes"] <= 4
        assert found["noise"]["sure_modes"] == 0
        assert found["reals"]["sure_modes"] > 250
        assert found["reals"]["kl"] < found["copies"]["kl"]

    def test_floats_are_refused(self):
        with pytest.raises(UserError, match="must be uint8 from 0 to 255, not float32"):
            pixel_rows(noise(2, 16, channels=1).astype(np.float32))

    def test_grey_images_are_refused(self):
        with pytest.raises(UserError, match="three digits stacked"):
            plane_rows(noise(2, 16, channels=1))


class TestClasses:
    def test_shares(self, reader, digits):
        images, classes = digits
        probabilities = reader.probabilities(pixel_rows(images))
        same = class_shares(probabilities, classes, reals=classes, classifier=reader).values
        assert same["as_asked"] > 0.98
        assert same["kl"] < 1e-3
        assert same["smallest"] == pytest.approx(1, abs=0.05)
        ones = class_shares(probabilities[classes == 1], classes[classes == 1], reals=classes, classifier=reader).values
        assert ones["kl"] > 2
        assert ones["smallest"] == 0
        assert ones["largest"] == pytest.approx(10, rel=0.1)


class TestTrainTest:
    @pytest.mark.slow
    def test_reals_noise_and_few_images(self, reader, digits):
        images, classes = digits
        rows = pixel_rows(images)
        reals = rows[:900], classes[:900]
        machine = train_classifier(*reals, seed=0)
        good = gan_train_test(reals, (rows[900:], classes[900:]), classifier=machine, seed=0).values
        assert good["gan_train"] > 0.9
        assert good["gan_test"] > 0.9
        bad = gan_train_test(
            reals,
            (pixel_rows(noise(900, 16, channels=1)), classes[900:1800][:900][:897].repeat(2)[:900]),
            classifier=machine,
            seed=0,
        ).values
        assert bad["gan_train"] < 0.3
        assert bad["gan_test"] < 0.3
        picked = np.concatenate([np.flatnonzero(classes == digit)[:3].repeat(10) for digit in range(10)])
        few = gan_train_test(reals, (rows[picked], classes[picked]), classifier=machine, seed=0).values
        assert few["gan_test"] > 0.9
        assert few["gan_train"] < good["gan_train"]
